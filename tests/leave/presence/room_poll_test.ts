// The sweep: how often rooms are listed, with and without webhooks, and what it notices about clocks.

import assert from "node:assert/strict";
import type { RoomAlias } from "../../../lib/livekit/identity.ts";
import { SfuError } from "../../../lib/livekit/sfu_error.ts";
import { type Listing, RoomPoll } from "../../../lib/leave/presence/room_poll.ts";
import { RecordingLog } from "../../../testing/recording_log.ts";
import { VirtualTime } from "../../../testing/virtual_time.ts";

function bench({ intervalMs = 60_000, rooms = ["r"] as readonly string[] } = {}) {
  const time = new VirtualTime();
  const log = new RecordingLog();
  const listed: string[] = [];
  const heard: [room: string, size: number, askedAt: number][] = [];
  const state = { gaps: 0, answer: (_room: string): Promise<Listing> => Promise.resolve(new Map([["a", "PA_1"]])) };
  const sweep = new RoomPoll({
    sfu: {
      listParticipants(room) {
        listed.push(room);
        return state.answer(room);
      },
    },
    now: time.now,
    monotonicNow: time.monotonicNow,
    setTimer: time.setTimer,
    log,
    intervalMs,
    rooms: () => rooms.map((room) => room as RoomAlias),
    onListed: (room, present, askedAt) => heard.push([room, present.size, askedAt]),
    onGap: () => state.gaps++,
  });
  sweep.start();
  return { time, log, listed, heard, state, sweep };
}

Deno.test("each room with somebody connected is listed once an interval", async () => {
  const { time, sweep, listed, heard } = bench({ rooms: ["r1", "r2", "r3"] });
  sweep.webhookSeen();
  await time.advance(59_000);
  assert.deepEqual(listed, []);
  await time.advance(6000);
  assert.deepEqual(listed.toSorted(), ["r1", "r2", "r3"]);
  assert.deepEqual(heard[0]?.slice(1), [1, 60_000]);
  await time.advance(120_000);
  assert.equal(listed.length, 9);
  sweep.close();
});

Deno.test("an interval of 0 switches listing off as long as webhooks arrive", async () => {
  const { time, sweep, listed } = bench({ intervalMs: 0 });
  for (let minute = 0; minute < 20; minute++) {
    sweep.webhookSeen();
    await time.advance(60_000);
  }
  assert.deepEqual(listed, []);
  sweep.close();
});

Deno.test("when webhooks stop for five minutes, rooms are listed whatever the interval", async () => {
  for (const intervalMs of [0, 3_600_000]) {
    const { time, sweep, listed } = bench({ intervalMs });
    sweep.webhookSeen();
    await time.advance(295_000);
    assert.deepEqual(listed, []);
    await time.advance(10_000);
    assert.equal(listed.length, 1);
    await time.advance(600_000);
    assert.equal(listed.length, 3);
    sweep.close();
  }
});

Deno.test("without any webhook rooms are polled every 15 s, until the first one arrives", async () => {
  const { time, sweep, listed } = bench({ intervalMs: 0 });
  await time.advance(61_000);
  assert.equal(listed.length, 4);
  sweep.webhookSeen();
  await time.advance(200_000);
  assert.equal(listed.length, 4);
  sweep.close();
});

Deno.test("that webhooks never arrive is said once a minute, when one should have come", async () => {
  const { time, sweep, log } = bench();
  await time.advance(300_000);
  assert.equal(log.of("warning").length, 0, "nobody has handed anything over");
  sweep.webhookExpected();
  await time.advance(55_000);
  assert.equal(log.of("warning").length, 0);
  await time.advance(130_000);
  const before = log.of("warning").length;
  assert.ok(before >= 3);
  assert.equal(log.written.length, 1);
  assert.match(log.written[0]?.message ?? "", /No webhook of LiveKit has ever arrived.*webhook\.urls/);
  sweep.webhookSeen();
  await time.advance(200_000);
  assert.equal(log.of("warning").length, before);
  sweep.close();
});

const CLOCKS: readonly (readonly [name: string, move: (time: VirtualTime) => void, gaps: number])[] = [
  ["a suspended host is a gap", (time) => time.suspend(60_000), 1],
  ["a stopped process is a gap", (time) => time.stall(60_000), 1],
  ["a clock set ahead is a gap", (time) => time.jumpWallClock(60_000), 1],
  ["a clock set back is none", (time) => time.jumpWallClock(-60_000), 0],
  ["a clock set right by two seconds is none", (time) => time.jumpWallClock(2000), 0],
  ["a process held up for ten seconds is none", (time) => time.stall(10_000), 0],
];
for (const [name, move, gaps] of CLOCKS) {
  Deno.test(name, async () => {
    const { time, sweep, state, log } = bench();
    await time.advance(20_000);
    move(time);
    await time.advance(100_000);
    assert.equal(state.gaps, gaps);
    assert.equal(log.of("warning").length, gaps);
    sweep.close();
  });
}

Deno.test("a room that can't be listed tells nothing, and is said once a minute", async () => {
  const { time, sweep, state, heard, log, listed } = bench({ rooms: ["r1", "r2"] });
  sweep.webhookSeen();
  state.answer = () => Promise.reject(new SfuError("connect", "connection refused"));
  await time.advance(65_000);
  assert.equal(listed.length, 2);
  assert.deepEqual(heard, []);
  assert.equal(log.written.length, 1);
  assert.deepEqual(log.written[0]?.fields.failure, "connect");
  sweep.close();
});

Deno.test("an SFU that is down is not asked about each of a thousand rooms", async () => {
  const { time, sweep, state, listed } = bench({ rooms: Array.from({ length: 1000 }, (_, index) => `r${index}`) });
  sweep.webhookSeen();
  state.answer = () => Promise.reject(new SfuError("connect", "connection refused"));
  await time.advance(65_000);
  assert.ok(listed.length < 20, `${listed.length} lists`);
  state.answer = () => new Promise((resolve) => time.after(5, () => resolve(new Map())));
  await time.advance(65_000);
  assert.ok(listed.length >= 1000);
  sweep.close();
});

Deno.test("rooms that can't be listed keep no sweep from the others", async () => {
  const { time, sweep, state, listed } = bench({ rooms: Array.from({ length: 100 }, (_, index) => `r${index}`) });
  sweep.webhookSeen();
  state.answer = (room) => {
    return Number(room.slice(1)) >= 88
      ? Promise.reject(new SfuError("proxy", "too large"))
      : Promise.resolve(new Map());
  };
  await time.advance(125_000);
  assert.equal(new Set(listed).size, 100);
  sweep.close();
});

Deno.test("at most four rooms are listed at once, and no sweep begins during another", async () => {
  const { time, sweep, state, listed } = bench({ rooms: Array.from({ length: 100 }, (_, index) => `r${index}`) });
  let underWay = 0;
  let most = 0;
  state.answer = () => {
    most = Math.max(most, ++underWay);
    return new Promise((resolve) =>
      time.after(4000, () => {
        underWay--;
        resolve(new Map());
      })
    );
  };
  await time.advance(118_000);
  assert.equal(most, 4);
  assert.ok(listed.length <= 104);
  sweep.close();
  await time.advance(10_000);
});

Deno.test("a closed sweep does nothing more", async () => {
  const { time, sweep, listed } = bench();
  sweep.close();
  await time.advance(300_000);
  assert.deepEqual(listed, []);
});
