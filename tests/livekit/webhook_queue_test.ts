// Webhooks wait in one bounded queue, and are taken in one after another.

import assert from "node:assert/strict";
import { Inbox } from "../../lib/livekit/webhook_queue.ts";
import type { SfuEvent } from "../../lib/livekit/webhook_receiver.ts";
import { RecordingLog } from "../../testing/recording_log.ts";

function bench() {
  const log = new RecordingLog();
  const taken: string[] = [];
  const refused = { count: 0 };
  const gate = { open: () => {}, closed: Promise.resolve() };
  const inbox = new Inbox({
    webhooks: {
      isSigned: (authorization) => authorization !== "junk",
      async receive(body, authorization) {
        refused.count += authorization === "junk" ? 1 : 0;
        if (authorization === "junk") return null;
        await gate.closed;
        if (authorization === "bad") return null;
        if (authorization === "bug") throw new TypeError("no such thing");
        return { type: "room-finished", room: new TextDecoder().decode(body) } as SfuEvent;
      },
    },
    listeners: [
      async (event) => {
        // The first ones take longest: order must not come from speed.
        for (let count = 0; count < 20 - taken.length; count++) await null;
        if (event.type === "room-finished") taken.push(event.room);
      },
      (event) => {
        if (event.type === "room-finished") taken.push(`${event.room} again`);
      },
    ],
    log,
  });
  const close = () => gate.closed = new Promise((resolve) => gate.open = resolve);
  const put = (text: string, authorization = "good") => inbox.put(new TextEncoder().encode(text), authorization);
  return { inbox, log, taken, refused, close, open: () => gate.open(), put };
}

Deno.test("every listener is told of every event, in the order in which they came", async () => {
  const { inbox, taken, put } = bench();
  for (const name of ["a", "b", "c"]) put(name);
  await inbox.settle();
  assert.deepEqual(taken, ["a", "a again", "b", "b again", "c", "c again"]);
});

Deno.test("putting in does not wait for anything", () => {
  const { taken, put } = bench();
  put("a");
  assert.deepEqual(taken, []);
});

Deno.test("what does not verify, or fails, does not stop the next one", async () => {
  const { inbox, taken, log, put } = bench();
  put("a", "bad");
  put("b", "bug");
  put("c");
  await inbox.settle();
  assert.deepEqual(taken, ["c", "c again"]);
  assert.equal(log.of("error").length, 1);
  assert.match(String(log.of("error")[0]?.fields.stack), /no such thing/);
});

Deno.test("what is beyond 5,000 waiting webhooks is dropped, and said once", async () => {
  const { inbox, taken, log, close, open, put } = bench();
  close();
  for (let count = 0; count < 6000; count++) put(`${count}`);
  open();
  await inbox.settle();
  assert.equal(taken.length, 10_000);
  assert.equal(log.of("warning").length, 1);
  put("after");
  await inbox.settle();
  assert.equal(taken.at(-1), "after again");
});

Deno.test("webhooks of any size do not fill the memory", async () => {
  const { inbox, log, taken, close, open } = bench();
  close();
  const megabyte = new Uint8Array(1024 * 1024).fill(0x61);
  for (let count = 0; count < 100; count++) inbox.put(megabyte, "bad");
  inbox.put(new Uint8Array(), "good");
  open();
  await inbox.settle();
  assert.equal(log.of("warning").length, 1);
  assert.equal(taken.length, 2, "a small one still has room");
});

Deno.test("junk takes no room from genuine webhooks, however much of it comes while these wait", async () => {
  const { inbox, log, taken, refused, close, open, put } = bench();
  close();
  put("a");
  for (let count = 0; count < 6000; count++) put("x", "junk");
  put("b");
  assert.equal(refused.count, 6000);
  open();
  await inbox.settle();
  assert.deepEqual(taken, ["a", "a again", "b", "b again"]);
  assert.equal(log.of("warning").length, 0);
});
