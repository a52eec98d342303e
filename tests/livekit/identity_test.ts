// Names on the SFU: the contract's vectors, and a property against canonical JSON written out by hand.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { hashedIdentity, legacyIdentity, roomAlias } from "../../lib/livekit/identity.ts";
import { anyText } from "../../testing/texts.ts";

const ALIASES: readonly (readonly [room: string, slot: string, alias: string])[] = [
  ["!roomid:example.com", "slot1234", "O8437W3+jmzMVjoIP3tNwbm+XxHQk2iKpOA7aqw3qSc"],
  ["!room:example.com", "m.call#ROOM", "krj2dgxw2K6EOm9he4GfQJ6JsSVWfJ8a7BkyjZcSmxs"],
  [
    "!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM",
    "m.call#ROOM",
    "MusnjKZZQBtz8u/0OPShL26YIcHkdK0c9Jem/dIpUm0",
  ],
  ["!a&b:example.com", "m.call#ROOM", "BaxXL6saSq+gSL5me/YDg7iH7KCueJy1DyzHVuUuqCk"],
];

const IDENTITIES: readonly (readonly [user: string, device: string, member: string, identity: string])[] = [
  ["@alice:example.com", "DEVICE123", "memberABC", "J+T45tGruxc+HrUOqJJlyQSV33m728Cme4+vt8/SWrU"],
  ["@alice:example.com", "DEVICE", "member-1", "vYVt8NUMTb0rAawkFqilcAtxKgY26U3Ab7R9INviNnU"],
  ["@jürgen:example.org", "ÄÖ", "mémber", "cp/frdYTq6Wb1rspqOqcuWEc0cxhtq8oNXlb3cQl2Jg"],
  ["@a:b", 'D"1\\', "m\t\n/", "CWPoYv7NyAswz7aQE9RAA9Brh5LruPsISmf6G9mQ4Ms"],
  ["@a:b", "D<1>", "m&m", "BaBvBfQx13sP9QIm0FAJV7uPqydPhJe5OQvBY45JTuQ"],
  ["@a:b", "D", "x\u2028y", "EjgnTcCvW1tePatymyQUcOeIp51pHjTYOecdJtvfDIA"],
];

for (const [room, slot, alias] of ALIASES) {
  Deno.test(`the room alias of ${room} and ${slot} is the contract's`, () => {
    assert.equal(roomAlias(room, slot), alias);
  });
}

for (const [user, device, member, identity] of IDENTITIES) {
  Deno.test(`the identity of ${JSON.stringify([user, device, member])} is the contract's`, () => {
    assert.equal(hashedIdentity(user, device, member), identity);
  });
}

Deno.test("a legacy identity is the user and the device, readable", () => {
  assert.equal(legacyIdentity("@alice:example.com", "DEVICE"), "@alice:example.com:DEVICE");
  assert.equal(legacyIdentity("@alice:example.com", ""), "@alice:example.com:");
});

type Derive = (parts: readonly [string, string, string]) => string;

const derive: Derive = ([user, device, member]) => hashedIdentity(user, device, member);

// What a Go service that marshals with the default settings computes.
const deriveGoStyle: Derive = (parts) =>
  sha256(JSON.stringify(parts).replace(/[<>&\u2028\u2029]/g, (unit) => unicodeEscape(unit)));

// A hash of the parts side by side: two members could share one name.
const deriveJoined: Derive = (parts) => sha256(parts.join(","));

Deno.test("identities are hashes of canonical JSON, for any well-formed texts", () => {
  fc.assert(isCanonical(derive), { seed: 1, numRuns: 2000, endOnFailure: true });
});

Deno.test("room aliases are hashes of canonical JSON, for any well-formed texts", () => {
  fc.assert(
    fc.property(
      text(),
      text(),
      (room, slot) => assert.equal(roomAlias(room, slot), sha256(canonicalJson([room, slot]))),
    ),
    { seed: 2, numRuns: 1000 },
  );
});

for (const [name, wrong] of Object.entries({ "escapes as Go does": deriveGoStyle, "joins the parts": deriveJoined })) {
  Deno.test(`the property finds a version that ${name}`, () => {
    assert.throws(() => fc.assert(isCanonical(wrong), { seed: 1, numRuns: 2000, endOnFailure: true }));
  });
}

function isCanonical(derive: Derive) {
  return fc.property(fc.tuple(text(), text(), text()), (parts) => {
    assert.equal(derive(parts), sha256(canonicalJson(parts)));
  });
}

function text() {
  const special = fc.constantFrom(...'<>&"\\/\b\f\n\r\t\0\x1f\x7f\u2028\u2029,é😀');
  return fc.oneof(anyText(), fc.string({ unit: special }));
}

function sha256(input: string): string {
  return createHash("sha256").update(input, "utf8").digest("base64").replaceAll("=", "");
}

// Matrix specification, appendices, "Canonical JSON", for arrays of strings.
function canonicalJson(parts: readonly string[]): string {
  const short: Readonly<Record<string, string>> = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
  };
  const quoted = parts.map((part) => {
    let out = "";
    for (const character of part) {
      out += short[character] ?? (character.charCodeAt(0) < 0x20 ? unicodeEscape(character) : character);
    }
    return `"${out}"`;
  });
  return `[${quoted.join(",")}]`;
}

function unicodeEscape(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
