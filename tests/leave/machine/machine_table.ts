// Jobs, events and answers for tables of the machine's rows, and what a row's outcome is compared with.

import assert from "node:assert/strict";
import type { Identity, RoomAlias } from "../../../lib/livekit/identity.ts";
import type { ServerName } from "../../../lib/matrix/server_name.ts";
import type { ActionOutcome } from "../../../lib/matrix/delayed_events.ts";
import {
  type Delegation,
  type Job,
  type JobEvent,
  NO_FAILURES,
  type Step,
  type StepContext,
} from "../../../lib/leave/machine/job.ts";
import { step } from "../../../lib/leave/machine/machine.ts";

export const HOUR = 3_600_000;
export const NOW = 10 * HOUR;
export const CONTEXT: StepContext = { now: NOW, random: () => 0.5, absenceMs: 60_000 };

export const DELEGATION: Delegation = {
  room: "room" as RoomAlias,
  identity: "hash" as Identity,
  watched: ["hash" as Identity, "@u:s:D" as Identity],
  homeserver: "s" as ServerName,
  delayId: "syd_1",
  delayMs: 10_000,
};

const BASE: Job = {
  ...DELEGATION,
  state: "waiting",
  sessions: {},
  timerStartedAt: NOW - 1000,
  delegatedAt: NOW - 1000,
  connectedAt: null,
  waitUntil: NOW + 9000,
  hint: "none",
  absentSince: null,
  failures: NO_FAILURES,
  checkAt: Infinity,
  callAt: Infinity,
  heardAt: NOW - 1000,
  departure: null,
};
export const WAITING = BASE;
export const CONNECTED: Job = {
  ...BASE,
  state: "connected",
  sessions: { hash: "PA_1" },
  connectedAt: NOW - 900_000,
  callAt: NOW + 7000,
};
export const LEAVING: Job = { ...BASE, state: "leaving", hint: "left", connectedAt: NOW - 900_000 };

export const left = (sid: string, reason: string, identity = "hash", at = NOW): JobEvent => ({
  type: "left",
  identity,
  sid,
  reason,
  at,
});
export const aborted = (sid: string, reason: string, at = NOW): JobEvent => (
  { type: "aborted", identity: "hash", sid, reason, at }
);
export const joined = (sid: string, identity = "hash", at = NOW): JobEvent => ({ type: "joined", identity, sid, at });
export const present = (sid: string): JobEvent => ({ type: "present", sessions: { hash: sid }, askedAt: NOW });
export const answered = (action: "restart" | "send", outcome: ActionOutcome): JobEvent => ({
  type: "answered",
  action,
  outcome,
  askedAt: NOW - 400,
});
export const ABSENT: JobEvent = { type: "absent", roomSince: null };
export const UNKNOWN: JobEvent = { type: "unknown" };
export const DUE: JobEvent = { type: "due" };

export const done: ActionOutcome = { kind: "done" };
export const gone: ActionOutcome = { kind: "gone", how: "not-found" };
export const conflict: ActionOutcome = { kind: "gone", how: "conflict" };
export const unauthorized: ActionOutcome = { kind: "refused", why: "unauthorized" };
export const forbidden: ActionOutcome = { kind: "refused", why: "forbidden" };
export const unsupported: ActionOutcome = { kind: "refused", why: "unsupported" };
export const limited: ActionOutcome = { kind: "limited", retryAfterMs: 964 };
export const failed: ActionOutcome = { kind: "failed", how: "wrong-answer" };
export const bare404: ActionOutcome = { kind: "failed", how: "bare-404" };
export const held: ActionOutcome = { kind: "held" };

/** What is expected: the end, or the effects and what the job says afterwards. */
export type Expected = { readonly end: string } | ({ readonly effects: readonly string[] } & Partial<Job>);

/** Long past the deadline. */
export const late = { timerStartedAt: NOW - 2 * HOUR };

/** One row: a job, what happens to it, and what comes of it. */
export type Row = readonly [name: string, job: Job, event: JobEvent, expected: Expected];

/** One test per row. */
export function testRows(rows: readonly Row[]): void {
  for (const [name, job, event, expected] of rows) {
    Deno.test(name, () => assertStep(step(job, event, CONTEXT), expected));
  }
}

function assertStep(result: Step, expected: Expected): void {
  if ("end" in expected || "end" in result) return assert.deepEqual(result, expected);
  const { effects, ...fields } = expected;
  assert.deepEqual(result.effects, effects);
  for (const [field, value] of Object.entries(fields)) {
    assert.deepEqual(Object.entries(result.job).find(([name]) => name === field)?.[1], value, field);
  }
}
