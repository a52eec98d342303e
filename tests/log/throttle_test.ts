// What anybody can trigger is written once a minute per message and subject, with the number of what was left out.

import assert from "node:assert/strict";
import { closeLog, openLog } from "../../lib/log/log.ts";
import { ManualClock } from "../../testing/manual_clock.ts";

/** A log of JSON lines on a manual clock, and what it has written since the last time somebody asked. */
function open() {
  const clock = new ManualClock();
  const lines: string[] = [];
  const writer = { write: (line: string) => void lines.push(line), flush: () => {} };
  const log = openLog({ level: "info", format: "json", writer, monotonicNow: clock.monotonicNow });
  const written = () => lines.splice(0).map((line) => JSON.parse(line));
  return { clock, log, written, [Symbol.dispose]: () => closeLog({ writer }) };
}

Deno.test("a message is written once a minute per subject, and its subject is no field", () => {
  using bench = open();
  const { clock, log, written } = bench;
  log.warning("Refused", { server: "a", throttle: "a" });
  log.warning("Refused", { server: "a", throttle: "a" });
  log.warning("Refused", { server: "b", throttle: "b" });
  log.warning("Blocked", { server: "a", throttle: "a" });
  clock.advance(59_999);
  log.warning("Refused", { server: "a", throttle: "a" });
  const first = written();
  assert.deepEqual(first.map(({ message, server }) => [message, server]), [
    ["Refused", "a"],
    ["Refused", "b"],
    ["Blocked", "a"],
  ]);
  assert.ok(first.every((record) => !("throttle" in record) && !("left_out" in record)));
  clock.advance(1);
  log.warning("Refused", { server: "a", throttle: "a" });
  log.warning("Refused", { server: "b", throttle: "b" });
  assert.deepEqual(written().map(({ server, left_out }) => [server, left_out]), [["a", 2], ["b", undefined]]);
});

Deno.test("what is not throttled is written each time", () => {
  using bench = open();
  for (let times = 0; times < 3; times++) bench.log.info("Granted", { user: "@alice:example.com" });
  assert.equal(bench.written().length, 3);
});

Deno.test("silence does not count: the minute runs from what was written", () => {
  using bench = open();
  for (let second = 0; second < 121; second++) {
    bench.log.warning("Refused", { throttle: true });
    bench.clock.advance(1000);
  }
  assert.deepEqual(bench.written().map(({ left_out }) => left_out), [undefined, 59, 59]);
});

Deno.test("of more than 1,000 subjects the one that came longest ago is forgotten", () => {
  using bench = open();
  const { log, written } = bench;
  for (let index = 0; index < 1000; index++) log.warning("Refused", { throttle: `s${index}` });
  log.warning("Refused", { throttle: "s0" });
  assert.equal(written().length, 1000);
  log.warning("Refused", { throttle: "one more" });
  log.warning("Refused", { throttle: "s0" });
  assert.equal(written().length, 1);
  log.warning("Refused", { throttle: "s1" });
  assert.equal(written().length, 1);
});

Deno.test("a subject is remembered by its first 255 bytes and its length", () => {
  using bench = open();
  for (let times = 0; times < 2; times++) bench.log.warning("Refused", { throttle: "x".repeat(60_000) });
  bench.log.warning("Refused", { throttle: "x".repeat(60_001) });
  assert.equal(bench.written().length, 2);
});
