// New keys from the same files: all of them take over, or none does.

import assert from "node:assert/strict";
import { rotateKeys } from "../../lib/config/key_rotation.ts";
import type { ApiKey } from "../../lib/livekit/access_token.ts";
import { RecordingLog } from "../../testing/recording_log.ts";

const LONG = "a secret of at least 32 characters";

function rotate(variables: Readonly<Record<string, string>>, files: Readonly<Record<string, string>>) {
  const log = new RecordingLog();
  const used: (readonly ApiKey[])[] = [];
  const readTextFile = (path: string) => {
    const text = files[path];
    if (text === undefined) throw new Deno.errors.NotFound("No such file or directory (os error 2)");
    return text;
  };
  rotateKeys({ variables, readTextFile, useKeys: (keys) => used.push(keys), log });
  return { log, used: used.map((keys) => keys.map(({ name, secret }) => `${name}=${secret.reveal()}`)) };
}

Deno.test("a key file with another first key makes that one sign, and takes the webhooks of all", () => {
  const { used, log } = rotate({ LIVEKIT_KEY_FILE: "/keys" }, { "/keys": `new: ${LONG}1\nold: ${LONG}2\n` });
  assert.deepEqual(used, [[`new=${LONG}1`, `old=${LONG}2`]]);
  assert.deepEqual(log.entries, [{
    level: "info",
    message: "Read the API keys anew",
    fields: { signs: "new", takes_webhooks_of: ["new", "old"] },
  }]);
});

Deno.test("a secret in a file of its own is read anew", () => {
  const { used } = rotate({ LIVEKIT_KEY: "key", LIVEKIT_SECRET_FROM_FILE: "/s" }, { "/s": `${LONG}\n` });
  assert.deepEqual(used, [[`key=${LONG}`]]);
});

const BROKEN: readonly (readonly [what: string, files: Readonly<Record<string, string>>, problem: RegExp])[] = [
  ["missing", {}, /^LIVEKIT_KEY_FILE names "\/keys", which cannot be read/],
  ["empty", { "/keys": "" }, /which has no key/],
  ["half written", { "/keys": `new: ${LONG}\nol` }, /which has a malformed line 2/],
];

for (const [what, files, problem] of BROKEN) {
  Deno.test(`a key file that is ${what} changes nothing and is one line of the log, without a secret`, () => {
    const { used, log } = rotate({ LIVEKIT_KEY_FILE: "/keys" }, files);
    assert.deepEqual(used, []);
    assert.equal(log.entries.length, 1);
    const [entry] = log.of("error");
    assert.match(entry?.message ?? "", /the old ones stay$/);
    assert.match(String(entry?.fields["problems"]), problem);
    assert.ok(!log.text.includes(LONG));
  });
}

Deno.test("keys that come from no file are left alone", () => {
  const { used, log } = rotate({ LIVEKIT_KEY: "key", LIVEKIT_SECRET: LONG }, {});
  assert.deepEqual(used, []);
  assert.deepEqual(log.entries.map(({ message }) => message), ["Nothing to read anew: no API key comes from a file"]);
});

Deno.test("what is odd about the new keys is said, what was said about the environment is not said again", () => {
  const variables = { LIVEKIT_KEY_FILE: "/keys", LIVEKIT_URL: '"wss://sfu"' };
  const { used, log } = rotate(variables, { "/keys": "new: short" });
  assert.equal(used.length, 1);
  assert.deepEqual(log.of("warning").map(({ message }) => message), [
    'The secret of API key "new" has under 32 characters: it can be guessed',
  ]);
});
