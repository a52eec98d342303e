// Webhooks wait in one bounded queue, and are told one after another.

import assert from "node:assert/strict";
import { parseRoomAlias } from "../../lib/livekit/identity.ts";
import type { SfuEvent } from "../../lib/livekit/sfu_event.ts";
import { WebhookQueue } from "../../lib/livekit/webhook_queue.ts";
import { RecordingLog } from "../../testing/recording_log.ts";

const CLAIMS = { sha256: "", signedAtSeconds: null };

function bench() {
  const log = new RecordingLog();
  const taken: string[] = [];
  const counts = { other: 0, lost: 0 };
  const gate = { open: () => {}, closed: Promise.resolve(), onLost: () => {} };
  const queue = new WebhookQueue({
    receiver: {
      // The body is the name of a room that has finished, or what else becomes of it.
      read(body): SfuEvent | null {
        const text = new TextDecoder().decode(body);
        if (text === "bug") throw new TypeError("no such thing");
        const room = parseRoomAlias(text);
        if (text === "bad" || room === null) return null;
        return text === "other" ? { type: "other" } : { type: "room-finished", room };
      },
    },
    listeners: [
      async (event) => {
        if (event.type !== "room-finished") return void counts.other++;
        await gate.closed;
        // The first ones take longest: order must not come from speed.
        for (let count = 0; count < 20 - taken.length; count++) await null;
        if (event.room === parseRoomAlias("stumble")) throw new TypeError("no such room");
        taken.push(event.room);
      },
      (event) => {
        if (event.type === "room-finished") taken.push(`${event.room} again`);
      },
    ],
    onLost() {
      counts.lost++;
      gate.onLost();
    },
    log,
  });
  const close = () => gate.closed = new Promise((resolve) => gate.open = resolve);
  const put = (text: string) => queue.put(new TextEncoder().encode(text), CLAIMS);
  return { queue, log, taken, counts, close, open: () => gate.open(), put, gate };
}

Deno.test("every listener is told of every event, in the order in which they came", async () => {
  const { queue, taken, put } = bench();
  for (const name of ["a", "b", "c"]) put(name);
  await queue.settle();
  assert.deepEqual(taken, ["a", "a again", "b", "b again", "c", "c again"]);
});

Deno.test("putting in does not wait for anything", () => {
  const { taken, put } = bench();
  put("a");
  assert.deepEqual(taken, []);
});

Deno.test("what does not verify, or fails, does not stop the next one", async () => {
  const { queue, taken, log, put } = bench();
  for (const text of ["bad", "bug", "stumble", "c"]) put(text);
  await queue.settle();
  assert.deepEqual(taken, ["c", "c again"]);
  const [first, second] = log.of("error").map(({ fields }) => String(fields.stack));
  assert.match(first ?? "", /no such thing/);
  assert.match(second ?? "", /no such room/);
});

Deno.test("what is beyond 4,000 waiting events is dropped, said once, and made good when the queue is empty", async () => {
  const { queue, taken, log, counts, close, open, put } = bench();
  close();
  for (let count = 0; count < 12_000; count++) put(`${count}`);
  assert.equal(counts.lost, 0);
  open();
  await queue.settle();
  assert.equal(taken.length, 8000);
  assert.equal(log.of("warning").length, 1);
  assert.equal(counts.lost, 1);
  put("after");
  await queue.settle();
  assert.equal(taken.at(-1), "after again");
  assert.equal(counts.lost, 1);
});

Deno.test("events of no interest neither wait nor take room, however many come", async () => {
  const { queue, taken, log, counts, close, open, put } = bench();
  close();
  put("a");
  for (let count = 0; count < 12_000; count++) put("other");
  put("b");
  assert.equal(counts.other, 12_000);
  open();
  await queue.settle();
  assert.deepEqual(taken, ["a", "a again", "b", "b again"]);
  assert.equal(log.of("warning").length, 0);
});

Deno.test("what cannot be made good does not stop the next event", async () => {
  const { queue, taken, log, close, open, put, gate } = bench();
  gate.onLost = () => {
    throw new TypeError("no way to look");
  };
  close();
  for (let count = 0; count < 10_001; count++) put(`${count}`);
  open();
  await queue.settle();
  put("after");
  await queue.settle();
  assert.equal(taken.at(-1), "after again");
  assert.match(String(log.of("error")[0]?.fields.stack), /no way to look/);
});
