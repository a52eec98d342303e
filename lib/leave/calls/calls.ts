// LeaveCalls to homeservers on behalf of jobs: each through its homeserver's pacer, within the lease on its room, and told to
// the log once a minute when it does not work.

import { withDeadline, within } from "../../async/deadline.ts";
import type { DelayedEvents } from "../../matrix/delayed_events.ts";
import type { Log } from "../../log/log.ts";
import type { ActionOutcome, RefusalReason } from "../../matrix/delayed_events.ts";
import { describeJob, type Job } from "../machine/job.ts";
import { CallQueue, type PacedCall } from "./call_queue.ts";
import type { TokenBuckets } from "./token_bucket.ts";
import { deadlineOf } from "../machine/schedule.ts";
import type { LeaveStore } from "../store/store.ts";

/** What the calls need from outside. */
export interface LeaveCallsDeps {
  readonly store: Pick<LeaveStore, "leaseMs">;
  readonly buckets: TokenBuckets;
  readonly delayedEvents: Pick<DelayedEvents, "act">;
  readonly monotonicNow: () => number;
  readonly random: () => number;
  readonly setTimer: (run: () => void, delayMs: number) => () => void;
  readonly log: Log;
}

/** A call that a job wants. */
export interface WantedCall {
  /** As it now stands. */
  readonly job: Job;
  readonly action: "restart" | "send";
  readonly isWanted: () => boolean;
  /** Asked when a send's turn has come, which may be long after it was added: whether it is still to be made. */
  readonly confirm: () => Promise<boolean>;
  /** @param askedAt When the request went out, ms of the monotonic clock. */
  readonly done: (outcome: ActionOutcome, askedAt: number) => void;
}

const CALL_TIMEOUT_MS = 5000;
// A call that outlives the lease could meet another replica's.
const MIN_LEASE_MS = 300;
const MAX_PACERS = 1000;

const ADVICE: Readonly<Record<RefusalReason, string>> = {
  unauthorised: "the homeserver lets nobody but the event's owner manage it (Synapse before 1.143, or a proxy)",
  forbidden: "the user is no longer in the room",
  unsupported: "the homeserver, or the proxy before it, has no such route: pass /_matrix/client/unstable/" +
    "org.matrix.msc4140 on to a process that serves it",
  other: "the homeserver does not take the request",
};

/** Restarts and sends delayed events. */
export class LeaveCalls {
  readonly #deps: LeaveCallsDeps;
  readonly #pacers = new Map<string, CallQueue>();
  /** LeaveCalls whose outcome is not taken yet. */
  readonly #underWay = new Set<Promise<void>>();
  readonly #closing = new AbortController();

  constructor(deps: LeaveCallsDeps) {
    this.#deps = deps;
  }

  add(wanted: WantedCall): void {
    if (this.#closing.signal.aborted) return;
    this.#pacer(wanted.job.homeserver).add(new QueuedCall(wanted, this.#deps.monotonicNow(), this.#make));
  }

  /** Drops what waits, and waits until what a homeserver was asked has an outcome that was taken. */
  async close(): Promise<void> {
    this.#closing.abort();
    for (const pacer of this.#pacers.values()) pacer.close();
    await Promise.allSettled(this.#underWay);
  }

  /** Makes a call, and counts it as under way until its outcome was taken. */
  readonly #make = (queued: QueuedCall): Promise<ActionOutcome> => {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#underWay.add(promise);
    queued.taken = () => {
      this.#underWay.delete(promise);
      resolve();
    };
    return this.#run(queued);
  };

  async #run(queued: QueuedCall): Promise<ActionOutcome> {
    const { wanted, action } = queued;
    const { job } = wanted;
    const call = (signal: AbortSignal) => this.#deps.delayedEvents.act(job.homeserver, job.delayId, action, signal);
    try {
      // The look may wait for its turn, longer than whoever wants to end this process.
      if (action === "send" && !await within(wanted.confirm(), this.#closing.signal)) return { kind: "held" };
      const leaseMs = this.#deps.store.leaseMs(job.room);
      if (leaseMs < MIN_LEASE_MS || this.#closing.signal.aborted) return { kind: "held" };
      queued.askedAt = this.#deps.monotonicNow();
      const { outcome, step } = await withDeadline(Math.min(CALL_TIMEOUT_MS, leaseMs), call);
      this.#tell(job, action, outcome, step);
      return outcome;
    } catch (error) {
      if (error === this.#closing.signal.reason) return { kind: "held" };
      const outcome: ActionOutcome = { kind: "failed" };
      this.#tell(job, action, outcome, error instanceof Error ? error.message : String(error));
      return outcome;
    }
  }

  #tell(job: Job, action: string, outcome: ActionOutcome, step: string): void {
    const { log } = this.#deps;
    const fields = { action, outcome: outcome.kind, step, ...describeJob(job) };
    const throttle = `${job.homeserver} ${step}`;
    if (outcome.kind === "refused" && outcome.why !== "forbidden") {
      const advice = ADVICE[outcome.why];
      log.error("A homeserver does not let us manage delayed events: leaves come late", {
        ...fields,
        advice,
        throttle,
      });
    } else if (outcome.kind === "limited") {
      log.info("A homeserver wants fewer delayed-event calls", { ...fields, throttle: job.homeserver });
    } else if (outcome.kind === "failed") {
      log.warning("A delayed event cannot be managed right now, trying on", { ...fields, throttle });
    } else {
      log.debug("Managed a delayed event", fields);
    }
  }

  #pacer(homeserver: string): CallQueue {
    let pacer = this.#pacers.get(homeserver);
    if (pacer === undefined) {
      if (this.#pacers.size >= MAX_PACERS) this.#dropAnIdlePacer();
      pacer = new CallQueue(homeserver, {
        ...this.#deps,
        onOverload: (...figures) => this.#warnOfOverload(...figures),
      });
    }
    // The one used last is the last one to go.
    this.#pacers.delete(homeserver);
    this.#pacers.set(homeserver, pacer);
    return pacer;
  }

  #dropAnIdlePacer(): void {
    for (const [homeserver, pacer] of this.#pacers) {
      if (pacer.load === 0) {
        this.#pacers.delete(homeserver);
        return;
      }
    }
  }

  #warnOfOverload(homeserver: string, queued: number, perSecond: number): void {
    this.#deps.log.warning(
      "A homeserver allows fewer delayed-event calls than its users' calls need, so that some leaves come early or " +
        "late: raise its rc_delayed_event_mgmt, or the clients' delay",
      { homeserver, queued, per_second: Math.round(perSecond * 10) / 10, throttle: homeserver },
    );
  }
}

function nothing(): void {}

/** A call in its homeserver's queue. */
class QueuedCall implements PacedCall {
  readonly wanted: WantedCall;
  readonly action: "restart" | "send";
  readonly deadline: number;
  askedAt: number;
  taken: () => void = nothing;
  readonly #make: (queued: QueuedCall) => Promise<ActionOutcome>;

  constructor(wanted: WantedCall, addedAt: number, make: (queued: QueuedCall) => Promise<ActionOutcome>) {
    this.wanted = wanted;
    this.action = wanted.action;
    this.deadline = deadlineOf(wanted.job);
    this.askedAt = addedAt;
    this.#make = make;
  }

  run(): Promise<ActionOutcome> {
    return this.#make(this);
  }

  isWanted(): boolean {
    return this.wanted.isWanted();
  }

  done(outcome: ActionOutcome): void {
    this.wanted.done(outcome, this.askedAt);
    this.taken();
  }
}
