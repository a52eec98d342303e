// What a homeserver's answer means for a job. Only an answer ends a job: a deadline that passed means one more try, not
// silence, and that for an hour; and an answer that refuses may be that of a worker which is just being replaced.

import type { ActionOutcome } from "../../matrix/delayed_events.ts";
import type { Job, JobEnd, JobEvent, Step, StepContext } from "./job.ts";
import { callPause, deadlineOf, giveUpAt, HELD_PAUSE_MS, MIN_CALL_PAUSE_MS, restartInterval } from "./schedule.ts";

type Answered = Extract<JobEvent, { type: "answered" }>;

interface AnswerContext<Kind extends ActionOutcome["kind"]> extends StepContext {
  readonly outcome: Extract<ActionOutcome, { kind: Kind }>;
  readonly askedAt: number;
}

type AnswerTable = {
  readonly [Kind in ActionOutcome["kind"]]: (job: Job, context: AnswerContext<Kind>) => Step;
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
  refused,
  limited: (job, { outcome, now }) => again(job, now, outcome.retryAfterMs),
  failed: (job, { now, random }) => again(job, now, pauseOf(job, now, random)),
  held,
};

/** A send of a job that is leaving. */
const SENT: AnswerTable = {
  done: ends("sent"),
  gone: ends("gone"),
  // Whoever is not in the room any more has nothing left to leave; Synapse has dropped the event.
  refused: (job, context) => context.outcome.why === "forbidden" ? { end: "refused" } : refused(job, context),
  limited: (job, { outcome, now }) => again(job, now, outcome.retryAfterMs),
  failed: (job, { outcome, now, random }) => {
    // By then the event must have fired, and the homeserver knows it no more.
    if (outcome.how === "bare-404" && now >= deadlineOf(job)) return { end: "gone" };
    return again(job, now, pauseOf(job, now, random));
  },
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
export function answeredConnected(job: Job, event: Answered, context: StepContext): Step {
  return readAnswer(event.action === "restart" ? RESTARTED : SENT_LATE, job, event, context);
}

/** An answer to a job that is leaving. */
export function answeredLeaving(job: Job, event: Answered, context: StepContext): Step {
  return readAnswer(event.action === "send" ? SENT : RESTARTED_LATE, job, event, context);
}

function readAnswer(table: AnswerTable, job: Job, { outcome, askedAt }: Answered, context: StepContext): Step {
  // The table is exact per kind; TypeScript cannot follow the pairing of key and argument through an index.
  const handler = table[outcome.kind] as (job: Job, context: AnswerContext<ActionOutcome["kind"]>) => Step;
  return handler(job, { ...context, outcome, askedAt });
}

function ends(end: JobEnd): () => Step {
  return () => ({ end });
}

function stay(job: Job): Step {
  return { job, effects: [] };
}

// Past the deadline the event has fired by itself, for all that is known.
function refused(job: Job, { now, random }: StepContext): Step {
  if (now >= deadlineOf(job)) return { end: "refused" };
  return again(job, now, pauseOf(job, now, random));
}

// Short of the deadline each try leaves time for another one.
function pauseOf(job: Job, now: number, random: () => number): number {
  const pauseMs = callPause(job.failures.calls, random);
  const leftMs = deadlineOf(job) - now;
  return leftMs > 0 ? Math.min(pauseMs, Math.max(leftMs / 2, MIN_CALL_PAUSE_MS)) : pauseMs;
}

// Not expired, however late: the job may be another replica's.
function held(job: Job, { now }: StepContext): Step {
  return { job: { ...job, callAt: now + HELD_PAUSE_MS }, effects: [] };
}

function again(job: Job, now: number, pauseMs: number): Step {
  if (now >= giveUpAt(job)) return { end: "expired" };
  const failures = { ...job.failures, calls: job.failures.calls + 1 };
  return { job: { ...job, failures, callAt: now + pauseMs }, effects: [] };
}
