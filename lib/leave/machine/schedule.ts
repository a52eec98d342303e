// When things are due: how long an absence lasts before it counts, how early an event is restarted, how long to pause
// after a failure.

import type { Job } from "./job.ts";

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;

/** Longest wait for a first connection. */
export const MAX_WAIT_MS = HOUR_MS;
/** Wait for a new connection after one broke off or had already left. */
export const SHORT_WAIT_MS = MINUTE_MS;
/** Two looks without a webhook must be this far apart: clients reconnect to a restarted SFU. */
export const ABSENCE_MS = MINUTE_MS;
/** PresenceChecks in between: who came back, and was lost again, has not been away all the time. */
export const ABSENCE_LOOK_INTERVAL_MS = 20 * SECOND_MS;
/** A job is given up this long after the homeserver's own timer must have fired. */
export const GIVE_UP_AFTER_MS = HOUR_MS;

/** Pause before a call that was held back is tried again. */
export const HELD_PAUSE_MS = SECOND_MS;

const RESTART_SHARE = 0.8;
const MIN_RESTART_INTERVAL_MS = SECOND_MS;
// The event's real delay may be shorter than the client says: a homeserver has its own maximum.
const MAX_RESTART_INTERVAL_MS = 5 * MINUTE_MS;
// Jobs that begin together, after a restart of the service say, drift apart. Short delays have no time to spare.
const JITTER_SHARE = 0.1;
const MIN_JITTERED_INTERVAL_MS = MINUTE_MS;

/** When the homeserver's own timer fires unless it is restarted, as far as we know. */
export function deadlineOf(job: Job): number {
  return job.timerStartedAt + job.delayMs;
}

/** From when on a failure is the last one. */
export function giveUpAt(job: Job): number {
  return deadlineOf(job) + GIVE_UP_AFTER_MS;
}

/** When the job wants a `due` event. */
export function wakeAt(job: Job): number {
  return Math.min(job.checkAt, job.callAt);
}

/** How long after a successful restart the next one is due, in ms. */
export function restartInterval(delayMs: number, random: () => number): number {
  const interval = Math.min(delayMs * RESTART_SHARE, MAX_RESTART_INTERVAL_MS);
  if (interval >= MIN_JITTERED_INTERVAL_MS) return interval * (1 - JITTER_SHARE * random());
  return Math.max(interval, MIN_RESTART_INTERVAL_MS);
}

/** Pause after so many looks that found nobody or got no answer, in ms: 1 s × 1.5 ± 50 %, at most 60 s. */
export function checkPause(failures: number, random: () => number): number {
  return Math.min(backOff(failures, SECOND_MS, 1.5, MINUTE_MS, random), MINUTE_MS);
}

/** Pause after so many calls that failed, in ms. */
export function callPause(failures: number, random: () => number): number {
  return backOff(failures, SECOND_MS / 2, 2, MINUTE_MS / 2, random);
}

function backOff(failures: number, firstMs: number, factor: number, maxMs: number, random: () => number): number {
  return Math.min(firstMs * factor ** failures, maxMs) * (0.5 + random());
}
