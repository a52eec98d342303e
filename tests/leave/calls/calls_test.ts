// LeaveCalls to homeservers: within the lease on the room, in the log when they do not work, and ended at a close.

import assert from "node:assert/strict";
import type { ActionOutcome } from "../../../lib/matrix/delayed_events.ts";
import { LeaveCalls } from "../../../lib/leave/calls/calls.ts";
import { LeaveCall } from "../../../lib/leave/calls/leave_call.ts";
import type { ActionResult, DelayedAction } from "../../../lib/matrix/delayed_events.ts";
import { describeJob } from "../../../lib/leave/machine/job.ts";
import { begin } from "../../../lib/leave/machine/machine.ts";
import { RecordingLog } from "../../../testing/recording_log.ts";
import { parseServerName } from "../../../lib/matrix/server_name.ts";
import { DELEGATION } from "../machine/machine_table.ts";
import { settle } from "../../../testing/virtual_time.ts";

const JOB = begin(DELEGATION, 0, false).job;
const DONE: ActionResult = { outcome: { kind: "done" }, step: "status 200" };

type Act = (action: DelayedAction, signal: AbortSignal) => Promise<ActionResult>;

function stage(act: Act, leaseMs = Infinity) {
  const log = new RecordingLog();
  const asked: string[] = [];
  const timers = new Set<() => void>();
  let now = 0;
  const wants = new Map<LeaveCall, { confirm: () => Promise<boolean>; done: (outcome: ActionOutcome) => void }>();
  const calls = new LeaveCalls({
    store: { leaseMs: () => leaseMs },
    buckets: { take: () => ({ waitMs: 0, shared: null }) },
    delayedEvents: {
      apiOf: (homeserver) => Promise.resolve(homeserver),
      act(_homeserver, delayId, action, signal) {
        asked.push(`${action} ${delayId}`);
        return act(action, signal);
      },
    },
    owner: {
      isWanted: () => true,
      confirm: (call) => wants.get(call)?.confirm() ?? Promise.resolve(true),
      done: (call, outcome) => wants.get(call)?.done(outcome),
    },
    clock: {
      now: () => now,
      monotonicNow: () => now,
      setTimer(run) {
        timers.add(run);
        return () => timers.delete(run);
      },
      sleep: () => Promise.resolve(),
    },
    random: () => 0.5,
    log,
  });
  /** Wants a call; resolves with its outcome. */
  const want = (action: DelayedAction = "restart", confirm: () => Promise<boolean> = () => Promise.resolve(true)) =>
    new Promise<ActionOutcome>((done) => {
      const call = new LeaveCall(action, JOB, null);
      wants.set(call, { confirm, done });
      calls.add(call);
    });
  const pass = (ms: number) => {
    now += ms;
    for (const run of timers) if (timers.delete(run)) run();
  };
  return { calls, log, asked, want, pass };
}

Deno.test("a delay ID, with which an event can be sent, does not stand in the log as a whole", () => {
  assert.equal(describeJob({ ...JOB, delayId: "syd_QhLxWmDoRnTbVcFzKyPg" }).delay_id, "syd_QhLx…");
});

Deno.test("a call that is confirmed goes out, one that is not is held back", async () => {
  const { want, asked } = stage(() => Promise.resolve(DONE));
  assert.equal((await want("send", () => Promise.resolve(true))).kind, "done");
  assert.equal((await want("send", () => Promise.resolve(false))).kind, "held");
  assert.deepEqual(asked, [`send ${JOB.delayId}`]);
});

for (const [leaseMs, outcome] of [[0, "held"], [299, "held"], [300, "done"], [Infinity, "done"]] as const) {
  Deno.test(`with ${leaseMs} ms left of the lease on its room a call is ${outcome}`, async () => {
    const { want, asked } = stage(() => Promise.resolve(DONE), leaseMs);
    assert.equal((await want()).kind, outcome);
    assert.equal(asked.length, outcome === "done" ? 1 : 0);
  });
}

Deno.test("servers whose events one host keeps have one queue, and one pace; another host has its own", async () => {
  const taken: string[] = [];
  const wants = ["a.test", "b.test", "c.test"].map((server) => ({
    ...JOB,
    homeserver: parseServerName(server) ?? JOB.homeserver,
  }));
  const done: string[] = [];
  const calls = new LeaveCalls({
    owner: {
      isWanted: () => true,
      confirm: () => Promise.resolve(true),
      done: ({ job }) => done.push(job.homeserver),
    },
    store: { leaseMs: () => Infinity },
    buckets: {
      take(api) {
        taken.push(api);
        return { waitMs: 0, shared: null };
      },
    },
    delayedEvents: {
      apiOf: (homeserver) => Promise.resolve(homeserver === "c.test" ? "c.test:443" : "shared.test"),
      act: () => Promise.resolve(DONE),
    },
    clock: { now: () => 0, monotonicNow: () => 0, setTimer: () => () => {}, sleep: () => Promise.resolve() },
    random: () => 0.5,
    log: new RecordingLog(),
  });
  for (const job of wants) calls.add(new LeaveCall("restart", job, null));
  await settle();
  assert.deepEqual(taken.toSorted(), ["c.test:443", "shared.test", "shared.test"]);
  assert.deepEqual(done.toSorted(), ["a.test", "b.test", "c.test"]);
  await calls.close();
});

Deno.test("a call that has begun within the lease may end after it", async () => {
  const gate = Promise.withResolvers<ActionResult>();
  const { want } = stage(() => gate.promise, 300);
  const asking = want();
  // Longer than the lease, by the only clock that could have ended it.
  await new Promise((resolve) => setTimeout(resolve, 400));
  gate.resolve(DONE);
  assert.equal((await asking).kind, "done");
});

Deno.test("a call that is under way is known to be, until its outcome is taken", async () => {
  const gate = Promise.withResolvers<ActionResult>();
  const { calls, want } = stage(() => gate.promise);
  const asking = want();
  await settle();
  assert.ok(calls.isUnderWayIn(JOB.room));
  gate.resolve(DONE);
  await asking;
  await settle();
  assert.ok(!calls.isUnderWayIn(JOB.room));
});

Deno.test("a close waits for what a homeserver was asked, and for no presence check", async () => {
  const gate = Promise.withResolvers<ActionResult>();
  const { calls, want, asked } = stage(() => gate.promise);
  const asking = want();
  const confirming = want("send", () => new Promise(() => {}));
  await settle();
  const closing = calls.close();
  assert.equal((await confirming).kind, "held");
  gate.resolve(DONE);
  assert.equal((await asking).kind, "done");
  await closing;
  assert.deepEqual(asked, [`restart ${JOB.delayId}`]);
});

const STORIES:
  readonly (readonly [outcome: ActionOutcome, level: "error" | "warning" | "info" | "debug", text: RegExp])[] = [
    [{ kind: "refused", why: "unauthorized" }, "error", /Synapse before 1\.143/],
    [{ kind: "refused", why: "unsupported" }, "error", /org\.matrix\.msc4140/],
    [{ kind: "refused", why: "forbidden" }, "debug", /asked about/],
    [{ kind: "failed", how: "silent" }, "warning", /trying on/],
    [{ kind: "limited", retryAfterMs: 1000 }, "info", /wants fewer/],
    [{ kind: "gone", how: "conflict" }, "debug", /asked about/],
    [{ kind: "done" }, "debug", /asked about/],
  ];
for (const [outcome, level, text] of STORIES) {
  const name = outcome.kind === "refused" ? `refused as ${outcome.why}` : outcome.kind;
  Deno.test(`a call that is ${name} is told as ${level}, and what anybody can cause once a minute`, async () => {
    const { log, want, pass } = stage(() => Promise.resolve({ outcome, step: "as it was" }));
    await want();
    const second = want();
    // A homeserver that failed, or wants a rest, is not asked again at once.
    pass(10_000);
    await second;
    assert.equal(log.of(level).length, 2);
    assert.equal(log.written.length, level === "debug" ? 2 : 1);
    assert.match(log.text, text);
  });
}
