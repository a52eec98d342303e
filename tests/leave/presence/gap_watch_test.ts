// What the watch notices about clocks, and about webhooks.

import assert from "node:assert/strict";
import { GapWatch } from "../../../lib/leave/presence/gap_watch.ts";
import { RecordingLog } from "../../../testing/recording_log.ts";
import { VirtualTime } from "../../../testing/virtual_time.ts";

function bench() {
  const time = new VirtualTime();
  const log = new RecordingLog();
  const gaps: number[] = [];
  const watch = new GapWatch({ clock: time, log, onGap: (lostMs) => gaps.push(lostMs) });
  watch.start();
  return { time, log, gaps, watch };
}

const CLOCKS: readonly (readonly [name: string, move: (time: VirtualTime) => void, gaps: readonly number[]])[] = [
  ["a suspended host is a gap, of which the monotonic clock knows nothing", (time) => time.suspend(60_000), [60_000]],
  ["a stopped process is a gap", (time) => time.stall(60_000), [0]],
  ["a clock set ahead is a gap", (time) => time.jumpWallClock(60_000), [60_000]],
  ["a clock set back is none", (time) => time.jumpWallClock(-60_000), []],
  ["a clock set right by two seconds is none", (time) => time.jumpWallClock(2000), []],
  ["a process held up for ten seconds is none", (time) => time.stall(10_000), []],
];
for (const [name, move, expected] of CLOCKS) {
  Deno.test(name, async () => {
    const { time, log, gaps } = bench();
    await time.advance(20_000);
    move(time);
    await time.advance(100_000);
    assert.deepEqual(gaps, expected);
    assert.equal(log.of("warning").length, expected.length);
  });
}

Deno.test("webhooks never came, arrive, and are silent after five minutes", async () => {
  const { time, watch } = bench();
  assert.equal(watch.webhooks, "never came");
  watch.webhookSeen();
  await time.advance(299_000);
  assert.equal(watch.webhooks, "arrive");
  await time.advance(1000);
  assert.equal(watch.webhooks, "are silent");
});

Deno.test("that webhooks never arrive is said when one should have come, and with what to set", async () => {
  const { time, watch, log } = bench();
  await time.advance(300_000);
  assert.equal(log.of("warning").length, 0, "nobody has delegated anything");
  watch.webhookExpected();
  await time.advance(55_000);
  assert.equal(log.of("warning").length, 0);
  await time.advance(10_000);
  assert.match(log.of("warning")[0]?.message ?? "", /No webhook of LiveKit has ever arrived.*webhook\.urls/);
  watch.webhookSeen();
  const count = log.of("warning").length;
  await time.advance(200_000);
  assert.equal(log.of("warning").length, count);
});

Deno.test("a closed watch does nothing more", async () => {
  const { time, gaps, watch } = bench();
  watch.close();
  time.jumpWallClock(60_000);
  await time.advance(60_000);
  assert.deepEqual(gaps, []);
});
