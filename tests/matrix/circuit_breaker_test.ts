// The circuit breaker: closed, open, half-open, and what calls that are under way together make of it.

import assert from "node:assert/strict";
import { CircuitBreaker } from "../../lib/matrix/circuit_breaker.ts";
import { ManualClock } from "../../testing/manual_clock.ts";

function open() {
  const clock = new ManualClock();
  const breaker = new CircuitBreaker({ clock, pauseMs: (failures, tookMs) => failures * 1000 + tookMs, trialMs: 5000 });
  return { clock, breaker };
}

Deno.test("it is closed at first, and lets everything pass", () => {
  const { breaker } = open();
  assert.equal(breaker.state, "closed");
  assert.ok(breaker.tryPass() && breaker.tryPass());
  assert.equal(breaker.retryAt, -Infinity);
});

Deno.test("a failure opens it for the pause, and nothing passes", () => {
  const { clock, breaker } = open();
  clock.advance(500);
  breaker.fail(0);
  assert.deepEqual([breaker.state, breaker.tryPass(), breaker.retryAt], ["open", false, 2000]);
  clock.advance(1499);
  assert.deepEqual([breaker.state, breaker.tryPass()], ["open", false]);
});

Deno.test("after the pause one trial passes, and another one when that has no outcome in its time", () => {
  const { clock, breaker } = open();
  breaker.fail(0);
  clock.advance(1000);
  assert.equal(breaker.state, "half-open");
  assert.deepEqual([breaker.tryPass(), breaker.tryPass()], [true, false]);
  clock.advance(4999);
  assert.equal(breaker.tryPass(), false);
  clock.advance(1);
  assert.deepEqual([breaker.tryPass(), breaker.tryPass()], [true, false]);
});

Deno.test("a success closes it", () => {
  const { clock, breaker } = open();
  breaker.fail(0);
  clock.advance(1000);
  breaker.tryPass();
  breaker.succeed();
  assert.equal(breaker.state, "closed");
  assert.ok(breaker.tryPass() && breaker.tryPass());
});

Deno.test("a trial that fails opens it again, for longer", () => {
  const { clock, breaker } = open();
  breaker.fail(0);
  clock.advance(1000);
  breaker.tryPass();
  breaker.fail(clock.monotonicNow());
  assert.deepEqual([breaker.state, breaker.retryAt], ["open", 3000]);
  clock.advance(2000);
  assert.deepEqual([breaker.tryPass(), breaker.tryPass()], [true, false]);
});

Deno.test("calls that were under way together fail as one", () => {
  const { clock, breaker } = open();
  clock.advance(100);
  breaker.fail(0);
  breaker.fail(50);
  clock.advance(10);
  breaker.fail(99);
  assert.equal(breaker.retryAt, 1200);
  breaker.fail(105);
  assert.equal(breaker.retryAt, 110 + 2005);
});

Deno.test("failures are counted from the last success on", () => {
  const { clock, breaker } = open();
  breaker.fail(0);
  breaker.fail(0);
  breaker.succeed();
  breaker.fail(0);
  assert.equal(breaker.retryAt, 1000);
  assert.equal(clock.timers, 0);
});
