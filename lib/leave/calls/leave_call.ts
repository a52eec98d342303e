// One call to a homeserver on behalf of a job: one small object each, since tens of thousands may wait.

import type { ActionOutcome, DelayedAction } from "../../matrix/delayed_events.ts";
import type { ActiveJob } from "../job_index.ts";
import { type Job, userOf } from "../machine/job.ts";
import { deadlineOf } from "../machine/schedule.ts";

/** Who wants calls, and takes what comes of them. */
export interface CallOwner {
  /** False once nobody wants the call any more: it is dropped. */
  isWanted(call: LeaveCall): boolean;
  /** Asked when the turn of a wanted send has come, which may be long after it was added: is it still to be made? */
  confirm(call: LeaveCall): Promise<boolean>;
  /** Takes the outcome of a call. */
  done(call: LeaveCall, outcome: ActionOutcome): void;
}

/** A call that waits for its turn, or is under way. */
export class LeaveCall {
  readonly action: DelayedAction;
  /** The job as it was when the call was wanted. */
  readonly job: Job;
  /** Where its job is kept; null = the event of a job that was replaced. */
  readonly active: ActiveJob | null;
  /** Who it is for: users take turns. */
  readonly user: string;
  /** When the homeserver's timer fires, ms of the monotonic clock. */
  readonly deadline: number;
  /** How often it was tried before. */
  attempts = 0;
  /** When it was put into its queue, and as which one. Equal deadlines: first come, first served. */
  addedAt = 0;
  order = 0;
  /** When the request went out. */
  askedAt = 0;

  constructor(action: DelayedAction, job: Job, active: ActiveJob | null) {
    this.action = action;
    this.job = job;
    this.active = active;
    this.user = userOf(job);
    this.deadline = deadlineOf(job);
  }
}
