// Whose users may ask: allowed exactly, blocked by every spelling, and blocked wins.

import assert from "node:assert/strict";
import {
  HomeserverPolicy,
  type HomeserverPolicyOptions,
  parseHomeserverPattern,
} from "../../lib/admission/homeserver_policy.ts";
import { parseServerName } from "../../lib/matrix/server_name.ts";

interface Lists {
  readonly allowed?: string;
  readonly blocked?: string;
  readonly fullAccess?: string;
  readonly overridden?: string;
  readonly tlsSkipped?: true;
}

function patterns(text: string): HomeserverPolicyOptions["blocked"] {
  return text.split(" ").map((entry) => {
    const pattern = parseHomeserverPattern(entry);
    assert.ok(pattern !== null, entry);
    return pattern;
  });
}

function policyOf({ allowed, blocked, fullAccess, overridden, tlsSkipped }: Lists): HomeserverPolicy {
  return new HomeserverPolicy({
    allowed: allowed === undefined ? "*" : patterns(allowed),
    blocked: blocked === undefined ? [] : patterns(blocked),
    fullAccess: fullAccess === undefined ? "*" : new Set(fullAccess.split(" ")),
    overridden: new Set(overridden === undefined ? [] : overridden.split(" ")),
    tlsSkipped: tlsSkipped ?? false,
  });
}

const DECISIONS: readonly (readonly [lists: Lists, served: readonly string[], refused: readonly string[]])[] = [
  [{}, ["example.com", "EXAMPLE.com", "[::1]:8448", "no server name"], []],
  [{ fullAccess: "ours.example" }, ["ours.example", "example.com"], []],
  [
    { allowed: "example.com" },
    ["example.com"],
    ["EXAMPLE.com", "example.com.", "example.com:8448", "a.example.com", "notexample.com", "", "no server name"],
  ],
  [
    { allowed: "*.example.com" },
    ["a.example.com", "a.b.example.com"],
    ["example.com", "notexample.com", "a.example.com:8448", "a.EXAMPLE.com", "a.example.com.evil.example"],
  ],
  [{ allowed: "a.example:8448 192.0.2.1 [::1]" }, ["a.example:8448", "192.0.2.1", "[::1]"], ["a.example", "[::1]:1"]],
  [{ allowed: "example.com", fullAccess: "ours.example" }, ["example.com", "ours.example"], ["other.example"]],
  [{ allowed: "example.com", fullAccess: "*" }, ["example.com"], ["other.example"]],
  [
    { blocked: "evil.example" },
    ["example.com", "a.evil.example", "notevil.example", "no server name"],
    ["evil.example", "EVIL.example", "evil.example.", "evil.example:8448", "Evil.Example.:1"],
  ],
  [
    { blocked: "*.evil.example" },
    ["evil.example", "notevil.example"],
    ["a.evil.example", "a.b.evil.example:8448", "A.EVIL.example."],
  ],
  [{ blocked: "Evil.example:8448" }, ["evil.example", "evil.example:8449"], ["evil.example:8448", "EVIL.example:8448"]],
  [{ blocked: "[2001:db8::1]" }, ["[2001:db8::2]"], ["[2001:DB8:0:0::1]", "[2001:db8::1]:8448"]],
  [{ blocked: "192.0.2.1" }, ["192.0.2.10", "[::ffff:192.0.2.10]", "3221225994"], [
    "192.0.2.1",
    "192.0.2.1:8448",
    "192.0.2.1.",
    "3221225985",
    "0xC0000201:8448",
    "192.0.513",
    "0300.0.2.1",
    "[::ffff:192.0.2.1]",
    "[::ffff:c000:201]:8448",
    "[64:ff9b::192.0.2.1]",
  ]],
  [{ blocked: "[::ffff:192.0.2.1]:8448" }, ["192.0.2.1", "192.0.2.1:8449"], ["192.0.2.1:8448", "3221225985:8448"]],
  [
    { blocked: "*.example", allowed: "a.example b.test", fullAccess: "c.example" },
    ["b.test"],
    ["a.example", "c.example"],
  ],
];

for (const [lists, served, refused] of DECISIONS) {
  Deno.test(`with ${JSON.stringify(lists)} these are served: ${served.join(", ")}`, () => {
    const policy = policyOf(lists);
    for (const name of served) assert.equal(policy.serves(parseServerName(name)), true, name);
    for (const name of refused) assert.equal(policy.serves(parseServerName(name)), false, name);
  });
}

Deno.test("an entry is a server name, or *. before one without a port", () => {
  for (const good of ["example.com", "example.com:8448", "*.example.com", "*.com", "[::1]", "192.0.2.1"]) {
    assert.equal(parseHomeserverPattern(good)?.text, good);
  }
  for (
    const bad of ["", "*", "*.", "**.example", "a.*.example", "*.example:1", "*.[::1]", "*.192.0.2.1", "https://a"]
  ) {
    assert.equal(parseHomeserverPattern(bad), null, bad);
  }
});

Deno.test("named are the servers that a list has by their exact name, and those whose address was given", () => {
  const policy = policyOf({
    allowed: "example.com *.example.org",
    fullAccess: "ours.example",
    overridden: "lan.example",
  });
  const isNamed = (name: string) => policy.isNamed(name);
  assert.deepEqual(["example.com", "ours.example", "lan.example"].map(isNamed), [true, true, true]);
  assert.deepEqual(["a.example.org", "OURS.example"].map(isNamed), [false, false]);
});

Deno.test("any server is named by a list of any kind, and none without", () => {
  for (const lists of [{ allowed: "a.example" }, { fullAccess: "a.example" }, { overridden: "a.example" }]) {
    assert.equal(policyOf(lists).namesAny, true, JSON.stringify(lists));
  }
  assert.equal(policyOf({ blocked: "a.example" }).namesAny, false);
});

Deno.test("full access is a matter of the exact name, or everybody's", () => {
  const policy = policyOf({ fullAccess: "ours.example", allowed: "example.com" });
  assert.equal(policy.accessOf("ours.example"), "full");
  for (const name of ["example.com", "OURS.example", "ours.example:8448", "a.ours.example"]) {
    assert.equal(policy.accessOf(name), "restricted", name);
  }
  assert.equal(policyOf({}).accessOf("any.example"), "full");
});

// How far a dial may go, by configuration and by the server name asked for.
const LISTED = { fullAccess: "listed.example" };
const RULES: readonly (readonly [what: string, lists: Lists, server: string, rule: string])[] = [
  ["a server with full access", LISTED, "listed.example", "internal"],
  ["a server that is not listed", LISTED, "other.example", "public"],
  ["a server that is allowed only", { ...LISTED, allowed: "other.example" }, "other.example", "public"],
  ["a listed name in another spelling", LISTED, "Listed.example", "public"],
  ["a listed name with a port", LISTED, "listed.example:8448", "public"],
  ["a name below a listed one", LISTED, "a.listed.example", "public"],
  ["any server under *", {}, "other.example", "internal-verified"],
  ["an overridden server under *", { overridden: "lan.example" }, "lan.example", "internal"],
  ["an overridden server beside a list", { ...LISTED, overridden: "lan.example" }, "lan.example", "internal"],
  ["any server in a lab", { ...LISTED, tlsSkipped: true }, "other.example", "internal"],
  ["any server in a lab under *", { tlsSkipped: true }, "other.example", "internal"],
];

for (const [what, lists, server, rule] of RULES) {
  Deno.test(`the rule for ${what} is "${rule}"`, () => {
    assert.equal(policyOf(lists).ruleFor(server), rule);
  });
}
