// Calls to homeservers on behalf of jobs: each through its homeserver's pacer, within the lease on its room, and told to
// the log once a minute when it does not work.

import { withDeadline } from "../deadline.ts";
import type { DelayedEvents } from "../matrix/delayed_events.ts";
import type { Log } from "../ops/log.ts";
import { Rarely } from "../ops/rarely.ts";
import { describeJob, type Job } from "./job.ts";
import { type ActionOutcome, deadlineOf } from "./machine.ts";
import { type Allowance, Pacer } from "./pacing.ts";
import type { LeaveStore } from "./store.ts";

/** What the calls need from outside. */
export interface CallsDeps {
  readonly store: Pick<LeaveStore, "leaseMs">;
  readonly allowance: Allowance;
  readonly delayedEvents: Pick<DelayedEvents, "act">;
  readonly monotonicNow: () => number;
  readonly random: () => number;
  readonly setTimer: (run: () => void, delayMs: number) => () => void;
  readonly log: Log;
}

/** A call that a job wants. */
export interface WantedCall {
  readonly job: Job;
  readonly action: "restart" | "send";
  readonly isWanted: () => boolean;
  readonly done: (outcome: ActionOutcome) => void;
}

const CALL_TIMEOUT_MS = 5000;
// A call that outlives the lease could meet another replica's.
const MIN_LEASE_MS = 300;
const MAX_IDLE_PACERS = 1000;

/** Restarts and sends delayed events. */
export class Calls {
  readonly #deps: CallsDeps;
  readonly #pacers = new Map<string, Pacer>();
  readonly #underWay = new Set<Promise<unknown>>();
  readonly #rarely: Rarely;
  #isClosed = false;

  constructor(deps: CallsDeps) {
    this.#deps = deps;
    this.#rarely = new Rarely(deps.monotonicNow);
  }

  add({ job, action, isWanted, done }: WantedCall): void {
    this.#pacer(job.homeserver).add({
      action,
      deadline: deadlineOf(job),
      isWanted,
      done,
      run: () => {
        const call = this.#act(job, action);
        this.#underWay.add(call);
        return call.finally(() => this.#underWay.delete(call));
      },
    });
  }

  /** Drops what waits, and waits for what is under way. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const pacer of this.#pacers.values()) pacer.close();
    await Promise.allSettled(this.#underWay);
  }

  async #act(job: Job, action: "restart" | "send"): Promise<ActionOutcome> {
    const leaseMs = this.#deps.store.leaseMs(job.room);
    if (leaseMs < MIN_LEASE_MS || this.#isClosed) return { kind: "held" };
    const call = (signal: AbortSignal) => this.#deps.delayedEvents.act(job.homeserver, job.delayId, action, signal);
    try {
      const { outcome, story } = await withDeadline(Math.min(CALL_TIMEOUT_MS, leaseMs), call);
      this.#tell(job, action, outcome, story);
      return outcome;
    } catch (error) {
      const outcome: ActionOutcome = { kind: "failed" };
      this.#tell(job, action, outcome, error instanceof Error ? error.message : String(error));
      return outcome;
    }
  }

  #tell(job: Job, action: string, outcome: ActionOutcome, story: string): void {
    const fields = { action, outcome: outcome.kind, story, ...describeJob(job) };
    switch (outcome.kind) {
      case "refused":
        return this.#rarely.once(
          `${job.homeserver} ${story}`,
          () =>
            this.#deps.log.error(
              "A homeserver does not let us manage a delayed event: the leave will come late",
              fields,
            ),
        );
      case "failed":
      case "limited":
        return this.#rarely.once(
          `${job.homeserver} ${outcome.kind}`,
          () => this.#deps.log.warning("A delayed event cannot be managed right now, trying on", fields),
        );
      default:
        this.#deps.log.debug("Managed a delayed event", fields);
    }
  }

  #pacer(homeserver: string): Pacer {
    let pacer = this.#pacers.get(homeserver);
    if (pacer === undefined) {
      if (this.#pacers.size >= MAX_IDLE_PACERS) this.#dropIdlePacers();
      pacer = new Pacer(homeserver, { ...this.#deps, onOverload: (...figures) => this.#warnOfOverload(...figures) });
      this.#pacers.set(homeserver, pacer);
    }
    return pacer;
  }

  #dropIdlePacers(): void {
    for (const [homeserver, pacer] of this.#pacers) {
      if (pacer.load === 0) this.#pacers.delete(homeserver);
    }
  }

  #warnOfOverload(homeserver: string, queued: number, perSecond: number): void {
    this.#rarely.once(`overload ${homeserver}`, () =>
      this.#deps.log.warning(
        "A homeserver allows fewer delayed-event calls than its users' calls need: raise its rc_delayed_event_mgmt, or " +
          "the clients' delay",
        { homeserver, queued, per_second: Math.round(perSecond * 10) / 10 },
      ));
  }
}
