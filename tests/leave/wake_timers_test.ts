// One timer for any number of jobs.

import assert from "node:assert/strict";
import fc from "fast-check";
import { WakeTimers } from "../../lib/leave/wake_timers.ts";
import { VirtualTime } from "../../testing/virtual_time.ts";

function bench() {
  const time = new VirtualTime();
  const woken: [key: string, at: number][] = [];
  let running = 0;
  let mostTimers = 0;
  const timers = new WakeTimers({
    clock: {
      monotonicNow: time.monotonicNow,
      setTimer(run, delayMs) {
        mostTimers = Math.max(mostTimers, ++running);
        let isOver = false;
        const over = () => {
          if (!isOver) running--;
          isOver = true;
        };
        const cancel = time.setTimer(() => {
          over();
          run();
        }, delayMs);
        return () => {
          over();
          cancel();
        };
      },
    },
    onDue: (key) => woken.push([key, time.monotonicNow()]),
  });
  return { time, timers, woken, timersNow: () => running, mostTimers: () => mostTimers };
}

Deno.test("keys are woken at their times, in order, by one timer", async () => {
  const { time, timers, woken, mostTimers, timersNow } = bench();
  timers.set("c", 3000);
  timers.set("a", 1000);
  timers.set("b", 2000);
  await time.advance(10_000);
  assert.deepEqual(woken, [["a", 1000], ["b", 2000], ["c", 3000]]);
  assert.equal(mostTimers(), 1);
  assert.equal(timersNow(), 0);
});

Deno.test("a time set anew takes the place of the old one, earlier or later", async () => {
  const { time, timers, woken } = bench();
  timers.set("a", 1000);
  timers.set("a", 5000);
  timers.set("b", 5000);
  timers.set("b", 1000);
  await time.advance(10_000);
  assert.deepEqual(woken, [["b", 1000], ["a", 5000]]);
});

Deno.test("a key that is deleted, or set to never, is not woken", async () => {
  const { time, timers, woken } = bench();
  timers.set("a", 1000);
  timers.set("b", 1000);
  timers.delete("a");
  timers.set("b", Infinity);
  await time.advance(10_000);
  assert.deepEqual(woken, []);
});

Deno.test("a key set again to the time it was deleted at is woken once", async () => {
  const { time, timers, woken } = bench();
  timers.set("a", 1000);
  timers.delete("a");
  timers.set("a", 1000);
  await time.advance(10_000);
  assert.deepEqual(woken, [["a", 1000]]);
});

Deno.test("times beyond what a timer can hold are kept", async () => {
  const { time, timers, woken } = bench();
  timers.set("a", 2 ** 31 + 5);
  await time.advance(2 ** 31 + 5);
  assert.deepEqual(woken, [["a", 2 ** 31 + 5]]);
});

Deno.test("a time that has passed is woken at once, also after a suspended host's", async () => {
  const { time, timers, woken } = bench();
  await time.advance(5000);
  timers.set("a", 1);
  timers.set("b", 5000.25);
  await time.advance(1);
  assert.deepEqual(woken, [["a", 5000], ["b", 5001]]);
});

Deno.test("times set over and over leave nothing behind", () => {
  const { timers } = bench();
  for (let count = 0; count < 100_000; count++) timers.set(`${count % 10}`, 1000 + count);
  assert.ok(timers.size < 2000, `${timers.size} entries`);
  timers.close();
});

Deno.test("closing stops everything", async () => {
  const { time, timers, woken, timersNow } = bench();
  timers.set("a", 1000);
  timers.close();
  assert.equal(timersNow(), 0);
  await time.advance(10_000);
  assert.deepEqual(woken, []);
});

Deno.test("whatever is set in whatever order, each key is woken once, at the last time set", async () => {
  const set = fc.tuple(fc.constantFrom("a", "b", "c", "d"), fc.oneof(fc.nat(100_000), fc.constant(Infinity)));
  await fc.assert(
    fc.asyncProperty(fc.array(set, { maxLength: 40 }), async (sets) => {
      const { time, timers, woken } = bench();
      for (const [key, at] of sets) timers.set(key, at);
      await time.advance(200_000);
      const expected = [...new Map(sets)].filter(([, at]) => at !== Infinity);
      assert.deepEqual(new Map(woken), new Map(expected));
      assert.equal(woken.length, expected.length);
    }),
    { numRuns: 100 },
  );
});
