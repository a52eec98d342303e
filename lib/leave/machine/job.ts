// A delegated leave: one delayed leave event that the service postpones while its participant is in the call, and sends
// when they have gone. Here are the words in which machine, presence checks and calls speak of it.

import type { Identity, RoomAlias } from "../../livekit/identity.ts";
import type { ActionOutcome } from "../../matrix/delayed_events.ts";
import type { ServerName } from "../../matrix/server_name.ts";
import type { LeaveReason } from "./disconnect_reasons.ts";

/** A participant in a room: at most one job each. */
export interface JobKey {
  readonly room: RoomAlias;
  readonly identity: Identity;
}

/** What a client delegates. */
export interface Delegation extends JobKey {
  /** Every identity under which the participant may connect, {@link MAX_WATCHED} at most; the job's own is among them. */
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

/** Presence checks without a find, and calls without success, in a row. */
export interface Failures {
  readonly checks: number;
  readonly calls: number;
}

/** Identities that one job watches: a client that delegates one event under ever new ones makes it no larger. */
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
   * When the sessions believed to be present, or the last ones, were first known, or first since the client delegated;
   * null = the participant was never connected, -Infinity = they were, at a time unknown.
   */
  readonly connectedAt: number | null;
  /** Waiting: when an absence becomes a leave. */
  readonly waitUntil: number;
  /**
   * Why the next presence check decides alone: `left` = a leave webhook of a tracked session came, so that one check (or
   * none to be had) is enough; `aborted` = the client gave up its connection by itself, so that an absence ends the job
   * silently.
   */
  readonly hint: "none" | "left" | "aborted";
  /** The first of two presence checks that found nobody; null = none did. */
  readonly absentSince: number | null;
  /** For back-off. */
  readonly failures: Failures;
  /** When to check presence next; Infinity = only when something happens. */
  readonly checkAt: number;
  /** When to restart (connected) or send (leaving) next; Infinity = not by time. */
  readonly callAt: number;
  /** When the SFU last showed whether the participant is there. */
  readonly heardAt: number;
  /** Why and since when they are believed to be gone, for the log; null = they are not, or a restart lost it. */
  readonly departure: { readonly reason: LeaveReason; readonly at: number } | null;
}

/** What of a job is known only while a process works on it. */
export type UnstoredField = "failures" | "checkAt" | "callAt" | "heardAt" | "departure";

/** How a job ended. All but `aborted` and `expired` are the homeserver's word. */
export type JobEnd =
  /** The leave was sent by us. */
  | "sent"
  /** The event was sent, canceled or replaced by somebody else. */
  | "gone"
  /** The homeserver would not do this for us until the event must have fired by itself. */
  | "refused"
  /** The client closed its connection before it stood, and keeps its event to itself. */
  | "aborted"
  /** Nothing could be learnt until long past the deadline. */
  | "expired";

/** What can happen to a job. A `reason` is LiveKit's `DisconnectReason` by name. */
export type JobEvent =
  | { readonly type: "joined" } & SessionEvent
  | { readonly type: "left"; readonly reason: string } & SessionEvent
  | { readonly type: "aborted"; readonly reason: string } & SessionEvent
  /** A presence check found these sessions of the watched identities: at least one. */
  | {
    readonly type: "present";
    readonly sessions: Readonly<Record<string, string>>;
    /** When the SFU was asked, ms: an answer that was long on its way says nothing about what came since. */
    readonly askedAt: number;
  }
  /** One found none of them. */
  | {
    readonly type: "absent";
    /** When the SFU made the room, ms of the monotonic clock; null = not asked, or there is no room. */
    readonly roomSince: number | null;
  }
  /** One got no answer: not the same as absent. */
  | { readonly type: "unknown" }
  | {
    readonly type: "answered";
    readonly action: "restart" | "send";
    readonly outcome: ActionOutcome;
    /** When the request went out, ms: the homeserver started its timer anew no earlier. */
    readonly askedAt: number;
  }
  /** `checkAt` or `callAt` has come. */
  | { readonly type: "due" };

interface SessionEvent {
  readonly identity: string;
  readonly sid: string;
  /** By when it had happened, as LiveKit signed it, ms of the monotonic clock. */
  readonly at: number;
}

/** What the manager does next. `check` asks for all watched identities. */
export type Effect = "check" | "restart" | "send";

/** The job as it goes on, and what to do. */
export interface Running {
  readonly job: Job;
  readonly effects: readonly Effect[];
}

/** What becomes of a job: it goes on, or ends. */
export type Step = Running | { readonly end: JobEnd };

/** What a step depends on beside job and event. */
export interface StepContext {
  /** ms of the monotonic clock. */
  readonly now: number;
  /** From 0 (inclusive) to 1 (exclusive), for jitter. */
  readonly random: () => number;
  /** How long an absence without a webhook lasts before it counts, ms. */
  readonly absenceMs: number;
}

/** Text form of a key, for maps. */
export function keyText({ room, identity }: JobKey): string {
  return JSON.stringify([room, identity]);
}

/**
 * The user whose job this is, or would be: the identity in clear that a job watches begins with the user ID. Where there
 * is none, since it would be over LiveKit's limit, all such users of a homeserver count as one.
 */
export function userOf({ homeserver, watched }: Pick<Delegation, "homeserver" | "watched">): string {
  const legacy = watched.find((identity) => identity.startsWith("@")) ?? "";
  const end = legacy.indexOf(":");
  return `${end > 0 && legacy.startsWith(`:${homeserver}:`, end) ? legacy.slice(0, end) : ""}:${homeserver}`;
}

/** A job in a log record. */
export function describeJob(job: Job): Record<string, string> {
  const { room, identity, homeserver, delayId, state } = job;
  return { user: userOf(job), room, identity, homeserver, delay_id: beginningOf(delayId), state };
}

// Whoever knows the whole of it can send or cancel the event. A short one is no secret.
function beginningOf(delayId: string): string {
  return delayId.length < 12 ? delayId : `${delayId.slice(0, 8)}…`;
}
