// What a homeserver's answer means for a job. Only an answer ends a job: a deadline that passed means one more try, not
// silence, and that for an hour.

import type { ActionOutcome } from "../../matrix/delayed_events.ts";
import type { JobEvent, Step } from "./events.ts";
import type { Job, JobEnd } from "./job.ts";
import { callPause, giveUpAt, HELD_PAUSE_MS, restartInterval } from "./schedule.ts";

type Answered = Extract<JobEvent, { type: "answered" }>;

interface Context<Kind extends ActionOutcome["kind"]> {
  readonly outcome: Extract<ActionOutcome, { kind: Kind }>;
  readonly askedAt: number;
  readonly now: number;
  readonly random: () => number;
}

type AnswerTable = {
  readonly [Kind in ActionOutcome["kind"]]: (job: Job, context: Context<Kind>) => Step;
};

/** A restart of a job that is connected. */
const RESTARTED: AnswerTable = {
  done: (job, { askedAt, random }) => ({
    job: {
      ...job,
      // The answer may have taken seconds: the homeserver's timer may run since the question.
      timerStartedAt: askedAt,
      failures: { ...job.failures, calls: 0 },
      callAt: askedAt + restartInterval(job.delayMs, random),
    },
    effects: [],
  }),
  gone: ends("gone"),
  refused: ends("refused"),
  limited: (job, { outcome, now }) => again(job, now, outcome.retryAfterMs),
  failed: (job, { now, random }) => again(job, now, callPause(job.failures.calls, random)),
  held,
};

/** A send of a job that is leaving. */
const SENT: AnswerTable = {
  done: ends("sent"),
  gone: ends("gone"),
  refused: ends("refused"),
  limited: (job, { outcome, now }) => again(job, now, outcome.retryAfterMs),
  failed: (job, { now, random }) => again(job, now, callPause(job.failures.calls, random)),
  held,
};

/** A restart that was under way when the participant left. */
const RESTARTED_LATE: AnswerTable = {
  done: (job, { askedAt }) => ({ job: { ...job, timerStartedAt: askedAt }, effects: [] }),
  gone: ends("gone"),
  refused: stay,
  limited: stay,
  failed: stay,
  held: stay,
};

/** A send that was under way when the participant came back: what is sent is sent. */
const SENT_LATE: AnswerTable = {
  done: ends("sent"),
  gone: ends("gone"),
  refused: stay,
  limited: stay,
  failed: stay,
  held: stay,
};

/** An answer to a job that is connected. */
export function answeredConnected(job: Job, event: Answered, now: number, random: () => number): Step {
  return readAnswer(event.action === "restart" ? RESTARTED : SENT_LATE, job, event, now, random);
}

/** An answer to a job that is leaving. */
export function answeredLeaving(job: Job, event: Answered, now: number, random: () => number): Step {
  return readAnswer(event.action === "send" ? SENT : RESTARTED_LATE, job, event, now, random);
}

function readAnswer(table: AnswerTable, job: Job, event: Answered, now: number, random: () => number): Step {
  const { outcome, askedAt } = event;
  // The table is exact per kind; TypeScript cannot follow the pairing of key and argument through an index.
  const handler = table[outcome.kind] as (job: Job, context: Context<ActionOutcome["kind"]>) => Step;
  return handler(job, { outcome, askedAt, now, random });
}

function ends(end: JobEnd): () => Step {
  return () => ({ end });
}

function stay(job: Job): Step {
  return { job, effects: [] };
}

// Not expired, however late: the store says whose the job is.
function held(job: Job, { now }: { readonly now: number }): Step {
  return { job: { ...job, callAt: now + HELD_PAUSE_MS }, effects: [] };
}

function again(job: Job, now: number, pauseMs: number): Step {
  if (now >= giveUpAt(job)) return { end: "expired" };
  const failures = { ...job.failures, calls: job.failures.calls + 1 };
  return { job: { ...job, failures, callAt: now + pauseMs }, effects: [] };
}
