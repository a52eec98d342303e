// The delegated leave as a pure machine: (job, event, now) → what becomes of the job, and what to do about it.
// Every rule about ghosts stands here; timers, HTTP and storage stand elsewhere.

import type { Delegation, Job, JobEnd, JobState } from "./job.ts";

/** What a request to the homeserver came to (MSC4140, as homeservers serve it). */
export type ActionOutcome =
  /** 200. */
  | { readonly kind: "done" }
  /** 404 M_NOT_FOUND, 409: the event was sent, cancelled, or finished otherwise. */
  | { readonly kind: "gone" }
  /** 403, 401, 404 M_UNRECOGNIZED: never. */
  | { readonly kind: "refused" }
  /** 429: not now, but after this many ms. */
  | { readonly kind: "limited"; readonly retryAfterMs: number }
  /** 5xx, time-out, no connection: unknown. */
  | { readonly kind: "failed" }
  /** Not asked: another replica may be at work on the room. */
  | { readonly kind: "held" };

/** What can happen to a job. */
export type JobEvent =
  | { readonly type: "joined"; readonly identity: string; readonly sid: string }
  | { readonly type: "left"; readonly identity: string; readonly sid: string; readonly reason: string }
  | { readonly type: "aborted"; readonly identity: string; readonly sid: string; readonly reason: string }
  /** A look at the SFU found these sessions of the watched identities: at least one. */
  | { readonly type: "present"; readonly sessions: Readonly<Record<string, string>> }
  /** A look found none of the watched identities. */
  | { readonly type: "absent" }
  /** A look got no answer: not the same as absent. */
  | { readonly type: "unknown" }
  | { readonly type: "answered"; readonly action: "restart" | "send"; readonly outcome: ActionOutcome }
  /** `lookAt` or `actAt` has come. */
  | { readonly type: "due" };

/** What the manager does next. `look` asks for all watched identities. */
export type Effect = "look" | "restart" | "send";

/** The job as it goes on, and what to do. */
export interface Running {
  readonly job: Job;
  readonly effects: readonly Effect[];
}

/** What becomes of a job: it goes on, or ends. */
export type Step = Running | { readonly end: JobEnd };

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;

/** Longest wait for a first connection. */
export const MAX_WAIT_MS = HOUR_MS;
/** Wait for a new connection after one broke off or had already left. */
export const SHORT_WAIT_MS = MINUTE_MS;
/** Two looks without a webhook must be this far apart: clients reconnect to a restarted SFU. */
export const ABSENCE_MS = MINUTE_MS;
/** A job is given up this long after the homeserver's own timer must have fired. */
export const GIVE_UP_AFTER_MS = HOUR_MS;

const HELD_PAUSE_MS = SECOND_MS;
const RESTART_SHARE = 0.8;
const MIN_RESTART_INTERVAL_MS = SECOND_MS;
// The event's real delay may be shorter than the client says: a homeserver has its own maximum.
const MAX_RESTART_INTERVAL_MS = 5 * MINUTE_MS;

// LiveKit's reasons for a leave after which the participant is still there, in a new session.
const STILL_THERE = new Set(["DUPLICATE_IDENTITY", "MIGRATION"]);
const INTENTIONAL = "CLIENT_INITIATED";

type Handler<Type extends JobEvent["type"]> = (
  job: Job,
  event: Extract<JobEvent, { type: Type }>,
  now: number,
  random: () => number,
) => Step;
type Table = { readonly [State in JobState]: { readonly [Type in JobEvent["type"]]: Handler<Type> } };

const TRANSITIONS: Table = {
  waiting: {
    joined: connect,
    left: lookAfterLeave,
    aborted: lookAfterAbort,
    present: (job, { sessions }) => connected({ ...job, sessions }),
    absent: (job, _, now, random) => {
      if (job.hint === "aborted") return { end: "aborted" };
      if (job.hint === "left" || now >= job.waitUntil) return leave(job);
      return lookAgain(job, now, random);
    },
    unknown: (job, _, now, random) => {
      if (now >= giveUpAt(job)) return { end: "expired" };
      return lookAgain(job, now, random);
    },
    answered: stay,
    due: (job, _, now) => lookOnce(job, now),
  },
  connected: {
    joined: connect,
    left: lookAfterLeave,
    aborted: lookAfterLeave,
    present: (job, { sessions }) => ({
      job: { ...job, sessions, hint: "none", absentSince: null, lookAt: Infinity },
      effects: [],
    }),
    absent: (job, _, now) => {
      if (job.hint === "left") return leave(job);
      if (job.absentSince === null) {
        return { job: { ...job, hint: "none", absentSince: now, lookAt: now + ABSENCE_MS }, effects: [] };
      }
      if (now - job.absentSince >= ABSENCE_MS) return leave(job);
      return { job: { ...job, hint: "none", lookAt: job.absentSince + ABSENCE_MS }, effects: [] };
    },
    unknown: (job, _, now, random) => {
      // The webhook of the tracked session is the SFU's own word.
      if (job.hint === "left" && Object.keys(job.sessions).length === 0) return leave(job);
      return lookAgain(job, now, random);
    },
    answered: (job, { action, outcome }, now, random) =>
      action === "restart" ? restarted(job, outcome, now, random) : answeredLate(job, outcome),
    due: (job, _, now) => {
      const effects: Effect[] = [];
      if (now >= job.lookAt) effects.push("look");
      if (now >= job.actAt) effects.push("restart");
      return { job: { ...job, ...quiet(job, now) }, effects };
    },
  },
  leaving: {
    joined: connect,
    left: (job, event) => ({ job: { ...job, sessions: without(job.sessions, event.identity) }, effects: [] }),
    aborted: stay,
    present: (job, { sessions }) => connected({ ...job, sessions }),
    absent: (job) => ({ job: { ...job, lookAt: Infinity, actAt: Infinity }, effects: ["send"] }),
    unknown: (job, _, now, random) => {
      if (now >= giveUpAt(job)) return { end: "expired" };
      if (job.hint === "left") return { job: { ...job, lookAt: Infinity, actAt: Infinity }, effects: ["send"] };
      return lookAgain(job, now, random);
    },
    answered: (job, { action, outcome }, now, random) =>
      action === "send" ? sent(job, outcome, now, random) : restartedLate(job, outcome, now),
    // The latest look decides about a send, so each attempt has its own.
    due: (job, _, now) => lookOnce(job, now),
  },
};

/**
 * A job as it begins: looked up at once, since its participant has usually connected before the client hands it over.
 *
 * @param hasLeft The participant was seen leaving a moment ago: a new connection comes soon or not at all.
 */
export function begin(delegation: Delegation, now: number, hasLeft: boolean): Running {
  const wait = hasLeft ? SHORT_WAIT_MS : MAX_WAIT_MS;
  const job: Job = {
    ...delegation,
    state: "waiting",
    sessions: {},
    timerStartedAt: now,
    waitUntil: now + Math.min(wait, delegation.delayMs),
    hint: "none",
    absentSince: null,
    failures: 0,
    lookAt: Infinity,
    actAt: Infinity,
  };
  return { job, effects: ["look"] };
}

/**
 * A job that takes the place of another of the same participant: the client has a new event for the same session, which
 * goes on undisturbed.
 */
export function replace(old: Job, delegation: Delegation, now: number): Running {
  if (old.state !== "connected") return begin(delegation, now, false);
  const job: Job = { ...old, ...delegation, timerStartedAt: now, failures: 0, lookAt: Infinity, actAt: Infinity };
  return { job, effects: ["restart", "look"] };
}

/** A job after a gap (restart, take-over): what happened meanwhile is unknown, so it is looked up, and restarted if due. */
export function resume(job: Job, now: number): Step {
  if (now >= giveUpAt(job)) return { end: "expired" };
  const effects: Effect[] = job.state === "connected" ? ["look", "restart"] : ["look"];
  // A leave webhook may have been lost in the gap, and one from before it was already acted upon: only `leaving` keeps
  // what it knows.
  const hint = job.state === "leaving" ? job.hint : "none";
  return { job: { ...job, hint, failures: 0, lookAt: Infinity, actAt: Infinity }, effects };
}

/**
 * One step.
 *
 * @param now ms of the monotonic clock.
 * @param random From 0 (inclusive) to 1 (exclusive), for jitter.
 */
export function step(job: Job, event: JobEvent, now: number, random: () => number): Step {
  // The table is exact per event type; TypeScript cannot follow the pairing of key and argument through an index.
  const handler = TRANSITIONS[job.state][event.type] as Handler<JobEvent["type"]>;
  return handler(job, event, now, random);
}

/** When the job wants a `due` event. */
export function wakeAt(job: Job): number {
  return Math.min(job.lookAt, job.actAt);
}

/** When the homeserver's own timer fires unless it is restarted, as far as we know. */
export function deadlineOf(job: Job): number {
  return job.timerStartedAt + job.delayMs;
}

function giveUpAt(job: Job): number {
  return deadlineOf(job) + GIVE_UP_AFTER_MS;
}

function stay(job: Job): Step {
  return { job, effects: [] };
}

function connect(job: Job, event: { readonly identity: string; readonly sid: string }): Step {
  const sessions = { ...job.sessions, [event.identity]: event.sid };
  if (job.state !== "connected") return connected({ ...job, sessions });
  return { job: { ...job, sessions, hint: "none", absentSince: null, lookAt: Infinity }, effects: [] };
}

function connected(job: Job): Step {
  return {
    job: {
      ...job,
      state: "connected",
      hint: "none",
      absentSince: null,
      failures: 0,
      lookAt: Infinity,
      actAt: Infinity,
    },
    effects: ["restart"],
  };
}

// A leave is believed when it is that of a session we know of; any other one is a reason to look, no more.
function lookAfterLeave(
  job: Job,
  event: { readonly identity: string; readonly sid: string; readonly reason: string },
): Step {
  const tracked = job.sessions[event.identity];
  const isTracked = tracked === undefined ? job.state === "waiting" : tracked === event.sid;
  if (STILL_THERE.has(event.reason) || !isTracked) return { job: { ...job, lookAt: Infinity }, effects: ["look"] };
  const sessions = without(job.sessions, event.identity);
  return { job: { ...job, sessions, hint: "left", lookAt: Infinity }, effects: ["look"] };
}

function lookAfterAbort(job: Job, event: { readonly reason: string }, now: number): Step {
  if (event.reason === INTENTIONAL) return { job: { ...job, hint: "aborted", lookAt: Infinity }, effects: ["look"] };
  return {
    job: { ...job, waitUntil: Math.min(job.waitUntil, now + SHORT_WAIT_MS), lookAt: Infinity },
    effects: ["look"],
  };
}

function leave(job: Job): Step {
  return {
    job: { ...job, state: "leaving", sessions: {}, absentSince: null, failures: 0, lookAt: Infinity, actAt: Infinity },
    effects: ["send"],
  };
}

function lookOnce(job: Job, now: number): Step {
  return { job: { ...job, ...quiet(job, now) }, effects: ["look"] };
}

/** The timers that have fired, stopped: what they started sets them again. */
function quiet(job: Job, now: number): Pick<Job, "lookAt" | "actAt"> {
  return { lookAt: now >= job.lookAt ? Infinity : job.lookAt, actAt: now >= job.actAt ? Infinity : job.actAt };
}

function lookAgain(job: Job, now: number, random: () => number): Step {
  const pause = backOff(job.failures, SECOND_MS, 1.5, MINUTE_MS, random);
  const at = job.state === "waiting" && now < job.waitUntil ? Math.min(now + pause, job.waitUntil) : now + pause;
  return { job: { ...job, failures: job.failures + 1, lookAt: at }, effects: [] };
}

function restarted(job: Job, outcome: ActionOutcome, now: number, random: () => number): Step {
  switch (outcome.kind) {
    case "done": {
      const interval = Math.min(job.delayMs * RESTART_SHARE, MAX_RESTART_INTERVAL_MS);
      const actAt = now + Math.max(interval, MIN_RESTART_INTERVAL_MS);
      return { job: { ...job, timerStartedAt: now, failures: 0, actAt }, effects: [] };
    }
    case "gone":
      return { end: "gone" };
    case "refused":
      return { end: "refused" };
    case "limited":
      return { job: { ...job, actAt: now + outcome.retryAfterMs }, effects: [] };
    case "held":
      return { job: { ...job, actAt: now + HELD_PAUSE_MS }, effects: [] };
    case "failed":
      return actAgain(job, now, random);
  }
}

function sent(job: Job, outcome: ActionOutcome, now: number, random: () => number): Step {
  switch (outcome.kind) {
    case "done":
      return { end: "sent" };
    case "gone":
      return { end: "gone" };
    case "refused":
      return { end: "refused" };
    case "limited":
      return { job: { ...job, actAt: now + outcome.retryAfterMs }, effects: [] };
    case "held":
      return { job: { ...job, actAt: now + HELD_PAUSE_MS }, effects: [] };
    case "failed":
      return actAgain(job, now, random);
  }
}

// A `send` that was under way when the participant came back: what is sent is sent.
function answeredLate(job: Job, outcome: ActionOutcome): Step {
  if (outcome.kind === "done") return { end: "sent" };
  return outcome.kind === "gone" ? { end: "gone" } : stay(job);
}

// A `restart` that was under way when the participant left.
function restartedLate(job: Job, outcome: ActionOutcome, now: number): Step {
  if (outcome.kind === "gone") return { end: "gone" };
  return stay(outcome.kind === "done" ? { ...job, timerStartedAt: now } : job);
}

// Only the homeserver's answer ends a job: a deadline that passed means one more try, not silence, for an hour.
function actAgain(job: Job, now: number, random: () => number): Step {
  if (now >= giveUpAt(job)) return { end: "expired" };
  const pause = backOff(job.failures, SECOND_MS / 2, 2, MINUTE_MS / 2, random);
  return { job: { ...job, failures: job.failures + 1, actAt: now + pause }, effects: [] };
}

function backOff(failures: number, firstMs: number, factor: number, maxMs: number, random: () => number): number {
  return Math.min(firstMs * factor ** failures, maxMs) * (0.5 + random());
}

function without(sessions: Job["sessions"], identity: string): Job["sessions"] {
  const { [identity]: _, ...rest } = sessions;
  return rest;
}
