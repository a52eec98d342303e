// API keys: from a key file, from one file per value, or from plain variables, and which of them wins.

import assert from "node:assert/strict";
import { parse, problemsOf } from "./config_harness.ts";

const S1 = "first secret of 32 characters or more";
const S2 = "second secret of 32 characters or more";

function keysOf(changes: Readonly<Record<string, string | undefined>>, files: Readonly<Record<string, string>>) {
  const { config, warnings } = parse({ LIVEKIT_KEY: undefined, LIVEKIT_SECRET: undefined, ...changes }, files);
  return { keys: config.apiKeys.map(({ name, secret }) => [name, secret.reveal()]), warnings };
}

Deno.test("plain values are trimmed", () => {
  assert.deepEqual(keysOf({ LIVEKIT_KEY: " key\r\n", LIVEKIT_SECRET: `\n${S1} ` }, {}), {
    keys: [["key", S1]],
    warnings: [],
  });
});

Deno.test("values from files are trimmed", () => {
  const changes = { LIVEKIT_KEY_FROM_FILE: "/key", LIVEKIT_SECRET_FROM_FILE: "/secret" };
  assert.deepEqual(keysOf(changes, { "/key": "  key\r\n", "/secret": `${S1}\n\n` }), {
    keys: [["key", S1]],
    warnings: [],
  });
});

Deno.test("a file wins over the plain variable, and a warning says so", () => {
  const changes = { LIVEKIT_KEY: "key", LIVEKIT_SECRET: S2, LIVEKIT_SECRET_FROM_FILE: "/secret" };
  assert.deepEqual(keysOf(changes, { "/secret": S1 }), {
    keys: [["key", S1]],
    warnings: ["LIVEKIT_SECRET_FROM_FILE is set, so LIVEKIT_SECRET had no effect"],
  });
});

Deno.test("the key file wins over all others, and a warning names them", () => {
  const changes = {
    LIVEKIT_KEY_FILE: "/keys",
    LIVEKIT_KEY: "other",
    LIVEKIT_KEY_FROM_FILE: "/key",
    LIVEKIT_SECRET: S2,
    LIVEKIT_SECRET_FROM_FILE: "/secret",
  };
  assert.deepEqual(keysOf(changes, { "/keys": `key: ${S1}\n` }), {
    keys: [["key", S1]],
    warnings: [
      "LIVEKIT_KEY_FILE is set, so LIVEKIT_KEY_FROM_FILE, LIVEKIT_SECRET, LIVEKIT_SECRET_FROM_FILE, LIVEKIT_KEY had no effect",
    ],
  });
});

Deno.test("of several keys the first signs, or the one that LIVEKIT_KEY names", () => {
  const files = { "/keys": `a: ${S1}\nb: ${S2}\n` };
  assert.deepEqual(keysOf({ LIVEKIT_KEY_FILE: "/keys" }, files), { keys: [["a", S1], ["b", S2]], warnings: [] });
  assert.deepEqual(keysOf({ LIVEKIT_KEY_FILE: "/keys", LIVEKIT_KEY: " b\n" }, files), {
    keys: [["b", S2], ["a", S1]],
    warnings: [],
  });
});

Deno.test("a LIVEKIT_KEY that is none of several keys is refused", () => {
  assert.deepEqual(problemsOf({ LIVEKIT_KEY_FILE: "/keys", LIVEKIT_KEY: "c" }, { "/keys": `a: ${S1}\nb: ${S2}` }), [
    'LIVEKIT_KEY is "c", expected one of the keys in "/keys"',
  ]);
});

Deno.test("a key with two secrets is refused, and neither is shown; the same line twice is not", () => {
  const twice = `a: ${S1}\nb: ${S2}\na: ${S2}\n`;
  for (const changes of [{}, { LIVEKIT_KEY: "a" }, { LIVEKIT_KEY: "b" }]) {
    assert.deepEqual(problemsOf({ LIVEKIT_KEY_FILE: "/keys", ...changes }, { "/keys": twice }), [
      'LIVEKIT_KEY_FILE names "/keys", which has two secrets for key "a", expected one secret per key',
    ]);
  }
  const same = keysOf({ LIVEKIT_KEY_FILE: "/keys" }, { "/keys": `a: ${S1}\n"a": '${S1}'\n` });
  assert.deepEqual([same.keys[0], same.warnings], [["a", S1], []]);
});

Deno.test("every key of the file is looked at for weak secrets", () => {
  const { warnings } = keysOf({ LIVEKIT_KEY_FILE: "/keys" }, { "/keys": `a: ${S1}\nb: short` });
  assert.deepEqual(warnings, ['The secret of API key "b" has under 32 characters: it can be guessed']);
});

const UNUSABLE: readonly (readonly [what: string, changes: Readonly<Record<string, string>>, problem: RegExp])[] = [
  ["a missing key file", { LIVEKIT_KEY_FILE: "/none" }, /^LIVEKIT_KEY_FILE names "\/none", which cannot be read/],
  [
    "an empty key file",
    { LIVEKIT_KEY_FILE: "/empty" },
    /^LIVEKIT_KEY_FILE names "\/empty", which has no key, expected lines of the form "key: secret"$/,
  ],
  [
    "a malformed key file",
    { LIVEKIT_KEY_FILE: "/bad" },
    /^LIVEKIT_KEY_FILE names "\/bad", which has one value, expected lines .*, or LIVEKIT_KEY_FROM_FILE as the variable's name$/,
  ],
  [
    "a missing secret file",
    { LIVEKIT_SECRET_FROM_FILE: "/none" },
    /^LIVEKIT_SECRET_FROM_FILE names "\/none", which cannot be read/,
  ],
  [
    "an empty secret file",
    { LIVEKIT_SECRET_FROM_FILE: "/empty" },
    /^LIVEKIT_SECRET_FROM_FILE names "\/empty", which is empty/,
  ],
  [
    "an empty key name file",
    { LIVEKIT_KEY_FROM_FILE: "/empty" },
    /^LIVEKIT_KEY_FROM_FILE names "\/empty", which is empty/,
  ],
];

for (const [what, changes, problem] of UNUSABLE) {
  Deno.test(`${what} is refused, and its content is not shown`, () => {
    const problems = problemsOf(changes, { "/empty": " \r\n", "/bad": "just-a-sikrit" });
    assert.equal(problems.length, 1);
    assert.match(problems[0] ?? "", problem);
    assert.doesNotMatch(problems[0] ?? "", /sikrit/);
  });
}
