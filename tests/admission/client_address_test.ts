// Which client it was: the connection's other end, or what trusted proxies say, and never what anybody could write.

import assert from "node:assert/strict";
import fc from "fast-check";
import { clientAddress, clientKey } from "../../lib/admission/client_address.ts";
import { parseNetwork } from "../../lib/net/ip_range.ts";

const TRUSTED = ["10.0.0.0/8", "::1", "fd00::/8"].map(parseNetwork).filter((network) => network !== null);

function addressOf(peer: string | null, forwardedFor: string | null): string | null {
  return clientAddress(peer, forwardedFor, TRUSTED)?.toString() ?? null;
}

const CASES: readonly (readonly [peer: string | null, forwardedFor: string | null, client: string | null])[] = [
  ["198.51.100.7", null, "198.51.100.7"],
  ["198.51.100.7", "203.0.113.9", "198.51.100.7"], // not a proxy of ours: its word counts for nothing
  ["10.0.0.1", null, "10.0.0.1"],
  ["10.0.0.1", "203.0.113.9", "203.0.113.9"],
  ["::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"],
  ["::1", "203.0.113.9, 10.0.0.2", "203.0.113.9"],
  ["10.0.0.1", "192.0.2.66, 203.0.113.9", "203.0.113.9"], // the left one is the client's own invention
  ["10.0.0.1", "10.0.0.3,10.0.0.2", "10.0.0.3"],
  ["10.0.0.1", "203.0.113.9, unknown", "10.0.0.1"],
  ["10.0.0.1", "203.0.113.9, unknown, 10.0.0.2", "10.0.0.2"],
  ["10.0.0.1", "", "10.0.0.1"],
  ["10.0.0.1", " , ", "10.0.0.1"],
  ["10.0.0.1", "1", "10.0.0.1"],
  ["10.0.0.1", "203.0.113.9:51234", "203.0.113.9"],
  ["10.0.0.1", "[2001:db8::7]:51234", "2001:db8::7"],
  ["10.0.0.1", "[2001:db8::7]", "2001:db8::7"],
  ["10.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"],
  ["fe80::1%eth0", null, "fe80::1"],
  [null, null, null],
  [null, "203.0.113.9", "203.0.113.9"],
  [null, "192.0.2.66, 203.0.113.9", "203.0.113.9"],
  [null, "203.0.113.9, 10.0.0.2", "203.0.113.9"],
  [null, "unknown", null],
];

for (const [peer, forwardedFor, client] of CASES) {
  Deno.test(`a connection from ${peer}, forwarded for "${forwardedFor}", comes from ${client}`, () => {
    assert.equal(addressOf(peer, forwardedFor), client);
  });
}

Deno.test("nothing that stands left of an untrusted address changes anything, however long it is", () => {
  fc.assert(fc.property(fc.string({ maxLength: 5000 }), (forged) => {
    assert.equal(addressOf("10.0.0.1", `${forged}, 203.0.113.9, 10.0.0.2`), "203.0.113.9");
  }));
});

const KEYS: readonly (readonly [address: string, key: string])[] = [
  ["203.0.113.9", "203.0.113.9"],
  ["::ffff:203.0.113.9", "203.0.113.9"],
  ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
  ["2001:db8:1:2::", "2001:db8:1:2::/64"],
  ["2001:db8:1:3::", "2001:db8:1:3::/64"],
];

for (const [address, key] of KEYS) {
  Deno.test(`${address} is counted as ${key}`, () => {
    const client = clientAddress(address, null, []);
    assert.ok(client !== null);
    assert.equal(clientKey(client), key);
  });
}
