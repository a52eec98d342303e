// What waits in the inbox is counted with its header, which may be longer than the body.

import assert from "node:assert/strict";
import { Inbox } from "../../lib/livekit/webhook_queue.ts";
import { RecordingLog } from "../../testing/recording_log.ts";

const HEADER = "x".repeat(64 * 1024);
// Of 32 MiB, with a body of one byte each.
const AS_MANY_AS_FIT = 511;

Deno.test("long headers count as bodies do, and their room is given back", async () => {
  const log = new RecordingLog();
  let gate = Promise.withResolvers<void>();
  let received = 0;
  const inbox = new Inbox({
    webhooks: {
      isSigned: () => true,
      async receive() {
        await gate.promise;
        received++;
        return null;
      },
    },
    listeners: [],
    log,
  });
  for (const round of [1, 2]) {
    gate = Promise.withResolvers<void>();
    for (let count = 0; count < AS_MANY_AS_FIT; count++) inbox.put(new Uint8Array(1), HEADER);
    assert.equal(log.of("warning").length, round - 1);
    inbox.put(new Uint8Array(1), HEADER);
    assert.equal(log.of("warning").length, round);
    gate.resolve();
    await inbox.settle();
    assert.equal(received, round * AS_MANY_AS_FIT);
  }
});
