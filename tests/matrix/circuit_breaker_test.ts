// A server that cannot be reached: known for seconds, then found out by one, and never held against anybody longer.

import assert from "node:assert/strict";
import { Outages } from "../../lib/matrix/circuit_breaker.ts";
import { ManualClock } from "../../testing/manual_clock.ts";

const STORY = ["it is away"];

function afterOutage(tookMs: number) {
  const clock = new ManualClock();
  const outages = new Outages(clock.monotonicNow);
  assert.equal(outages.current("a.example"), null);
  outages.learn("a.example", "connect", STORY, tookMs);
  return { clock, outages };
}

const MEMORIES: readonly (readonly [tookMs: number, memoryMs: number])[] = [
  [0, 1000],
  [300, 1000],
  [3000, 3000],
  [5000, 5000],
  [9000, 5000],
];

for (const [tookMs, memoryMs] of MEMORIES) {
  Deno.test(`an outage that took ${tookMs} ms to find is remembered for ${memoryMs} ms`, () => {
    const { clock, outages } = afterOutage(tookMs);
    assert.deepEqual(outages.current("a.example")?.story, STORY);
    clock.advance(memoryMs - 1);
    assert.deepEqual(outages.current("a.example")?.story, STORY);
    clock.advance(1);
    assert.equal(outages.current("a.example"), null);
  });
}

Deno.test("then one request finds out, and the others are answered from memory for five seconds at most", () => {
  const { clock, outages } = afterOutage(5000);
  clock.advance(5000);
  assert.equal(outages.current("a.example"), null);
  assert.deepEqual(outages.current("a.example")?.story, STORY);
  clock.advance(4999);
  assert.deepEqual(outages.current("a.example")?.story, STORY);
  clock.advance(1);
  assert.equal(outages.current("a.example"), null); // the first one has been at it for too long: the next tries
  assert.deepEqual(outages.current("a.example")?.story, STORY);
});

Deno.test("an answer, a slow server and a broken connection end the memory; only dns, connect and tls begin one", () => {
  for (const failure of [null, "timeout", "reset", "blocked", "protocol", "too-large"] as const) {
    const { outages } = afterOutage(5000);
    outages.learn("a.example", failure, STORY, 10_000);
    assert.equal(outages.current("a.example"), null, `${failure}`);
    assert.equal(outages.size, 0);
  }
  for (const failure of ["dns", "connect", "tls"] as const) {
    const outages = new Outages(() => 0);
    outages.learn("a.example", failure, STORY, 0);
    assert.notEqual(outages.current("a.example"), null, failure);
  }
});

Deno.test("another name, or another spelling of it, knows nothing of the outage", () => {
  const { outages } = afterOutage(5000);
  for (const name of ["b.example", "A.example", "a.example:8448"]) assert.equal(outages.current(name), null);
});

Deno.test("at most 5,000 servers are remembered, the last ones", () => {
  const outages = new Outages(() => 0);
  for (let index = 0; index <= 5000; index++) outages.learn(`${index}.example`, "dns", STORY, 0);
  assert.equal(outages.size, 5000);
  assert.equal(outages.current("0.example"), null);
  assert.notEqual(outages.current("5000.example"), null);
});
