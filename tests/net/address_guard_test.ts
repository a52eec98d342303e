// The guard's judgement by itself: classes of addresses, and the rules that follow from the configuration.

import assert from "node:assert/strict";
import fc from "fast-check";
import { AddressGuard, type DialRule } from "../../lib/net/address_guard.ts";
import { type AddressClass, classOf, type Network, parseAddress, parseNetwork } from "../../lib/net/ip_range.ts";
import { holdsOnlyFor } from "../../testing/refutable.ts";

/** The class of an address as the guard sees it; what is no address is never dialed. */
function classifyAddress(text: string): AddressClass {
  const address = parseAddress(text);
  return address === null ? "never" : classOf(address);
}

const CLASSES: Record<AddressClass, string[]> = {
  public: [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00::1",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
  ],
  internal: [
    "10.0.0.0",
    "10.255.255.255",
    "100.64.0.0",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.255",
    "172.16.0.0",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.168.0.0",
    "192.168.255.255",
    "198.18.0.0",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "240.0.0.1",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:a00:1",
    "::ffff:0:127.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::192.168.0.1",
    "64:ff9b:1::8.8.8.8",
    "64:ff9b:1:808:8:800:101:101",
    "64:ff9b:1:ffff:ffff:ffff:808:808",
    "2002:7f00:1::",
    "2002:c0a8:1::1",
    "2001::1",
    "2001:db8::1",
    "100::1",
    "fc00::1",
    "fd00::1",
    "fdff:ffff::1",
    "fec0::1",
    "4000::1",
  ],
  never: [
    "0.0.0.0",
    "0.0.0.1",
    "0.255.255.255",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.255.255",
    "224.0.0.1",
    "239.255.255.255",
    "255.255.255.255",
    "::",
    "::ffff:0.0.0.0",
    "::ffff:169.254.169.254",
    "::169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::169.254.169.254",
    "2002:a9fe:a9fe::",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "ff02::1",
    "fd00:ec2::254",
    "FD00:0EC2:0:0:0:0:0:254",
    "no address",
    "",
  ],
};

for (const [expected, addresses] of Object.entries(CLASSES)) {
  Deno.test.each(addresses)(`%s is ${expected}`, (address) => {
    assert.equal(classifyAddress(address), expected);
  });
}

Deno.test("an IPv4 address inside IPv6 is judged like the address itself", async () => {
  const hex = (address: string) => {
    const [a = 0, b = 0, c = 0, d = 0] = address.split(".").map(Number);
    return `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
  };
  // Of ::/96, "::" and "::1" have a meaning of their own.
  const wrappings: ((address: string) => string)[] = [
    (address) => `::ffff:${address}`,
    (address) => `::FFFF:${hex(address)}`,
    (address) => `0:0:0:0:0:ffff:${hex(address)}`,
    (address) => `::ffff:0:${hex(address)}`,
    (address) => `64:ff9b::${address}`,
    (address) => `2002:${hex(address)}::1`,
    (address) => `::${address === "0.0.0.0" || address === "0.0.0.1" ? `ffff:${address}` : address}`,
  ];
  const isJudgedAlike = (classify: (address: string) => AddressClass) =>
    fc.property(fc.ipV4(), fc.constantFrom(...wrappings), (address, wrap) => {
      assert.equal(classify(wrap(address)), classifyAddress(address), wrap(address));
    });

  await holdsOnlyFor(isJudgedAlike, classifyAddress, {
    "IPv6 taken as it is": (address) => classifyAddress(address.replace(/^.*:(\d+\.\d+\.\d+\.\d+)$/, "2a00::1")),
    "only the mapped form unwrapped": (address) => /^::ffff:\d/i.test(address) ? classifyAddress(address) : "public",
  });
});

const LAN = networks("10.20.0.0/16", "fd12::/16");

// Rule, address, verified TLS, networks allowed: may it be dialed?
const DIALS: [rule: DialRule, address: string, isVerified: boolean, allowed: readonly Network[], passes: boolean][] = [
  ["public", "8.8.8.8", true, [], true],
  ["public", "8.8.8.8", false, [], true],
  ["public", "10.20.0.1", true, [], false],
  ["public", "10.20.0.1", true, LAN, true],
  ["public", "10.20.0.1", false, LAN, true],
  ["public", "::ffff:10.20.0.1", true, LAN, true],
  ["public", "10.21.0.1", true, LAN, false],
  ["public", "fd12::1", true, LAN, true],
  ["public", "fd13::1", true, LAN, false],
  ["public", "127.0.0.1", true, LAN, false],
  ["internal-verified", "8.8.8.8", false, [], true],
  ["internal-verified", "10.20.0.1", true, [], true],
  ["internal-verified", "10.20.0.1", false, [], false],
  ["internal-verified", "10.20.0.1", false, LAN, true],
  ["internal-verified", "127.0.0.1", true, [], true],
  ["internal-verified", "169.254.169.254", true, [], false],
  ["internal", "10.20.0.1", false, [], true],
  ["internal", "127.0.0.1", false, [], true],
  ["internal", "169.254.169.254", true, [], false],
  ["internal", "fe80::1%eth0", true, [], false],
  ["internal", "0.0.0.0", true, [], false],
  ["internal", "224.0.0.1", true, [], false],
  ["internal", "255.255.255.255", true, [], false],
  ["internal", "169.254.169.254", true, networks("169.254.0.0/16"), false],
  ["public", "no address", true, [], false],
  ["operator", "169.254.169.254", false, [], true],
  ["operator", "127.0.0.1", false, [], true],
];

for (const [rule, address, isVerified, allowNetworks, passes] of DIALS) {
  const how = `${isVerified ? "verified TLS" : "no TLS"}, ${allowNetworks.length} networks allowed`;
  Deno.test(`rule "${rule}" ${passes ? "passes" : "refuses"} ${address} (${how})`, () => {
    const refusal = new AddressGuard(allowNetworks).refusal(rule, address, 8448, isVerified);
    assert.equal(refusal === null, passes, refusal ?? "no refusal");
  });
}

Deno.test("port 0 is refused under every rule but the operator's own", () => {
  for (const rule of ["public", "internal-verified", "internal"] as const) {
    assert.equal(new AddressGuard([]).refusal(rule, "8.8.8.8", 0, true), "port 0 is never dialed");
  }
});

Deno.test("networks are parsed from CIDR and from single addresses, and nothing else", () => {
  for (const text of ["10.0.0.0/8", "fd00::/8", "10.1.2.3", "fd00::1", "0.0.0.0/0"]) {
    assert.ok(parseNetwork(text), text);
  }
  for (const text of ["", "/", "10.0.0.0/33", "fd00::/129", "10.0.0.0/-1", "10.0.0.0/8/8", "example.com", "a/8"]) {
    assert.equal(parseNetwork(text), null, text);
  }
});

function networks(...texts: string[]): Network[] {
  return texts.map((text) => parseNetwork(text)).filter((network) => network !== null);
}
