// A delegated leave: one delayed leave event that the service postpones while its participant is in the call, and
// fires when they have gone.

import type { Identity, RoomAlias } from "../../livekit/identity.ts";
import type { ServerName } from "../../matrix/server_name.ts";

/** A participant in a room: at most one job each. */
export interface JobKey {
  readonly room: RoomAlias;
  readonly identity: Identity;
}

/** What a client handed over. */
export interface Delegation extends JobKey {
  /** Every identity under which the participant may connect; the job's own is among them. */
  readonly watched: readonly Identity[];
  /** The homeserver that keeps the event. */
  readonly homeserver: ServerName;
  /** MSC4140 delay ID. */
  readonly delayId: string;
  /** The event's own delay, ms. */
  readonly delayMs: number;
}

/**
 * Where a job stands.
 * - `waiting`: the participant has not been seen; nothing is restarted.
 * - `connected`: they are in the call; the event is postponed again and again.
 * - `leaving`: they have gone; the event is to be sent.
 */
export type JobState = "waiting" | "connected" | "leaving";

/** Failures in a row. */
export interface Failures {
  readonly checks: number;
  readonly calls: number;
}

/** Identities that a job watches at most: a client can delegate one event under ever new ones. */
export const MAX_WATCHED = 4;

/** All well: one object for all jobs. */
export const NO_FAILURES: Failures = { checks: 0, calls: 0 };

/** Nobody is believed to be present: one object for all jobs. */
export const NO_SESSIONS: Readonly<Record<string, string>> = {};

/** A job. All times are ms of the monotonic clock; the store translates them to wall time and back. */
export interface Job extends Delegation {
  readonly state: JobState;
  /** Sessions believed to be present: identity → LiveKit participant SID. */
  readonly sessions: Readonly<Record<string, string>>;
  /** The homeserver's timer last started anew here: when the job was accepted, or at its last successful restart. */
  readonly timerStartedAt: number;
  /** When the client delegated the event: of two events of one participant the later one counts. */
  readonly delegatedAt: number;
  /**
   * When the sessions believed to be present, or the last ones, were first known; null = the participant was never
   * connected, -Infinity = they were, at a time unknown.
   */
  readonly connectedAt: number | null;
  /** Waiting: when an absence becomes a leave. */
  readonly waitUntil: number;
  /**
   * Why the next look decides alone: `left` = a leave webhook of a tracked session came, so that one look (or none to be
   * had) is enough; `aborted` = the client gave up its connection by itself, so that an absence ends the job silently.
   */
  readonly hint: "none" | "left" | "aborted";
  /** The first of two looks that found nobody; null = none did. */
  readonly absentSince: number | null;
  /** PresenceChecks without a find and calls without success, in a row: for back-off. */
  readonly failures: Failures;
  /** When to look next; Infinity = only when something happens. */
  readonly checkAt: number;
  /** When to restart (connected) or send (leaving) next; Infinity = not by time. */
  readonly callAt: number;
}

/** How a job ended. Only the first two and `refused` are the homeserver's word. */
export type JobEnd =
  /** The leave was sent by us. */
  | "sent"
  /** The event was sent, cancelled or replaced by somebody else. */
  | "gone"
  /** The homeserver will never do this for us. */
  | "refused"
  /** The client closed its connection before it stood, and keeps its event to itself. */
  | "aborted"
  /** Nothing could be learnt until an hour past the deadline. */
  | "expired";

/** Text form of a key, for maps. */
export function keyText({ room, identity }: JobKey): string {
  return JSON.stringify([room, identity]);
}

/** A job in a log record. */
export function describeJob(job: Job): Record<string, string> {
  const { room, identity, homeserver, delayId, state } = job;
  return { room, identity, homeserver, delay_id: beginningOf(delayId), state };
}

// Whoever knows the whole of it can send or cancel the event. A short one is no secret.
function beginningOf(delayId: string): string {
  return delayId.length < 12 ? delayId : `${delayId.slice(0, 8)}…`;
}
