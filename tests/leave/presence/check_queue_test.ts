// The queue of presence checks: who goes first, what a room that hangs costs the others, and an SFU that can't be reached.

import assert from "node:assert/strict";
import { DeadlineError } from "../../../lib/async/deadline.ts";
import { type CheckClass, CheckQueue, CheckSkipped } from "../../../lib/leave/presence/check_queue.ts";
import { roomAlias } from "../../../lib/livekit/identity.ts";
import { SfuError } from "../../../lib/livekit/sfu_error.ts";
import { settle, VirtualTime } from "../../../testing/virtual_time.ts";

const ANSWER_MS = 10;

function bench() {
  const time = new VirtualTime();
  const queue = new CheckQueue(time);
  const hanging = new Set<string>();
  const state = { isRefusing: false, underWay: 0, most: 0, asked: 0 };
  const ended: { name: string; at: number; how: "answered" | "silent" | "refused" | "skipped" }[] = [];
  const check = (name: string, room: string, of: CheckClass = "prompt") => {
    const ask = async (timeoutMs: number) => {
      state.asked++;
      state.most = Math.max(state.most, ++state.underWay);
      const takesMs = hanging.has(room) ? timeoutMs : ANSWER_MS;
      await new Promise<void>((resolve) => time.after(state.isRefusing ? 1 : takesMs, resolve));
      state.underWay--;
      if (state.isRefusing) throw new SfuError("connect", "connection refused");
      if (hanging.has(room)) throw new DeadlineError("no answer");
    };
    const end = (how: typeof ended[number]["how"]) => ended.push({ name, at: time.elapsed(), how });
    queue.run(roomAlias(room, "slot"), of, ask).then(() => end("answered"), (error: unknown) => {
      end(error instanceof CheckSkipped ? "skipped" : error instanceof DeadlineError ? "silent" : "refused");
    });
  };
  return { time, hanging, state, ended, check };
}

Deno.test("a check behind somebody's leave goes before ten thousand lists", async () => {
  const { time, state, ended, check } = bench();
  for (let n = 0; n < 10_000; n++) check("list", `room ${n}`, "routine");
  await time.advance(100);
  assert.equal(state.most, 12);
  check("leave", "room 5000");
  await time.advance(ANSWER_MS + 1);
  assert.equal(ended.at(-1)?.name ?? "", "leave");
  await time.advance(10_000);
  assert.equal(ended.length, 10_001);
});

Deno.test("at most 24 checks go on at once", async () => {
  const { time, state, check } = bench();
  for (let n = 0; n < 1000; n++) check("leave", `room ${n}`);
  await time.advance(5000);
  assert.deepEqual([state.most, state.asked], [24, 1000]);
});

Deno.test("a room whose node hangs, with a thousand checks, delays nobody else's leave", async () => {
  const { time, hanging, ended, check } = bench();
  hanging.add("bad");
  for (let n = 0; n < 1000; n++) check("bad", "bad");
  check("good", "good");
  await time.advance(ANSWER_MS + 1);
  assert.deepEqual(ended.map(({ name, how }) => [name, how]), [["good", "answered"]]);
  // And those who wait for it are told in one go.
  await time.advance(2000);
  assert.equal(ended.length, 1001);
});

Deno.test("two hundred rooms whose nodes hang delay a leave elsewhere by seconds, and the next one not at all", async () => {
  const { time, hanging, ended, check } = bench();
  for (let n = 0; n < 200; n++) {
    hanging.add(`bad ${n}`);
    check("bad", `bad ${n}`);
  }
  await settle();
  check("good", "good");
  await time.advance(8000);
  const first = ended.find(({ name }) => name === "good");
  assert.ok(first !== undefined && first.at <= 8000);
  for (let n = 0; n < 200; n++) check("bad", `bad ${n}`);
  await settle();
  const from = time.elapsed();
  check("next", "good");
  await time.advance(ANSWER_MS + 1);
  assert.ok(ended.some(({ name, at }) => name === "next" && at - from <= ANSWER_MS + 1));
});

Deno.test("a room that answers again is asked as before", async () => {
  const { time, hanging, ended, check } = bench();
  hanging.add("room");
  check("first", "room");
  await time.advance(2001);
  hanging.clear();
  check("second", "room");
  await time.advance(ANSWER_MS + 1);
  for (let n = 0; n < 4; n++) check("later", "room");
  await time.advance(ANSWER_MS + 1);
  assert.deepEqual(ended.map(({ how }) => how), ["silent", ...Array(5).fill("answered")]);
});

Deno.test("an SFU that refuses connections gets one probe at a time, ever more rarely; nobody waits for it", async () => {
  const { time, state, ended, check } = bench();
  state.isRefusing = true;
  check("first", "room");
  await time.advance(10);
  const checks = 60_000 / 20;
  for (let n = 0; n < checks; n++) {
    check("again", `room ${n}`);
    await time.advance(20);
  }
  assert.ok(state.asked >= 10 && state.asked <= 25, `${state.asked} probes in a minute`);
  assert.equal(ended.length, checks + 1);
  state.isRefusing = false;
  await time.advance(5000);
  check("probe", "room");
  await time.advance(ANSWER_MS + 1);
  check("after", "room");
  await time.advance(ANSWER_MS + 1);
  assert.deepEqual(ended.slice(-2).map(({ how }) => how), ["answered", "answered"]);
});
