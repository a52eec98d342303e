// The room poll: how often rooms are listed, with and without webhooks, and what becomes of those that could not be.

import assert from "node:assert/strict";
import { RoomPoll, type RoomPollDeps } from "../../../lib/leave/presence/room_poll.ts";
import { roomAlias } from "../../../lib/livekit/identity.ts";
import { VirtualTime } from "../../../testing/virtual_time.ts";

const ROOMS = ["r1", "r2", "r3"].map((room) => roomAlias(room, "slot"));

function bench(intervalMs: number, webhooks: ReturnType<RoomPollDeps["webhooks"]> = "arrive") {
  const time = new VirtualTime();
  const listed: string[] = [];
  const state = { webhooks, answer: (): Promise<boolean> => Promise.resolve(true) };
  const poll = new RoomPoll({
    clock: time,
    intervalMs,
    webhooks: () => state.webhooks,
    rooms: () => ROOMS,
    list: (room) => {
      listed.push(room);
      return state.answer();
    },
  });
  poll.start();
  return { time, listed, state, poll };
}

Deno.test("each room with somebody connected is listed once an interval", async () => {
  const { time, listed } = bench(60_000);
  await time.advance(59_000);
  assert.deepEqual(listed, []);
  await time.advance(6000);
  assert.deepEqual(listed.toSorted(), ROOMS.toSorted());
  await time.advance(120_000);
  assert.equal(listed.length, 9);
});

const INTERVALS:
  readonly (readonly [chosenMs: number, webhooks: ReturnType<RoomPollDeps["webhooks"]>, inMs: number])[] = [
    [0, "arrive", 900_000],
    [3_600_000, "arrive", 900_000],
    [60_000, "arrive", 60_000],
    [0, "are silent", 300_000],
    [3_600_000, "are silent", 300_000],
    [60_000, "are silent", 60_000],
    [0, "never came", 15_000],
    [60_000, "never came", 15_000],
  ];
for (const [chosenMs, webhooks, everyMs] of INTERVALS) {
  Deno.test(`where webhooks ${webhooks} and ${chosenMs / 1000} s are chosen, rooms are listed every ${everyMs / 1000} s`, async () => {
    const { time, listed } = bench(chosenMs, webhooks);
    await time.advance(everyMs * 4);
    assert.equal(listed.length, 4 * ROOMS.length);
  });
}

Deno.test("a room that could not be listed is listed again soon, until it was", async () => {
  const { time, listed, state } = bench(600_000);
  state.answer = () => Promise.resolve(false);
  await time.advance(602_000);
  assert.equal(listed.length, 3);
  await time.advance(10_000);
  assert.equal(listed.length, 9);
  state.answer = () => Promise.resolve(true);
  await time.advance(60_000);
  assert.equal(listed.length, 12);
});

Deno.test("no poll begins during another", async () => {
  const { time, listed, state } = bench(60_000);
  state.answer = () => new Promise((resolve) => time.after(200_000, () => resolve(true)));
  await time.advance(190_000);
  assert.equal(listed.length, 3);
  await time.advance(100_000);
  assert.equal(listed.length, 6);
});

Deno.test("a closed poll does nothing more", async () => {
  const { time, listed, poll } = bench(60_000);
  poll.close();
  await time.advance(300_000);
  assert.deepEqual(listed, []);
});
