// IDs in the log: as they are, or as pseudonyms that stay the same.

import assert from "node:assert/strict";
import { pseudonym, withIdForm } from "../../lib/log/pseudonyms.ts";
import { RecordingLog } from "../../testing/recording_log.ts";

// printf %s '@alice:example.com' | sha256sum | cut -c1-16
const ALICE = "sha256:ce0d34ae202a29b0";

const FIELDS = {
  access: "full",
  user: "@alice:example.com",
  room_id: "!room:example.com",
  room: "krj2dgxw2K6EOm9he4GfQJ6JsSVWfJ8a7BkyjZcSmxs",
  identity: "@alice:example.com:DEVICE",
  client: "203.0.113.9",
};

Deno.test("a pseudonym is what an operator can compute with sha256sum", () => {
  assert.equal(pseudonym("@alice:example.com"), ALICE);
});

Deno.test("plain leaves the log as it is", () => {
  const log = new RecordingLog();
  assert.equal(withIdForm(log, "plain"), log);
});

for (const level of ["debug", "info", "warning", "error"] as const) {
  Deno.test(`hash hides users, rooms, devices and addresses at level ${level}, and nothing else`, () => {
    const log = new RecordingLog();
    withIdForm(log, "hash")[level]("Granted", FIELDS);
    assert.deepEqual(log.entries, [{
      level,
      message: "Granted",
      fields: {
        ...FIELDS,
        user: ALICE,
        room_id: pseudonym(FIELDS.room_id),
        identity: pseudonym(FIELDS.identity),
        client: pseudonym(FIELDS.client),
      },
    }]);
    assert.doesNotMatch(log.text, /alice|!room|203\.0/);
  });
}

Deno.test("identities that are hashes already stay as LiveKit knows them", () => {
  const log = new RecordingLog();
  const fields = { identity: "vYVt8NUMTb0rAawkFqilcAtxKgY26U3Ab7R9INviNnU", steps: ["a"], count: 3 };
  withIdForm(log, "hash").info("x", fields);
  withIdForm(log, "hash").info("y");
  assert.deepEqual(log.entries.map((entry) => entry.fields), [fields, {}]);
});
