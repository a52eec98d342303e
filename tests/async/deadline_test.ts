// Deadlines: they end work that hangs, and leave no timer and no listener.

import assert from "node:assert/strict";
import { DeadlineError, Deadlines, withDeadline, within } from "../../lib/async/deadline.ts";
import { systemClock } from "../../lib/platform.ts";
import { countingSignal } from "../../testing/counting_signal.ts";
import { VirtualTime } from "../../testing/virtual_time.ts";

const forever = () => new Promise<never>(() => {});

Deno.test("work that is done in time gives its value, and its signal is never aborted", async () => {
  let signal: AbortSignal | undefined;
  const value = await withDeadline(systemClock, 10_000, (given) => {
    signal = given;
    return Promise.resolve("done");
  });
  assert.equal(value, "done");
  assert.equal(signal?.aborted, false);
});

Deno.test("work that hangs is ended with a DeadlineError that names the time", async () => {
  let signal: AbortSignal | undefined;
  const hanging = withDeadline(systemClock, 20, (given) => {
    signal = given;
    return forever();
  });
  await assert.rejects(hanging, { name: "DeadlineError", message: "No answer within 0.02 s" });
  assert.ok(signal?.reason instanceof DeadlineError);
});

Deno.test("a failure of the work is passed on as it is, also one thrown at once", async () => {
  const failure = new Error("broken");
  await assert.rejects(withDeadline(systemClock, 10_000, () => Promise.reject(failure)), failure);
  await assert.rejects(
    withDeadline(systemClock, 10_000, () => {
      throw failure;
    }),
    failure,
  );
});

Deno.test("deadlines of one length pass in order, and only for work that is still going on", async () => {
  const time = new VirtualTime();
  const deadlines = new Deadlines(30, time);
  const over = (signal: AbortSignal) =>
    new Promise<unknown>((resolve) => signal.addEventListener("abort", () => resolve(signal.reason), { once: true }));
  let quick: AbortSignal | undefined;
  const passed: number[] = [];
  const first = deadlines.run(over).then((reason) => (passed.push(1), reason));
  await deadlines.run((signal) => {
    quick = signal;
    return Promise.resolve();
  });
  await time.advance(10);
  const second = deadlines.run(over).then((reason) => (passed.push(2), reason));
  await time.advance(29);
  assert.ok((await first) instanceof DeadlineError);
  assert.deepEqual(passed, [1]);
  await time.advance(1);
  assert.ok((await second) instanceof DeadlineError);
  assert.equal(quick?.aborted, false);
});

Deno.test("deadlines hold no timer once nothing goes on, after a storm of work that ended in any order", async () => {
  const deadlines = new Deadlines(60_000, systemClock); // a timer left behind would fail this test
  const gates = Array.from({ length: 3000 }, () => Promise.withResolvers<void>());
  const running = gates.map((gate) => deadlines.run(() => gate.promise));
  for (const gate of gates.toReversed()) gate.resolve();
  await Promise.all(running);
  await assert.rejects(deadlines.run(() => Promise.reject(new Error("x"))), /x/);
});

Deno.test("of work that is over nothing is kept, also while work hangs that began before it", async () => {
  const time = new VirtualTime();
  const deadlines = new Deadlines(30, time);
  const hanging = deadlines.enforce(forever);
  for (let n = 0; n < 100; n++) {
    await assert.rejects(deadlines.run(() => Promise.reject(new Error("x"))), /x/);
  }
  assert.equal(deadlines.size, 1);
  await Promise.all([time.advance(30), assert.rejects(hanging, DeadlineError)]);
  assert.equal(deadlines.size, 0);
});

Deno.test("no listener stays on a signal that outlives the work", async () => {
  const { signal, listeners } = countingSignal();
  await within(Promise.resolve(), signal);
  await within(Promise.reject(new Error("x")), signal).catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 0));
  assert.equal(listeners(), 0);
});

Deno.test("who waits within a signal leaves when it is aborted; the promise goes on for the others", async () => {
  const gate = Promise.withResolvers<string>();
  const controller = new AbortController();
  const impatient = within(gate.promise, controller.signal);
  const patient = within(gate.promise, new AbortController().signal);
  controller.abort(new Error("over"));
  await assert.rejects(impatient, /over/);
  gate.resolve("value");
  assert.equal(await patient, "value");
});

Deno.test("a rejection that comes after everybody left disturbs nobody", async () => {
  const gate = Promise.withResolvers<string>();
  const controller = new AbortController();
  const waiting = within(gate.promise, controller.signal);
  controller.abort(new Error("over"));
  await assert.rejects(waiting, /over/);
  gate.reject(new Error("late")); // an unhandled rejection would fail this test
  await new Promise((resolve) => setTimeout(resolve, 0));
  await assert.rejects(within(Promise.resolve("x"), controller.signal), /over/);
});
