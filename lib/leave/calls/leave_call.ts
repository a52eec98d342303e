// A call to a homeserver that a job at work wants: one small object each, since tens of thousands may wait.

import type { WantedCall } from "./calls.ts";
import type { ActionOutcome } from "../../matrix/delayed_events.ts";
import type { JobEvent } from "../machine/events.ts";
import type { Job } from "../machine/job.ts";
import type { ActiveJob } from "../job_index.ts";

/** Who wanted the calls: the same for all of them. */
export interface CallAnswers {
  /** Asked before a leave is sent, whether it still is to be. */
  readonly confirm: (call: LeaveCall) => Promise<boolean>;
  /** Takes a homeserver's answer. */
  readonly done: (entry: ActiveJob, event: Extract<JobEvent, { type: "answered" }>) => void;
}

/** A call, wanted as long as it is its entry's. */
export class LeaveCall implements WantedCall {
  readonly entry: ActiveJob;
  readonly action: "restart" | "send";
  readonly #answers: CallAnswers;

  constructor(entry: ActiveJob, action: "restart" | "send", answers: CallAnswers) {
    this.entry = entry;
    this.action = action;
    this.#answers = answers;
  }

  get job(): Job {
    return this.entry.job;
  }

  isWanted(): boolean {
    return !this.entry.isEnded && this.entry.call === this;
  }

  confirm(): Promise<boolean> {
    return this.#answers.confirm(this);
  }

  done(outcome: ActionOutcome, askedAt: number): void {
    const { entry, action } = this;
    if (entry.call === this) entry.call = null;
    this.#answers.done(entry, { type: "answered", action, outcome, askedAt });
  }
}
