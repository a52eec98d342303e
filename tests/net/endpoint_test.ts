// URLs as dials: the port of the scheme, the certificate name, and addresses without brackets.

import assert from "node:assert/strict";
import {
  basePathOf,
  type Dial,
  dialOf,
  formatHostAndPort,
  parseHost,
  parseHostAndPort,
  tlsNameOf,
  withBrackets,
  withoutBrackets,
  withoutZone,
} from "../../lib/net/endpoint.ts";

function dial(secure: boolean, host: string, port: number, hostHeader: string, tlsName: string | null): Dial {
  return { secure, host, port, hostHeader, tlsName };
}

const DIALS: [url: string, expected: Dial][] = [
  ["https://a.example/x", dial(true, "a.example", 443, "a.example", "a.example")],
  ["https://A.example:443", dial(true, "a.example", 443, "a.example", "a.example")],
  ["https://a.example:8448", dial(true, "a.example", 8448, "a.example:8448", "a.example")],
  ["http://a.example", dial(false, "a.example", 80, "a.example", "a.example")],
  ["http://user:password@a.example:81/", dial(false, "a.example", 81, "a.example:81", "a.example")],
  ["https://192.0.2.1", dial(true, "192.0.2.1", 443, "192.0.2.1", null)],
  ["https://2130706433:1/", dial(true, "127.0.0.1", 1, "127.0.0.1:1", null)],
  ["https://[2001:DB8::1]:8448", dial(true, "2001:db8::1", 8448, "[2001:db8::1]:8448", null)],
];

Deno.test.each(DIALS)("%s says where to connect", (url, expected) => {
  assert.deepEqual(dialOf(new URL(url)), expected);
});

Deno.test("a base path loses the slashes at its end", () => {
  const paths = ["", "/", "//", "/a", "/a/", "/a/b//", "/a//b"].map((path) => basePathOf(new URL(`https://x${path}`)));
  assert.deepEqual(paths, ["", "", "", "/a", "/a", "/a/b", "/a//b"]);
});

const HOSTS: [host: string, parsed: ReturnType<typeof parseHost>][] = [
  ["server.example", "name"],
  ["server.example.", "name"],
  ["1.example", "name"],
  ["0x7f.example", "name"],
  ["localhost", "name"],
  ["192.0.2.1", { address: "192.0.2.1" }],
  ["2001:db8::1", { address: "2001:db8::1" }],
  ["fe80::1%eth0", { address: "fe80::1%eth0" }],
  ["127.0.0.1.", { address: "127.0.0.1" }],
  ["2130706433", { address: "127.0.0.1" }],
  ["2130706433.", { address: "127.0.0.1" }],
  ["0x7F000001", { address: "127.0.0.1" }],
  ["017700000001", { address: "127.0.0.1" }],
  ["127.1", { address: "127.0.0.1" }],
  ["0x7f.1", { address: "127.0.0.1" }],
  ["0", { address: "0.0.0.0" }],
  ["0x", { address: "0.0.0.0" }],
  ["example.123", null],
  ["1.2.3.4.5", null],
  ["127.0.0.256", null],
  ["4294967296", null],
  ["127.0.0.1..", "name"],
  ["", null],
];

Deno.test.each(HOSTS)("the host %s is an address, a name or nothing", (host, parsed) => {
  assert.deepEqual(parseHost(host), parsed);
});

const TEXTS: [text: string, parsed: ReturnType<typeof parseHostAndPort>][] = [
  ["server.example", { host: "server.example", port: null }],
  ["server.example:80", { host: "server.example", port: 80 }],
  [":80", { host: "", port: 80 }],
  ["[::1]", { host: "::1", port: null }],
  ["[fe80::1%eth0]:65535", { host: "fe80::1%eth0", port: 65_535 }],
  ["server.example:65536", null],
  ["server.example:", null],
  ["::1", null],
  ["[::1", null],
  ["[::1]x", null],
  ["a b:1", null],
  ["a/b", null],
];

Deno.test.each(TEXTS)("%s is split into host and port", (text, parsed) => {
  assert.deepEqual(parseHostAndPort(text), parsed);
});

Deno.test("IPv6 gets brackets, loses them, and loses its zone", () => {
  assert.equal(formatHostAndPort("::1", 80), "[::1]:80");
  assert.equal(formatHostAndPort("server.example", 80), "server.example:80");
  for (const host of ["::1", "server.example", "192.0.2.1"]) assert.equal(withoutBrackets(withBrackets(host)), host);
  assert.deepEqual(["fe80::1%eth0", "fe80::1", "192.0.2.1"].map(withoutZone), ["fe80::1", "fe80::1", "192.0.2.1"]);
});

Deno.test("a certificate is for a name without its last dot, or for an address", () => {
  assert.deepEqual(["server.example.", "192.0.2.1", "fe80::1%eth0"].map(tlsNameOf), ["server.example", null, null]);
});
