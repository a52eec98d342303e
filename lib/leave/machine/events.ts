// What can happen to a delegated leave, and what can come of it: the words in which the machine, the looks and the calls
// speak to each other.

import type { Job, JobEnd } from "./job.ts";

/** Why a homeserver will never do what it was asked; each with its own advice for the log. */
export type RefusalReason =
  /** 401: it allows nobody but the event's owner. */
  | "unauthorised"
  /** 403: the user is not in the room any more, so that there is nothing left to leave. */
  | "forbidden"
  /** 404 or 405 M_UNRECOGNIZED: no such route. */
  | "unsupported"
  /** Any other error of the homeserver about the request itself. */
  | "other";

/** What a request to the homeserver came to (MSC4140, as homeservers serve it). */
export type ActionOutcome =
  /** 200. */
  | { readonly kind: "done" }
  /** 404 M_NOT_FOUND (sent, cancelled, never known) or 409 (finished with another outcome). */
  | { readonly kind: "gone"; readonly how: "not-found" | "conflict" }
  /** Never. */
  | { readonly kind: "refused"; readonly why: RefusalReason }
  /** 429: not now, but after this many ms. */
  | { readonly kind: "limited"; readonly retryAfterMs: number }
  /** 5xx, time-out, no connection, an answer that is no homeserver's: unknown. */
  | { readonly kind: "failed" }
  /** Not asked: another replica may be at work on the room, or the participant is back. */
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
  | {
    readonly type: "answered";
    readonly action: "restart" | "send";
    readonly outcome: ActionOutcome;
    /** When the request went out, ms: the homeserver started its timer anew no earlier. */
    readonly askedAt: number;
  }
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

// LiveKit's reasons for the end of a session after which the participant is still there, in a new one.
const STILL_THERE = new Set(["DUPLICATE_IDENTITY", "MIGRATION"]);

/** Whether a session that ended so was replaced by another one: a reconnect is not a leave. */
export function isReconnect(reason: string): boolean {
  return STILL_THERE.has(reason);
}
