// Semaphore: bounded per key, handed on in order, given up by signal, released once.

import assert from "node:assert/strict";
import fc from "fast-check";
import { type Permit, Semaphore } from "../../lib/async/semaphore.ts";
import { countingSignal } from "../../testing/counting_signal.ts";

const never = new AbortController().signal;

/** The permit or null once it is settled, undefined while it waits. */
async function state(acquired: ReturnType<Semaphore["acquire"]>): Promise<Permit | null | undefined> {
  return await Promise.race([acquired, new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), 0))]);
}

async function acquired(semaphore: Semaphore, key: string): Promise<Permit> {
  const permit = await semaphore.acquire(key, never);
  assert.ok(permit !== null);
  return permit;
}

Deno.test("keys have permits of their own, and who waits is served in order", async () => {
  const semaphore = new Semaphore(1);
  const first = await acquired(semaphore, "a");
  await acquired(semaphore, "b");
  const second = semaphore.acquire("a", never);
  const third = semaphore.acquire("a", never);
  assert.equal(await state(second), undefined);
  first.release();
  const permit = await second;
  assert.ok(permit !== null);
  assert.equal(await state(third), undefined);
  permit.release();
  assert.ok(await third !== null);
});

Deno.test("who gives up loses the turn, and takes no permit along", async () => {
  const semaphore = new Semaphore(1);
  const first = await acquired(semaphore, "a");
  const controller = new AbortController();
  const givesUp = semaphore.acquire("a", controller.signal);
  const patient = semaphore.acquire("a", never);
  controller.abort();
  assert.equal(await givesUp, null);
  assert.equal(await semaphore.acquire("a", controller.signal), null);
  first.release();
  (await patient)?.release();
  assert.equal(semaphore.size, 0);
});

Deno.test("no listener stays on the signal of one who waited", async () => {
  const semaphore = new Semaphore(1);
  const first = await acquired(semaphore, "a");
  const { signal, listeners } = countingSignal();
  const next = semaphore.acquire("a", signal);
  assert.equal(listeners(), 1);
  first.release();
  assert.ok(await next !== null);
  assert.equal(listeners(), 0);
});

Deno.test("an abort after the turn came is no loss of the permit", async () => {
  const semaphore = new Semaphore(1);
  const first = await acquired(semaphore, "a");
  const controller = new AbortController();
  const next = semaphore.acquire("a", controller.signal);
  first.release();
  controller.abort();
  assert.ok(await next !== null);
});

Deno.test("a permit that is released twice counts once", async () => {
  const semaphore = new Semaphore(1);
  {
    using permit = await semaphore.acquire("a", never);
    permit?.release();
  }
  const held = await acquired(semaphore, "a");
  assert.equal(await state(semaphore.acquire("a", never)), undefined);
  held.release();
});

Deno.test("whatever happens, permits never exceed the limit, and in the end nothing is held", async () => {
  const steps = fc.array(
    fc.record({
      key: fc.constantFrom("a" as const, "b" as const),
      act: fc.constantFrom("acquire", "release", "abort"),
    }),
    { maxLength: 60 },
  );
  await fc.assert(fc.asyncProperty(fc.integer({ min: 1, max: 3 }), steps, async (limit, steps) => {
    const semaphore = new Semaphore(limit);
    const held = { a: [] as Permit[], b: [] as Permit[] };
    const waiting: { controller: AbortController; settled: Promise<void> }[] = [];
    for (const { key, act } of steps) {
      if (act === "acquire") {
        const controller = new AbortController();
        const settled = Promise.resolve(semaphore.acquire(key, controller.signal)).then((permit) => {
          if (permit !== null) held[key].push(permit);
        });
        waiting.push({ controller, settled });
      } else if (act === "abort") waiting.shift()?.controller.abort();
      else held[key].pop()?.release();
      await Promise.resolve().then(() => {});
      assert.ok(held.a.length <= limit && held.b.length <= limit);
    }
    for (const { controller } of waiting) controller.abort();
    await Promise.all(waiting.map(({ settled }) => settled));
    for (const permit of [...held.a, ...held.b]) permit.release();
    assert.equal(semaphore.size, 0);
  }));
});
