// What can happen to a delegated leave, and what can come of it: the words in which the machine, the looks and the calls
// speak to each other.

import type { ActionOutcome } from "../../matrix/delayed_events.ts";
import type { Job, JobEnd } from "./job.ts";

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
  /** `checkAt` or `callAt` has come. */
  | { readonly type: "due" };

/** What the manager does next. `look` asks for all watched identities. */
export type Effect = "check" | "restart" | "send";

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
