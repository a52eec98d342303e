// The delegated leave as a pure machine: (job, event, now) → what becomes of the job, and what to do about it.
// Every rule about ghosts stands here; timers, HTTP and storage stand elsewhere.

import { answeredConnected, answeredLeaving } from "./answers.ts";
import { type Effect, isReconnect, type JobEvent, type Running, type Step } from "./events.ts";
import { type Delegation, type Job, type JobState, MAX_WATCHED, NO_FAILURES, NO_SESSIONS } from "./job.ts";
import { ABSENCE_LOOK_INTERVAL_MS, ABSENCE_MS, checkPause, giveUpAt, MAX_WAIT_MS, SHORT_WAIT_MS } from "./schedule.ts";

const INTENTIONAL = "CLIENT_INITIATED";

// A leave webhook stands for a look that can't be had: so many in a row came to nothing.
const LOOKS_BEFORE_WEBHOOK_ALONE = 3;

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
    unknown: (job, _, now, random) => now >= giveUpAt(job) ? { end: "expired" } : lookAgain(job, now, random),
    answered: stay,
    due: (job, _, now) => ({ job: quiet(job, now), effects: ["check"] }),
  },
  connected: {
    joined: connect,
    left: lookAfterLeave,
    aborted: lookAfterLeave,
    present: (job, { sessions }) =>
      seen({ ...job, sessions: isSame(job.sessions, sessions) ? job.sessions : sessions }),
    absent: (job, _, now) => {
      if (job.hint === "left") return leave(job);
      if (job.absentSince !== null && now - job.absentSince >= ABSENCE_MS) return leave(job);
      const absentSince = job.absentSince ?? now;
      const failures = { ...job.failures, checks: 0 };
      const checkAt = Math.min(absentSince + ABSENCE_MS, now + ABSENCE_LOOK_INTERVAL_MS);
      return { job: { ...job, absentSince, failures, checkAt }, effects: [] };
    },
    unknown: (job, _, now, random) => {
      // The webhook of the tracked session is the SFU's own word.
      const isToldGone = job.hint === "left" && Object.keys(job.sessions).length === 0;
      if (isToldGone && job.failures.checks + 1 >= LOOKS_BEFORE_WEBHOOK_ALONE) return leave(job);
      return lookAgain(job, now, random);
    },
    answered: answeredConnected,
    due: (job, _, now) => {
      const effects: Effect[] = [];
      if (now >= job.checkAt) effects.push("check");
      if (now >= job.callAt) effects.push("restart");
      return { job: quiet(job, now), effects };
    },
  },
  leaving: {
    joined: connect,
    left: look,
    aborted: look,
    present: (job, { sessions }) => connected({ ...job, sessions }),
    absent: send,
    unknown: (job, _, now, random) => {
      if (now >= giveUpAt(job)) return { end: "expired" };
      return job.hint === "left" ? send(job) : lookAgain(job, now, random);
    },
    answered: answeredLeaving,
    // The latest look decides about a send, so each attempt has its own.
    due: (job, _, now) => ({ job: quiet(job, now), effects: ["check"] }),
  },
};

/**
 * A job as it begins: looked up at once, since its participant has usually connected before the client hands it over.
 *
 * @param hasLeft The participant was seen leaving a moment ago: a new connection comes soon or not at all.
 */
export function begin(delegation: Delegation, now: number, hasLeft: boolean, delegatedAt = now): Running {
  const wait = hasLeft ? SHORT_WAIT_MS : MAX_WAIT_MS;
  const job: Job = {
    ...delegation,
    state: "waiting",
    sessions: NO_SESSIONS,
    timerStartedAt: now,
    delegatedAt,
    connectedAt: null,
    waitUntil: now + Math.min(wait, delegation.delayMs),
    hint: "none",
    absentSince: null,
    failures: NO_FAILURES,
    checkAt: Infinity,
    callAt: Infinity,
  };
  return { job, effects: ["check"] };
}

/**
 * A job that takes the place of another of the same participant: the client has a new event for the same session, which
 * goes on undisturbed. A session that is over is another matter: the client is about to connect anew.
 *
 * @param hasLeft As for {@link begin}.
 */
export function replace(
  old: Job,
  delegation: Delegation & { readonly delegatedAt?: number },
  now: number,
  hasLeft: boolean,
): Running {
  const { room, identity, homeserver, delayId, delayMs } = delegation;
  const watched = [...new Set([...delegation.watched, ...old.watched])].slice(0, MAX_WATCHED);
  const next: Delegation = { room, identity, watched, homeserver, delayId, delayMs };
  // Later than the one before, whatever the clock of the replica says that took that one.
  const { delegatedAt = Math.max(now, old.delegatedAt + 1) } = delegation;
  if (old.state !== "connected" || old.hint === "left") {
    return begin(next, now, hasLeft || old.hint === "left", delegatedAt);
  }
  const job: Job = {
    ...old,
    ...next,
    timerStartedAt: now,
    delegatedAt,
    absentSince: null,
    failures: NO_FAILURES,
    checkAt: Infinity,
    callAt: Infinity,
  };
  return { job, effects: ["restart", "check"] };
}

/**
 * A leave that was told before the client handed this event over, and comes late: it ended the session before, and the
 * client is about to connect anew.
 */
export function beginAfterLeave(job: Job, { identity, sid, reason }: LeftEvent, now: number): Running {
  if (isReconnect(reason) || job.sessions[identity] !== sid) return look(job);
  const { job: next, effects } = begin(job, now, true, job.delegatedAt);
  return { job: { ...next, timerStartedAt: job.timerStartedAt }, effects };
}

/**
 * A job out of the store, after a restart or from another replica: what happened meanwhile is unknown.
 *
 * However late, it is tried once more: the clock may be what is wrong.
 */
export function adopt(stored: Job, now: number): Running {
  // A wall clock that was set back must not make anything wait longer than it would have.
  const timerStartedAt = Math.min(stored.timerStartedAt, now);
  const waitUntil = Math.min(stored.waitUntil, now + MAX_WAIT_MS);
  return resume({ ...stored, timerStartedAt, waitUntil }, "time", now);
}

/**
 * A job after a gap in which webhooks may have been missed (`events`), or in which nobody looked and no timer ran
 * (`time`): it is looked up, and restarted where its timer can't be trusted any more.
 */
export function resume(job: Job, lost: "events" | "time", now: number): Running {
  // A join may have been missed, so that a leave webhook from before stands for nothing by itself.
  const hint = job.state === "waiting" ? job.hint : "none";
  if (lost === "events") return look({ ...job, hint });
  const effects: Effect[] = job.state === "connected" ? ["check", "restart"] : ["check"];
  // Whoever was away before the gap may have been there during it: the absence begins anew.
  const fresh = { absentSince: null, failures: NO_FAILURES, checkAt: Infinity, callAt: Infinity };
  // A wait that ended in the gap, or by a clock that was set, goes on for a moment: clients may be reconnecting.
  const waitUntil = Math.max(job.waitUntil, now + Math.min(SHORT_WAIT_MS, job.delayMs));
  return { job: { ...job, ...fresh, hint, waitUntil }, effects };
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

function stay(job: Job): Step {
  return { job, effects: [] };
}

function look(job: Job): Running {
  return { job: { ...job, checkAt: Infinity }, effects: ["check"] };
}

function send(job: Job): Step {
  return { job: { ...job, checkAt: Infinity, callAt: Infinity }, effects: ["send"] };
}

function connect(job: Job, event: { readonly identity: string; readonly sid: string }): Step {
  const present = { ...job, sessions: { ...job.sessions, [event.identity]: event.sid } };
  return job.state === "connected" ? seen(present) : connected(present);
}

/** In the call, and known to be. */
function seen(job: Job): Step {
  const failures = { ...job.failures, checks: 0 };
  return { job: { ...job, hint: "none", absentSince: null, failures, checkAt: Infinity }, effects: [] };
}

function connected(job: Job): Step {
  return {
    job: {
      ...job,
      state: "connected",
      hint: "none",
      absentSince: null,
      failures: NO_FAILURES,
      checkAt: Infinity,
      callAt: Infinity,
    },
    effects: ["restart"],
  };
}

type LeftEvent = Pick<Extract<JobEvent, { type: "left" }>, "identity" | "sid" | "reason">;

// A leave is believed when it is that of a session we know of; any other one is a reason to look, no more.
function lookAfterLeave(
  job: Job,
  event: { readonly identity: string; readonly sid: string; readonly reason: string },
): Step {
  const tracked = job.sessions[event.identity];
  const isTracked = tracked === undefined ? job.state === "waiting" : tracked === event.sid;
  if (isReconnect(event.reason) || !isTracked) return look(job);
  const failures = { ...job.failures, checks: 0 };
  const sessions = without(job.sessions, event.identity);
  return look({ ...job, sessions, hint: "left", failures });
}

function lookAfterAbort(job: Job, event: { readonly reason: string }, now: number): Step {
  if (event.reason === INTENTIONAL) {
    // Whoever was in the call and left has a leave to be sent, whatever they tried afterwards.
    const hint = job.hint === "left" ? "left" : "aborted";
    return look({ ...job, hint });
  }
  return look({ ...job, waitUntil: Math.min(job.waitUntil, now + SHORT_WAIT_MS) });
}

function leave(job: Job): Step {
  return {
    job: {
      ...job,
      state: "leaving",
      sessions: NO_SESSIONS,
      absentSince: null,
      failures: NO_FAILURES,
      checkAt: Infinity,
      callAt: Infinity,
    },
    effects: ["send"],
  };
}

/** The timers that have fired, stopped: what they started sets them again. */
function quiet(job: Job, now: number): Job {
  return {
    ...job,
    checkAt: now >= job.checkAt ? Infinity : job.checkAt,
    callAt: now >= job.callAt ? Infinity : job.callAt,
  };
}

function lookAgain(job: Job, now: number, random: () => number): Step {
  const at = now + checkPause(job.failures.checks, random);
  const checkAt = job.state === "waiting" && now < job.waitUntil ? Math.min(at, job.waitUntil) : at;
  const failures = { ...job.failures, checks: job.failures.checks + 1 };
  return { job: { ...job, failures, checkAt }, effects: [] };
}

function isSame(one: Job["sessions"], other: Job["sessions"]): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

function without(sessions: Job["sessions"], identity: string): Job["sessions"] {
  const { [identity]: _, ...rest } = sessions;
  return rest;
}
