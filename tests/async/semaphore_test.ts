// Slots: bounded per key, handed on in order, given up by signal.

import assert from "node:assert/strict";
import fc from "fast-check";
import { Slots } from "../../lib/async/semaphore.ts";
import { countingSignal } from "../../testing/counting_signal.ts";

const never = new AbortController().signal;

/** True or false once it is settled, undefined while it waits. */
async function state(taken: Promise<boolean>): Promise<boolean | undefined> {
  return await Promise.race([taken, new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), 0))]);
}

Deno.test("keys have slots of their own, and who waits is served in order", async () => {
  const slots = new Slots(1);
  assert.equal(await slots.take("a", never), true);
  assert.equal(await slots.take("b", never), true);
  const second = slots.take("a", never);
  const third = slots.take("a", never);
  assert.equal(await state(second), undefined);
  slots.give("a");
  assert.equal(await second, true);
  assert.equal(await state(third), undefined);
  slots.give("a");
  assert.equal(await third, true);
});

Deno.test("who gives up loses the turn, and takes no slot along", async () => {
  const slots = new Slots(1);
  await slots.take("a", never);
  const controller = new AbortController();
  const givesUp = slots.take("a", controller.signal);
  const patient = slots.take("a", never);
  controller.abort();
  assert.equal(await givesUp, false);
  assert.equal(await slots.take("a", controller.signal), false);
  slots.give("a");
  assert.equal(await patient, true);
  slots.give("a");
  assert.equal(slots.size, 0);
});

Deno.test("no listener stays on the signal of one who waited", async () => {
  const slots = new Slots(1);
  await slots.take("a", never);
  const { signal, listeners } = countingSignal();
  const next = slots.take("a", signal);
  assert.equal(listeners(), 1);
  slots.give("a");
  assert.equal(await next, true);
  assert.equal(listeners(), 0);
});

Deno.test("an abort after the turn came is no loss of the slot", async () => {
  const slots = new Slots(1);
  await slots.take("a", never);
  const controller = new AbortController();
  const next = slots.take("a", controller.signal);
  slots.give("a");
  controller.abort();
  assert.equal(await next, true);
  assert.equal(await state(slots.take("a", AbortSignal.timeout(5))), undefined);
});

Deno.test("whatever happens, holders never exceed the limit, and in the end nothing is held", async () => {
  const steps = fc.array(
    fc.record({ key: fc.constantFrom("a" as const, "b" as const), act: fc.constantFrom("take", "give", "abort") }),
    { maxLength: 60 },
  );
  await fc.assert(fc.asyncProperty(fc.integer({ min: 1, max: 3 }), steps, async (limit, steps) => {
    const slots = new Slots(limit);
    const holders = { a: 0, b: 0 };
    const waiting: { controller: AbortController; taken: Promise<void> }[] = [];
    for (const { key, act } of steps) {
      if (act === "take") {
        const controller = new AbortController();
        const taken = slots.take(key, controller.signal).then((got) => {
          if (got) holders[key]++;
        });
        waiting.push({ controller, taken });
      } else if (act === "abort") waiting.shift()?.controller.abort();
      else if (holders[key] > 0) {
        holders[key]--;
        slots.give(key);
      }
      await Promise.resolve().then(() => {});
      assert.ok(holders.a <= limit && holders.b <= limit);
    }
    for (const { controller } of waiting) controller.abort();
    await Promise.all(waiting.map(({ taken }) => taken));
    for (const key of ["a", "b"] as const) {
      while (holders[key]-- > 0) slots.give(key);
    }
    assert.equal(slots.size, 0);
  }));
});
