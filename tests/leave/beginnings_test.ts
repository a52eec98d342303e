// How a job begins: delegated, in place of another one, out of the store, after a gap.

import assert from "node:assert/strict";
import { NO_FAILURES } from "../../lib/leave/machine/job.ts";
import { adopt, begin, replace, resume } from "../../lib/leave/machine/machine.ts";
import { wakeAt } from "../../lib/leave/machine/schedule.ts";
import { CONNECTED, DELEGATION, HOUR, late, LEAVING, NOW, WAITING } from "./machine/machine_table.ts";

const WAITS: readonly (readonly [name: string, delayMs: number, hasLeft: boolean, waitMs: number])[] = [
  ["its delay", 10_000, false, 10_000],
  ["five minutes at most", 24 * HOUR, false, 300_000],
  ["60 s when the participant has just left", 24 * HOUR, true, 60_000],
  ["its delay when that is shorter", 10_000, true, 10_000],
];
for (const [name, delayMs, hasLeft, waitMs] of WAITS) {
  Deno.test(`a new job waits ${name}, and checks at once`, () => {
    const { job, effects } = begin({ ...DELEGATION, delayMs }, NOW, hasLeft);
    assert.deepEqual([job.state, job.waitUntil, job.timerStartedAt], ["waiting", NOW + waitMs, NOW]);
    assert.deepEqual(effects, ["check"]);
  });
}

Deno.test("a new event takes over the session of the old one", () => {
  const old = { ...CONNECTED, absentSince: NOW - 1, failures: { checks: 3, calls: 3 } };
  const { job, effects } = replace(old, { ...DELEGATION, delayId: "syd_2", delayMs: HOUR }, NOW, false);
  assert.deepEqual([job.state, job.sessions, job.delayId, job.delayMs], ["connected", { hash: "PA_1" }, "syd_2", HOUR]);
  assert.deepEqual([job.absentSince, job.failures, job.timerStartedAt], [null, NO_FAILURES, NOW]);
  assert.deepEqual(effects, ["restart", "check"]);
});

for (const [name, old] of [["is over", { ...CONNECTED, hint: "left" }], ["was left", LEAVING]] as const) {
  Deno.test(`a new event after a session that ${name} waits a minute for the next one`, () => {
    const { job, effects } = replace(old, { ...DELEGATION, delayMs: HOUR }, NOW, false);
    assert.deepEqual([job.state, job.hint, job.sessions, job.waitUntil], ["waiting", "none", {}, NOW + 60_000]);
    assert.deepEqual(effects, ["check"]);
  });
}

for (const [name, old] of [["goes on", CONNECTED], ["is over", LEAVING]] as const) {
  Deno.test(`a new event after a session that ${name} counts as later than the old one, unless it is known when it came`, () => {
    const delegatedAt = (oldAt: number, known: { delegatedAt?: number } = {}) =>
      replace({ ...old, delegatedAt: oldAt }, { ...DELEGATION, ...known }, NOW, false).job.delegatedAt;
    assert.equal(delegatedAt(NOW - HOUR), NOW);
    // Taken by a replica whose clock is ahead.
    assert.equal(delegatedAt(NOW + HOUR), NOW + HOUR + 1);
    assert.equal(delegatedAt(NOW - HOUR, { delegatedAt: NOW - 5 }), NOW - 5);
  });
}

Deno.test("a job from the store is checked, and restarted at once when it was connected", () => {
  for (const [stored, callAt] of [[WAITING, Infinity], [CONNECTED, NOW], [LEAVING, Infinity]] as const) {
    const { job, effects } = adopt(stored, NOW);
    assert.deepEqual([effects, job.callAt], [["check"], callAt]);
  }
});

Deno.test("a job from the store trusts neither an old leave webhook nor an old absence", () => {
  const { job } = adopt({ ...CONNECTED, hint: "left", absentSince: NOW - 60_000 }, NOW);
  assert.deepEqual([job.hint, job.absentSince], ["none", null]);
  assert.equal(adopt({ ...WAITING, hint: "aborted" }, NOW).job.hint, "aborted");
  assert.equal(adopt({ ...LEAVING, hint: "left" }, NOW).job.hint, "none");
});

Deno.test("a gap, in which a join may have been missed, ends the trust in a leave webhook from before", () => {
  for (const lost of [null, 0, 60_000]) {
    const hints = [WAITING, CONNECTED, LEAVING].map((job) => resume({ ...job, hint: "left" }, lost, NOW).job.hint);
    assert.deepEqual(hints, ["left", "none", "none"]);
  }
});

Deno.test("a job stored by a clock that was ahead waits no longer than a new one, and is restarted at once", () => {
  const times = { timerStartedAt: NOW + 5 * HOUR, delegatedAt: NOW + 5 * HOUR, waitUntil: NOW + 6 * HOUR };
  const { job } = adopt({ ...WAITING, ...times }, NOW);
  assert.deepEqual([job.timerStartedAt, job.delegatedAt, job.waitUntil], [NOW, NOW, NOW + 300_000]);
  const connected = adopt({ ...CONNECTED, ...times, connectedAt: NOW + 5 * HOUR }, NOW).job;
  assert.deepEqual([connected.connectedAt, connected.callAt], [-Infinity, NOW]);
});

Deno.test("a job that is long past its deadline is tried once more", () => {
  const { job, effects } = adopt({ ...CONNECTED, ...late }, NOW);
  assert.deepEqual([effects, job.callAt], [["check"], NOW]);
});

Deno.test("after lost webhooks a job is checked; after lost time its timers come by as much earlier", () => {
  const job = { ...CONNECTED, absentSince: NOW - 30_000 };
  const events = resume(job, null, NOW);
  assert.deepEqual([events.effects, events.job.absentSince, wakeAt(events.job)], [["check"], NOW - 30_000, NOW + 7000]);
  const time = resume(job, 3000, NOW);
  assert.deepEqual([time.effects, time.job.absentSince, wakeAt(time.job)], [["check"], null, NOW + 4000]);
  assert.equal(time.job.timerStartedAt, job.timerStartedAt - 3000);
});

Deno.test("a wait that ended while nobody looked goes on for another minute, or the event's delay", () => {
  for (const [delayMs, waitMs] of [[HOUR, 60_000], [10_000, 10_000]] as const) {
    assert.equal(adopt({ ...WAITING, delayMs, waitUntil: NOW - 1 }, NOW).job.waitUntil, NOW + waitMs);
  }
  assert.equal(resume({ ...WAITING, waitUntil: NOW - 1 }, null, NOW).job.waitUntil, NOW - 1);
});
