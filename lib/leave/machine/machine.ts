// The delegated leave as a pure machine: (job, event, context) → what becomes of the job, and what to do about it. Every
// rule about presence stands here, every rule about homeservers' answers in answers.ts; timers, HTTP and storage stand
// elsewhere.

import { answeredConnected, answeredLeaving } from "./answers.ts";
import { isIntentional, isNoticedLate, type LeaveReason, sessionEnd } from "./disconnect_reasons.ts";
import {
  type Delegation,
  type Effect,
  type Job,
  type JobEvent,
  type JobState,
  MAX_WATCHED,
  NO_FAILURES,
  NO_SESSIONS,
  type Running,
  type Step,
  type StepContext,
  type UnstoredField,
} from "./job.ts";
import {
  ABSENCE_CHECK_INTERVAL_MS,
  checkPause,
  CLOCK_DOUBT_MS,
  giveUpAt,
  MAX_WAIT_MS,
  RECONNECT_MS,
  SFU_SILENCE_MS,
  SHORT_WAIT_MS,
  SILENT_RECHECK_MS,
  TIME_OUT_NOTICE_MS,
} from "./schedule.ts";

// A leave webhook stands for a presence check that can't be had: so many in a row came to nothing.
const CHECKS_BEFORE_WEBHOOK_ALONE = 3;

type EventOf<Type extends JobEvent["type"]> = Extract<JobEvent, { type: Type }>;
type Handler<Type extends JobEvent["type"]> = (job: Job, event: EventOf<Type>, context: StepContext) => Step;
type Table = { readonly [State in JobState]: { readonly [Type in JobEvent["type"]]: Handler<Type> } };

const TRANSITIONS: Table = {
  waiting: {
    joined: connect,
    left,
    aborted,
    present: (job, { sessions, askedAt }) => connected({ ...job, sessions }, askedAt),
    absent: (job, _, context) => {
      if (job.hint === "left") return leave(job, "absence", context.now);
      if (context.now < job.waitUntil) return checkAgain(job, context);
      return job.hint === "aborted" ? { end: "aborted" } : leave(job, "never connected", context.now);
    },
    unknown: (job, _, context) => context.now >= giveUpAt(job) ? { end: "expired" } : checkAgain(job, context),
    answered: (job) => ({ job, effects: [] }),
    due: (job, _, { now }) => ({ job: quiet(job, now), effects: ["check"] }),
  },
  connected: {
    joined: connect,
    left,
    aborted,
    present: (job, { sessions, askedAt }) => seen(job, sessions, askedAt),
    absent: (job, { roomSince }, context) => {
      if (job.hint === "left") return leave(job, "absence", context.now);
      // Who delegated a moment ago may be about to connect anew.
      const isRecent = context.now - job.delegatedAt < SHORT_WAIT_MS;
      const isSure = isOlderThanSession(roomSince, job) && !isRecent;
      const lastsMs = isSure ? RECONNECT_MS : context.absenceMs;
      return absentAgain(job, lastsMs, context.now);
    },
    unknown: (job, _, context) => {
      // The webhook of the tracked session is the SFU's own word, unless that may have ended before the client delegated.
      const isToldGone = job.hint === "left" && Object.keys(job.sessions).length === 0 && isOfThisSession(job);
      if (isToldGone && job.failures.checks + 1 >= CHECKS_BEFORE_WEBHOOK_ALONE) {
        return leave(job, "absence", context.now);
      }
      if (context.now >= giveUpAt(job)) return { end: "expired" };
      // Whoever was away before may have been there meanwhile: the absence begins anew.
      return checkAgain({ ...job, absentSince: null }, context);
    },
    answered: answeredConnected,
    due: (job, _, { now }) => {
      const effects: Effect[] = [];
      if (now >= job.checkAt) effects.push("check");
      if (now < job.callAt) return { job: quiet(job, now), effects };
      // Whether anybody is there has been unknown for hours: the event is left to its timer until the SFU answers.
      if (now - job.heardAt >= SFU_SILENCE_MS) {
        return { job: { ...quiet(job, now), callAt: now + SILENT_RECHECK_MS }, effects: ["check"] };
      }
      return { job: quiet(job, now), effects: [...effects, "restart"] };
    },
  },
  leaving: {
    joined: connect,
    left: check,
    aborted: check,
    present: (job, { sessions, askedAt }) => connected({ ...job, sessions }, askedAt),
    absent: send,
    unknown: (job, _, context) => {
      if (context.now >= giveUpAt(job)) return { end: "expired" };
      return job.hint === "left" ? send(job) : checkAgain(job, context);
    },
    answered: answeredLeaving,
    // The latest presence check decides about a send, so each attempt has its own.
    due: (job, _, { now }) => ({ job: quiet(job, now), effects: ["check"] }),
  },
};

/** Events by which the SFU shows whether the participant is there. */
const OF_THE_SFU: ReadonlySet<JobEvent["type"]> = new Set(["joined", "left", "aborted", "present", "absent"]);

/** One step. */
export function step(job: Job, event: JobEvent, context: StepContext): Step {
  // The table is exact per event type; TypeScript cannot follow the pairing of key and argument through an index.
  const handler = TRANSITIONS[job.state][event.type] as Handler<JobEvent["type"]>;
  const result = handler(job, event, context);
  if ("end" in result || !OF_THE_SFU.has(event.type)) return result;
  return { ...result, job: { ...result.job, heardAt: context.now } };
}

/**
 * A job as it begins: checked at once, since its participant has usually connected before the client delegates.
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
    heardAt: now,
    ...atRest(),
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
  // Later than the one before, whatever the clock of the replica that took that one.
  const { delegatedAt = Math.max(now, old.delegatedAt + 1) } = delegation;
  if (old.state !== "connected" || old.hint === "left") {
    return begin(next, now, hasLeft || old.hint === "left", delegatedAt);
  }
  const job: Job = { ...old, ...next, timerStartedAt: now, delegatedAt, absentSince: null, ...atRest() };
  return { job, effects: ["restart", "check"] };
}

/**
 * A job out of the store, after a restart or from another replica: what happened meanwhile is unknown, and times may come
 * from a clock that was set.
 *
 * However late, it is restarted once more, at once: the clock may be what is wrong.
 */
export function adopt(stored: Omit<Job, UnstoredField>, now: number): Running {
  const job: Job = {
    ...stored,
    timerStartedAt: Math.min(stored.timerStartedAt, now),
    delegatedAt: Math.min(stored.delegatedAt, now),
    connectedAt: stored.connectedAt !== null && stored.connectedAt > now ? -Infinity : stored.connectedAt,
    waitUntil: Math.min(stored.waitUntil, now + MAX_WAIT_MS),
    heardAt: now,
    ...atRest(),
    callAt: stored.state === "connected" ? now : Infinity,
  };
  return resume(job, 0, now);
}

/**
 * A job after a gap: in which webhooks may have been missed (null), or in which nobody checked and no timer ran, so many
 * ms of which the monotonic clock knows nothing. It is checked; restarts that are due by then come by their timers.
 */
export function resume(job: Job, lostMs: number | null, now: number): Running {
  // A join may have been missed, so that a leave webhook from before stands for nothing by itself.
  const hint = job.state === "waiting" ? job.hint : "none";
  if (lostMs === null) return check({ ...job, hint });
  return check({
    ...job,
    hint,
    timerStartedAt: job.timerStartedAt - lostMs,
    callAt: job.callAt - lostMs,
    // Whoever was away before the gap may have been there during it: the absence begins anew.
    absentSince: null,
    failures: NO_FAILURES,
    // A wait that ended in the gap, or by a clock that was set, goes on for a moment: clients may be reconnecting.
    waitUntil: Math.max(job.waitUntil, now + Math.min(SHORT_WAIT_MS, job.delayMs)),
  });
}

function atRest(): Pick<Job, Exclude<UnstoredField, "heardAt">> {
  return { failures: NO_FAILURES, checkAt: Infinity, callAt: Infinity, departure: null };
}

function check(job: Job): Running {
  return { job: { ...job, checkAt: Infinity }, effects: ["check"] };
}

function send(job: Job): Step {
  return { job: { ...job, checkAt: Infinity, callAt: Infinity }, effects: ["send"] };
}

function connect(job: Job, { identity, sid, at }: EventOf<"joined">): Step {
  // The end of a session from before the delegation may be on its way; but whoever joins has not left. Where a gap moved the
  // timer, the clock by which the join was signed may have been set by as much.
  if (job.state !== "leaving" && at < Math.min(job.delegatedAt, job.timerStartedAt) - CLOCK_DOUBT_MS) {
    return check({ ...job, hint: "none" });
  }
  const sessions = { ...job.sessions, [identity]: sid };
  // A webhook that comes late is about a session that began before a room which was made meanwhile.
  return job.state === "connected" ? seen(job, sessions, at) : connected({ ...job, sessions }, at);
}

/** In the call, and known to be. */
function seen(job: Job, sessions: Job["sessions"], since: number): Step {
  // Stored as rarely as possible: what counts is whether it was before the client delegated, and before the room was made.
  const isKnownAnew = !isKnownSince(job, job.delegatedAt) && since >= job.delegatedAt;
  const isSame = JSON.stringify(job.sessions) === JSON.stringify(sessions) && !isKnownAnew;
  return {
    job: {
      ...job,
      ...(isSame ? {} : { sessions, connectedAt: since }),
      hint: "none",
      absentSince: null,
      failures: { ...job.failures, checks: 0 },
      checkAt: Infinity,
      departure: null,
    },
    effects: [],
  };
}

function connected(job: Job, since: number): Step {
  return {
    job: { ...job, state: "connected", connectedAt: since, hint: "none", absentSince: null, ...atRest() },
    effects: ["restart"],
  };
}

// A leave is believed when it is that of a session we know of; any other one is a reason to check, no more.
function left(job: Job, event: EventOf<"left">, { now }: StepContext): Step {
  const end = sessionEnd(event.reason);
  const tracked = job.sessions[event.identity];
  const isTracked = tracked === undefined ? job.state === "waiting" : tracked === event.sid;
  if (end === "replaced" || !isTracked) return check(job);
  const rest: Job = { ...job, sessions: without(job.sessions, event.identity) };
  if (end === "interrupted") return check(rest);
  if (isOfSessionBefore(job, event)) return endAttempt(rest, now);
  return check({
    ...rest,
    hint: "left",
    failures: { ...job.failures, checks: 0 },
    departure: { reason: end.leave, at: event.at },
  });
}

// An attempt that ended is no sign of the end of a session that stands, nor about the next attempt.
function aborted(job: Job, event: EventOf<"aborted">, { now }: StepContext): Step {
  if (job.state === "connected" && job.sessions[event.identity] !== event.sid) return check(job);
  const { job: next, effects } = endAttempt({ ...job, sessions: without(job.sessions, event.identity) }, now);
  // Whoever was in the call and left has a leave to be sent, whatever they tried afterwards.
  if (next.state !== "waiting" || next.hint === "left") return { job: next, effects };
  const isGivenUp = isIntentional(event.reason) && !isOfSessionBefore(job, event);
  return { job: { ...next, hint: isGivenUp ? "aborted" : "none" }, effects };
}

/** A session or an attempt from before ended: the client is about to connect anew, or not at all. */
function endAttempt(job: Job, now: number): Running {
  if (Object.keys(job.sessions).length > 0) return check(job);
  const waitUntil = now + Math.min(SHORT_WAIT_MS, job.delayMs);
  if (job.state === "waiting") return check({ ...job, waitUntil: Math.min(job.waitUntil, waitUntil) });
  return check({
    ...job,
    state: "waiting",
    connectedAt: null,
    waitUntil,
    hint: "none",
    absentSince: null,
    ...atRest(),
  });
}

/** Whether the session of an event ended before the client delegated, or had died by then. */
function isOfSessionBefore(job: Job, { reason, at }: EventOf<"left" | "aborted">): boolean {
  return at < job.delegatedAt + (isNoticedLate(reason) ? TIME_OUT_NOTICE_MS : 0);
}

/** Whether what ended, by a leave webhook, did so after the client delegated for sure. */
function isOfThisSession(job: Job): boolean {
  const isLater = job.departure !== null && job.departure.at >= job.delegatedAt + CLOCK_DOUBT_MS;
  return isLater || isKnownSince(job, job.delegatedAt);
}

/** Whether the sessions were known to stand at some time, or later. */
function isKnownSince({ connectedAt }: Job, at: number): boolean {
  return connectedAt !== null && connectedAt >= at;
}

/** Whether the SFU has visibly not crashed since the session began: a room does not outlive a crash. */
function isOlderThanSession(roomSince: number | null, { sessions, connectedAt }: Job): boolean {
  const hasSession = Object.keys(sessions).length > 0;
  return hasSession && roomSince !== null && connectedAt !== null && roomSince <= connectedAt;
}

// Clients reconnect to a restarted SFU: restarts go on until the absence has lasted.
function absentAgain(job: Job, lastsMs: number, now: number): Step {
  const absentSince = job.absentSince ?? now;
  if (job.absentSince !== null && now - absentSince >= lastsMs) return leave(job, "absence", now);
  const checkAt = Math.min(absentSince + lastsMs, now + ABSENCE_CHECK_INTERVAL_MS);
  return { job: { ...job, absentSince, failures: { ...job.failures, checks: 0 }, checkAt }, effects: [] };
}

function leave(job: Job, reason: LeaveReason, now: number): Step {
  return {
    job: {
      ...job,
      state: "leaving",
      sessions: NO_SESSIONS,
      ...atRest(),
      departure: job.departure ?? { reason, at: job.absentSince ?? now },
      absentSince: null,
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

function checkAgain(job: Job, { now, random }: StepContext): Step {
  const at = now + checkPause(job.failures.checks, job.hint === "left", random);
  const checkAt = job.state === "waiting" && now < job.waitUntil ? Math.min(at, job.waitUntil) : at;
  return { job: { ...job, failures: { ...job.failures, checks: job.failures.checks + 1 }, checkAt }, effects: [] };
}

function without(sessions: Job["sessions"], identity: string): Job["sessions"] {
  const { [identity]: _, ...rest } = sessions;
  return rest;
}
