// LiveKit's key file, line by line, and what people give in its place.

import assert from "node:assert/strict";
import fc from "fast-check";
import { parseKeyFile } from "../../lib/config/key_file.ts";

type Keys = readonly (readonly [name: string, secret: string])[];

function keysOf(text: string): Keys | string {
  const parsed = parseKeyFile(text);
  return parsed.ok ? parsed.keys.map(({ name, secret }) => [name, secret.reveal()]) : parsed.reason;
}

const FILES: readonly (readonly [text: string, keys: Keys])[] = [
  ["key: secret", [["key", "secret"]]],
  ["key:secret", [["key", "secret"]]],
  ["  key  :  secret  \r\n", [["key", "secret"]]],
  ["key: se:cr:et", [["key", "se:cr:et"]]],
  ["key: https://x", [["key", "https://x"]]],
  ['key: "a secret"', [["key", "a secret"]]],
  ["'a key': 'sec:ret'", [["a key", "sec:ret"]]],
  ["# comment\n---\n\nkey: secret\n...\n", [["key", "secret"]]],
  ["a: 1\nb: 2\n", [["a", "1"], ["b", "2"]]],
  ["a: 1\r\nb: 2\r\n", [["a", "1"], ["b", "2"]]],
  ["\ufeffkey: secret", [["key", "secret"]]],
  ["key: secret # of the test system", [["key", "secret"]]],
  ['key: "secret" # of the test system', [["key", "secret"]]],
  ["key: sec#ret", [["key", "sec#ret"]]],
  ['key: "sec #ret"', [["key", "sec #ret"]]],
  ["a: 1\na: 1\n", [["a", "1"]]],
];

for (const [text, keys] of FILES) {
  Deno.test(`the key file ${JSON.stringify(text)} holds ${JSON.stringify(keys)}`, () => {
    assert.deepEqual(keysOf(text), keys);
  });
}

const WHOLE_CONFIGURATION = `port: 7880
rtc:
  tcp_port: 7881
keys:
  devkey: sikrit
`;

const NONE: readonly (readonly [text: string, reason: string])[] = [
  ["", "has no key"],
  ["# only a comment", "has no key"],
  ["sikrit", "has one value"],
  ["# API key\nsikrit\n", "has one value"],
  ["key:", "has a malformed line 1"],
  [": sikrit", "has a malformed line 1"],
  ["key: ", "has a malformed line 1"],
  ["key: # sikrit", "has a malformed line 1"],
  ["a: 1\nsikrit\n", "has a malformed line 2"],
  ["a: 1\n\n# b\nkey: 'sikrit\n", "has a malformed line 4"],
  ['{"key": "sikrit"}', "has a malformed line 1"],
  ["[key: sikrit]", "has a malformed line 1"],
  [WHOLE_CONFIGURATION, 'looks like the whole of LiveKit\'s configuration (line 4 is "keys:")'],
  ["keys: {devkey: sikrit}", 'looks like the whole of LiveKit\'s configuration (line 1 is "keys:")'],
  ["a: 1\na: sikrit\n", 'has two secrets for key "a"'],
];

for (const [text, reason] of NONE) {
  Deno.test(`the key file ${JSON.stringify(text)} is refused, and what is in it is not shown`, () => {
    const parsed = parseKeyFile(text);
    assert.ok(!parsed.ok);
    assert.equal(parsed.reason, reason);
    assert.doesNotMatch(parsed.reason + parsed.expected, /sikrit/);
  });
}

Deno.test("what is written as a key file is read back, whatever the secrets", () => {
  const name = fc.stringMatching(/^[A-Za-z0-9_.-]{1,20}$/).filter((text) => text !== "keys");
  const secret = fc.stringMatching(/^[!-~]{1,60}$/).filter((text) => !/^["'#]|["']$/.test(text));
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.tuple(name, secret), { minLength: 1, maxLength: 5, selector: ([name]) => name }),
      (keys) => {
        const text = keys.map(([name, secret]) => `${name}: ${secret}\n`).join("");
        assert.deepEqual(keysOf(text), keys);
      },
    ),
    { seed: 5 },
  );
});
