// What anybody can trigger is said once a minute per subject, and remembered within bounds.

import assert from "node:assert/strict";
import { Rarely } from "../../lib/log/rarely.ts";
import { ManualClock } from "../../testing/manual_clock.ts";

function open() {
  const clock = new ManualClock();
  const rarely = new Rarely(clock.monotonicNow);
  const said: string[] = [];
  return { clock, said, once: (subject: string) => rarely.once(subject, () => said.push(subject)) };
}

Deno.test("a subject is spoken of once a minute, others in between", () => {
  const { clock, said, once } = open();
  once("a");
  once("a");
  once("b");
  clock.advance(59_999);
  once("a");
  assert.deepEqual(said, ["a", "b"]);
  clock.advance(1);
  once("a");
  once("a");
  assert.deepEqual(said, ["a", "b", "a"]);
});

Deno.test("silence does not count: the minute runs from what was said", () => {
  const { clock, said, once } = open();
  for (let second = 0; second < 121; second++) {
    once("a");
    clock.advance(1000);
  }
  assert.equal(said.length, 3);
});

Deno.test("of more than 1,000 subjects the one spoken of longest ago is forgotten", () => {
  const { said, once } = open();
  for (let i = 0; i < 1000; i++) once(`s${i}`);
  once("s0");
  assert.equal(said.length, 1000);
  once("one more");
  once("s1");
  assert.equal(said.length, 1001);
  once("s0");
  assert.equal(said.at(-1), "s0");
});

Deno.test("a subject spoken of again is among the last to be forgotten", () => {
  const { clock, said, once } = open();
  for (let i = 0; i < 1000; i++) once(`s${i}`);
  clock.advance(60_000);
  once("s0");
  once("one more");
  const before = said.length;
  once("s0");
  assert.equal(said.length, before);
});
