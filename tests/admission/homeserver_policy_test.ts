// Whose users may ask: allowed exactly, blocked by every spelling, and blocked wins.

import assert from "node:assert/strict";
import {
  HomeserverLists,
  type HomeserverListsOptions,
  parseHomeserverPattern,
} from "../../lib/admission/homeserver_policy.ts";

interface Lists {
  readonly allowed?: string;
  readonly blocked?: string;
  readonly fullAccess?: string;
}

function patterns(text: string): HomeserverListsOptions["blocked"] {
  return text.split(" ").map((entry) => {
    const pattern = parseHomeserverPattern(entry);
    assert.ok(pattern !== null, entry);
    return pattern;
  });
}

function listsOf({ allowed, blocked, fullAccess }: Lists): HomeserverLists {
  return new HomeserverLists({
    allowed: allowed === undefined ? "*" : patterns(allowed),
    blocked: blocked === undefined ? [] : patterns(blocked),
    fullAccess: fullAccess === undefined ? "*" : new Set(fullAccess.split(" ")),
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
  [{ blocked: "192.0.2.1" }, ["192.0.2.10"], ["192.0.2.1", "192.0.2.1:8448"]],
  [
    { blocked: "*.example", allowed: "a.example b.test", fullAccess: "c.example" },
    ["b.test"],
    ["a.example", "c.example"],
  ],
];

for (const [lists, served, refused] of DECISIONS) {
  Deno.test(`with ${JSON.stringify(lists)} these are served: ${served.join(", ")}`, () => {
    const decider = listsOf(lists);
    for (const name of served) assert.equal(decider.allows(name), true, name);
    for (const name of refused) assert.equal(decider.allows(name), false, name);
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

Deno.test("named are the servers that a list has by their exact name", () => {
  const lists = listsOf({ allowed: "example.com *.example.org", fullAccess: "ours.example" });
  assert.deepEqual(["example.com", "ours.example"].map((name) => lists.names(name)), [true, true]);
  assert.deepEqual(["a.example.org", "OURS.example"].map((name) => lists.names(name)), [false, false]);
});
