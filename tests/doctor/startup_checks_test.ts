// The background checks: one line per finding, one when it is right again, at growing intervals, and never in the way.

import assert from "node:assert/strict";
import type { Clock } from "../../lib/async/clock.ts";
import { type Check, error, ok, warning } from "../../lib/doctor/check.ts";
import { StartupChecks } from "../../lib/doctor/startup_checks.ts";
import { RecordingLog } from "../../testing/recording_log.ts";

const question = { id: "sfu.auto_create", title: "Only this service creates rooms", asked: "GET /rtc/validate" };
const WRONG = error(question, "status 200", "Set auto_create: false");
const RIGHT = ok(question, "status 404");

/** Runs rounds that come to these checks, the last one again and again; pauses take no time and are noted. */
async function run(rounds: readonly (readonly Check[])[], maxPauses: number) {
  const log = new RecordingLog();
  const pauses: number[] = [];
  const clock: Clock = {
    now: () => 0,
    monotonicNow: () => 0,
    setTimer: () => () => {},
    sleep: (durationMs) => {
      pauses.push(durationMs);
      if (pauses.length === maxPauses) checks.close();
      return Promise.resolve();
    },
  };
  let round = 0;
  const check = () => Promise.resolve(rounds[Math.min(round++, rounds.length - 1)] ?? []);
  const checks = new StartupChecks({ check, clock, log });
  await checks.run();
  return { log, pauses, findings: checks.findings };
}

Deno.test("a set-up that is right is checked once and not told about", async () => {
  const { log, pauses } = await run([[RIGHT]], 9);
  assert.deepEqual([log.entries.length, pauses.length], [0, 0]);
});

Deno.test("a finding is told once with its fix, checked again at growing intervals, and told when it is right again", async () => {
  const { log, pauses, findings } = await run([[WRONG], [WRONG], [WRONG], [RIGHT]], 9);
  assert.deepEqual(log.entries.map(({ level, message }) => [level, message]), [
    ["error", "The set-up has a mistake"],
    ["info", "The set-up is right again"],
  ]);
  assert.deepEqual(log.entries[0]?.fields, {
    check: "sfu.auto_create",
    expected: "Only this service creates rooms",
    asked: "GET /rtc/validate",
    answered: "status 200",
    fix: "Set auto_create: false",
  });
  assert.deepEqual(pauses, [30_000, 60_000, 120_000]);
  assert.deepEqual(findings, []);
});

Deno.test("a finding whose answer changes is told anew, and a warning is no error", async () => {
  const other = warning(question, "status 502", "Read LiveKit's log");
  const { log } = await run([[WRONG], [other]], 2);
  assert.deepEqual(log.entries.map(({ level }) => level), ["error", "warning"]);
});

Deno.test("the pause grows to an hour and no further", async () => {
  const { pauses, findings } = await run([[WRONG]], 10);
  assert.equal(pauses.at(-1), 60 * 60_000);
  assert.deepEqual(findings, [WRONG]);
});

Deno.test("a check that throws is told as a bug and ends nothing", async () => {
  const log = new RecordingLog();
  const clock: Clock = {
    now: () => 0,
    monotonicNow: () => 0,
    setTimer: () => () => {},
    sleep: () => Promise.resolve(),
  };
  const checks = new StartupChecks({ check: () => Promise.reject(new Error("boom")), clock, log });
  await checks.run();
  assert.equal(log.of("error")[0]?.message, "Cannot check the set-up: this is a bug");
});
