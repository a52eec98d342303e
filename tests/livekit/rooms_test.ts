// Is the room there: one CreateRoom per storm, ten seconds of memory where the SFU's answer allows it, none for failures.

import assert from "node:assert/strict";
import { roomAlias } from "../../lib/livekit/identity.ts";
import type { RoomState } from "../../lib/livekit/room_service.ts";
import { SfuError } from "../../lib/livekit/sfu_error.ts";
import { Rooms } from "../../lib/livekit/rooms.ts";
import { ManualClock } from "../../testing/manual_clock.ts";

const ALIAS = roomAlias("!room:example.com", "m.call#ROOM");
const FRESH: RoomState = { participants: 0, ageMs: 400 };

class PlayedSfu {
  readonly clock = new ManualClock();
  calls = 0;
  readonly rooms: Rooms;
  answer: () => Promise<RoomState> = () => Promise.resolve(FRESH);

  constructor() {
    this.rooms = new Rooms({
      roomService: {
        createRoom: () => {
          this.calls++;
          return this.answer();
        },
      },
      clock: this.clock,
    });
  }

  ensure(alias = ALIAS, signal = new AbortController().signal): Promise<boolean> {
    return this.rooms.ensure(alias, signal);
  }
}

Deno.test("200 requests for one room at once cost one CreateRoom", async () => {
  const sfu = new PlayedSfu();
  const gate = Promise.withResolvers<RoomState>();
  sfu.answer = () => gate.promise;
  const storm = Array.from({ length: 200 }, () => sfu.ensure());
  gate.resolve(FRESH);
  await Promise.all(storm);
  assert.equal(sfu.calls, 1);
});

Deno.test("who need not ask the SFU, since another request did or does, is told", async () => {
  const sfu = new PlayedSfu();
  const known = await Promise.all([sfu.ensure(), sfu.ensure()]);
  assert.deepEqual([...known, await sfu.ensure()], [false, true, true]);
});

Deno.test("different rooms do not wait for each other", async () => {
  const sfu = new PlayedSfu();
  await Promise.all([sfu.ensure(), sfu.ensure(roomAlias("!other:example.com", "m.call#ROOM"))]);
  assert.equal(sfu.calls, 2);
});

const MEMORY: readonly (readonly [what: string, state: RoomState, remembered: boolean])[] = [
  ["created just now", { participants: 0, ageMs: 0 }, true],
  ["9.999 s old and empty", { participants: 0, ageMs: 9999 }, true],
  ["10 s old and empty", { participants: 0, ageMs: 10_000 }, false],
  ["an hour old and empty", { participants: 0, ageMs: 3_600_000 }, false],
  ["an hour old with somebody in it", { participants: 1, ageMs: 3_600_000 }, true],
  ["created half a second ahead, by rounding", { participants: 0, ageMs: -500 }, true],
  ["created an hour ahead", { participants: 0, ageMs: -3_600_000 }, false],
];

for (const [what, state, remembered] of MEMORY) {
  Deno.test(`a room ${what} is ${remembered ? "remembered for ten seconds" : "asked for again at once"}`, async () => {
    const sfu = new PlayedSfu();
    sfu.answer = () => Promise.resolve(state);
    await sfu.ensure();
    sfu.clock.advance(9999);
    await sfu.ensure();
    assert.equal(sfu.calls, remembered ? 1 : 2);
    if (!remembered) return;
    sfu.clock.advance(1);
    await sfu.ensure();
    assert.equal(sfu.calls, 2);
  });
}

Deno.test("use does not prolong the memory", async () => {
  const sfu = new PlayedSfu();
  for (const ms of [0, 3000, 3000, 3000, 999]) {
    sfu.clock.advance(ms);
    await sfu.ensure();
  }
  assert.equal(sfu.calls, 1);
  sfu.clock.advance(1);
  await sfu.ensure();
  assert.equal(sfu.calls, 2);
});

Deno.test("a room that has ended is created anew", async () => {
  const sfu = new PlayedSfu();
  await sfu.ensure();
  sfu.rooms.forget(ALIAS);
  await sfu.ensure();
  assert.equal(sfu.calls, 2);
});

Deno.test("the memory holds 5,000 rooms, and forgets the one used longest ago", async () => {
  const sfu = new PlayedSfu();
  const aliases = Array.from({ length: 5001 }, (_, index) => roomAlias(`!${index}:example.com`, "m.call#ROOM"));
  for (const alias of aliases) await sfu.ensure(alias);
  await sfu.ensure(aliases[5000]);
  await sfu.ensure(aliases[1]);
  assert.equal(sfu.calls, 5001);
  await sfu.ensure(aliases[0]);
  assert.equal(sfu.calls, 5002);
});

Deno.test("a failure reaches every waiting request with its class, and is not remembered", async () => {
  const sfu = new PlayedSfu();
  sfu.answer = () => Promise.reject(new SfuError("key-mismatch", "SFU answered 401"));
  const outcomes = await Promise.allSettled(Array.from({ length: 50 }, () => sfu.ensure()));
  for (const outcome of outcomes) {
    assert.equal(outcome.status, "rejected");
    const { status, errcode, message, details, cause } = outcome.reason;
    assert.deepEqual([status, errcode, message], [500, "M_UNKNOWN", "Unable to create room on SFU"]);
    assert.deepEqual([details.fields, cause instanceof SfuError && cause.answered], [
      { failure: "key-mismatch" },
      "SFU answered 401",
    ]);
  }

  sfu.answer = () => Promise.resolve(FRESH);
  await sfu.ensure();
  assert.equal(sfu.calls, 2);
});

Deno.test("a request past its deadline stops waiting, and the room is there for the next one", async () => {
  const sfu = new PlayedSfu();
  const gate = Promise.withResolvers<RoomState>();
  sfu.answer = () => gate.promise;
  const deadline = new AbortController();
  const late = sfu.ensure(ALIAS, deadline.signal);
  const patient = sfu.ensure();
  deadline.abort(new Error("late"));
  await assert.rejects(late, { status: 500, message: "Unable to create room on SFU" });
  gate.resolve(FRESH);
  await patient;
  await sfu.ensure();
  assert.equal(sfu.calls, 1);
});

Deno.test("a mistake in the code is not taken for a fault of the SFU", async () => {
  const sfu = new PlayedSfu();
  sfu.answer = () => Promise.reject(new TypeError("undefined is not a function"));
  await assert.rejects(sfu.ensure(), TypeError);
});
