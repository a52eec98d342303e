// When things are due: how long an absence lasts before it counts, how early an event is restarted, how long to pause
// after a failure.

import type { Job } from "./job.ts";

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;

/** Longest wait for a first connection: a client that is still trying delegates again. */
export const MAX_WAIT_MS = 5 * MINUTE_MS;
/** Wait for a new connection after one broke off or had already left. */
export const SHORT_WAIT_MS = MINUTE_MS;
/** LiveKit needs 20.5 s to notice that a client died: a time-out sooner after a delegation is of the session before. */
export const TIME_OUT_NOTICE_MS = 20 * SECOND_MS;
/** LiveKit signs whole seconds, by a clock that may be five of them off: so long it is not known what came first. */
export const CLOCK_DOUBT_MS = 6 * SECOND_MS;
/** A client that reconnects by LiveKit's order is back within a second: 238 ms later, as measured. */
export const RECONNECT_MS = SECOND_MS;
/** Checks during an absence: who came back, and was lost again, has not been away all the time. */
export const ABSENCE_CHECK_INTERVAL_MS = 20 * SECOND_MS;
/** So long without an answer of the SFU, and events are not restarted any more: nobody knows whom they keep in the call. */
export const SFU_SILENCE_MS = 3 * HOUR_MS;
/** Pause until the SFU may have answered. */
export const SILENT_RECHECK_MS = MINUTE_MS;

/** A job is given up this long after the homeserver's own timer must have fired. */
export const GIVE_UP_AFTER_MS = HOUR_MS;

/** Pause before a call that was held back is tried again. */
export const HELD_PAUSE_MS = SECOND_MS;

/** Shortest pause after a call that failed. */
export const MIN_CALL_PAUSE_MS = SECOND_MS / 4;

const MIN_ABSENCE_MS = 5 * SECOND_MS;
const MAX_ABSENCE_MS = MINUTE_MS;
// Where nobody ever connected, so long after the wait for them was over.
const GIVE_UP_UNCONNECTED_AFTER_MS = 10 * MINUTE_MS;

const RESTART_SHARE = 0.8;
const MIN_RESTART_INTERVAL_MS = SECOND_MS;
// The event's real delay may be shorter than the delegated one: a homeserver has its own maximum.
const MAX_RESTART_INTERVAL_MS = 5 * MINUTE_MS;
// Jobs that begin together, after a restart of the service for example, drift apart. Short delays have no time to spare.
const JITTER_SHARE = 0.1;
const MIN_JITTERED_INTERVAL_MS = MINUTE_MS;

// Between checks that are to confirm a leave webhook: an SFU that refuses connections has three within a second.
const CONFIRM_PAUSE_MS = 300;

/** When the homeserver's own timer fires unless it is restarted, as far as is known. */
export function deadlineOf(job: Pick<Job, "timerStartedAt" | "delayMs">): number {
  return job.timerStartedAt + job.delayMs;
}

/** From when on a failure is the last one. */
export function giveUpAt(job: Job): number {
  const at = deadlineOf(job) + GIVE_UP_AFTER_MS;
  const isUnconnected = job.state === "leaving" && job.connectedAt === null;
  return isUnconnected ? Math.min(at, job.waitUntil + GIVE_UP_UNCONNECTED_AFTER_MS) : at;
}

/** When the job wants a `due` event. */
export function wakeAt(job: Job): number {
  return Math.min(job.checkAt, job.callAt);
}

/**
 * How long an absence without a webhook lasts before it counts, ms: clients reconnect to a restarted SFU.
 *
 * @param pollIntervalMs How often rooms are polled by choice; 0 = not.
 */
export function absenceFor(pollIntervalMs: number): number {
  return Math.min(Math.max(pollIntervalMs || Infinity, MIN_ABSENCE_MS), MAX_ABSENCE_MS);
}

/** How long after a successful restart the next one is due, in ms. */
export function restartInterval(delayMs: number, random: () => number): number {
  const interval = Math.min(delayMs * RESTART_SHARE, MAX_RESTART_INTERVAL_MS);
  if (interval >= MIN_JITTERED_INTERVAL_MS) return interval * (1 - JITTER_SHARE * random());
  return Math.max(interval, MIN_RESTART_INTERVAL_MS);
}

/**
 * Pause after so many presence checks that found nobody or got no answer, in ms: 1 s × 1.5 ± 50 %, at most 60 s.
 *
 * @param isConfirming A leave webhook waits for the answer.
 */
export function checkPause(failures: number, isConfirming: boolean, random: () => number): number {
  if (isConfirming && failures < 3) return CONFIRM_PAUSE_MS;
  return Math.min(backOff(failures, SECOND_MS, 1.5, MINUTE_MS, random), MINUTE_MS);
}

/** Pause after so many calls that failed, in ms. */
export function callPause(failures: number, random: () => number): number {
  return backOff(failures, SECOND_MS / 2, 2, MINUTE_MS / 2, random);
}

function backOff(failures: number, firstMs: number, factor: number, maxMs: number, random: () => number): number {
  return Math.min(firstMs * factor ** failures, maxMs) * (0.5 + random());
}
