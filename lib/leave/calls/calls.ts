// Calls to homeservers on behalf of jobs: each through the queue of its API, begun within the lease on its room, and in
// the log once a minute when it does not work.

import type { Clock } from "../../async/clock.ts";
import { withDeadline, within } from "../../async/deadline.ts";
import { errorText } from "../../log/error_text.ts";
import type { Log } from "../../log/log.ts";
import type { RoomAlias } from "../../livekit/identity.ts";
import type { ActionOutcome, DelayedEvents, RefusalReason } from "../../matrix/delayed_events.ts";
import { describeJob } from "../machine/job.ts";
import type { LeaveStore } from "../store/store.ts";
import { CallQueue } from "./call_queue.ts";
import type { CallOwner, LeaveCall } from "./leave_call.ts";
import type { TokenBuckets } from "./token_bucket.ts";

/** What the calls need from outside. */
export interface LeaveCallsDeps {
  readonly owner: CallOwner;
  readonly store: Pick<LeaveStore, "leaseMs">;
  readonly buckets: TokenBuckets;
  readonly delayedEvents: Pick<DelayedEvents, "act" | "apiOf">;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Log;
}

// A homeserver that needs six seconds for an answer is slow, and does what it is asked.
const CALL_TIMEOUT_MS = 10_000;
// A call must begin within the lease. One that ends after it does no harm: a second restart or send changes nothing.
const MIN_LEASE_MS = 300;
const MAX_QUEUES = 1000;

const ADVICE: Readonly<Record<RefusalReason, string>> = {
  unauthorized: "the homeserver lets nobody but the event's owner manage it (Synapse before 1.143, or a proxy)",
  forbidden: "the user is no longer in the room",
  unsupported: "the homeserver, or the proxy before it, has no such route: pass /_matrix/client/unstable/" +
    "org.matrix.msc4140 on to a process that serves it",
  other: "the homeserver does not take the request",
};

/** Restarts, sends and cancels delayed events. */
export class LeaveCalls {
  readonly #deps: LeaveCallsDeps;
  readonly #queues = new Map<string, CallQueue>();
  /** Calls whose outcome is not taken yet, and the ends that wait for that. */
  readonly #underWay = new Map<LeaveCall, () => void>();
  readonly #closing = new AbortController();
  readonly #owner: Pick<CallOwner, "isWanted" | "done">;

  constructor(deps: LeaveCallsDeps) {
    this.#deps = deps;
    this.#owner = {
      isWanted: (call) => deps.owner.isWanted(call),
      done: (call, outcome) => {
        deps.owner.done(call, outcome);
        const ended = this.#underWay.get(call);
        this.#underWay.delete(call);
        ended?.();
      },
    };
  }

  /** Puts a call into the queue of the API that keeps its event. */
  add(call: LeaveCall): void {
    void this.#deps.delayedEvents.apiOf(call.job.homeserver).then((api) => {
      if (!this.#closing.signal.aborted) this.#queue(api).add(call);
    });
  }

  /** Calls that wait or are under way, for all homeservers together. */
  get load(): number {
    return this.#queues.values().reduce((sum, queue) => sum + queue.load, 0);
  }

  /** Whether a homeserver is being asked something for a job of this room. */
  isUnderWayIn(room: RoomAlias): boolean {
    return this.#underWay.keys().some(({ job }) => job.room === room);
  }

  /** Drops what waits, and waits until what a homeserver was asked has an outcome that was taken. */
  async close(): Promise<void> {
    this.#closing.abort();
    for (const queue of this.#queues.values()) queue.close();
    await Promise.all(
      this.#underWay.keys().map((call) => new Promise<void>((ended) => this.#underWay.set(call, ended))),
    );
  }

  async #make(call: LeaveCall): Promise<ActionOutcome> {
    const { action, job } = call;
    const { owner, store, clock, delayedEvents } = this.#deps;
    this.#underWay.set(call, () => {});
    call.askedAt = clock.monotonicNow();
    try {
      // The presence check may wait for its turn, longer than whoever wants to end this process.
      if (action === "send" && !await within(owner.confirm(call), this.#closing.signal)) return { kind: "held" };
      if (store.leaseMs(job.room) < MIN_LEASE_MS || this.#closing.signal.aborted) return { kind: "held" };
      call.askedAt = clock.monotonicNow();
      const act = (signal: AbortSignal) => delayedEvents.act(job.homeserver, job.delayId, action, signal);
      const { outcome, step } = await withDeadline(clock, CALL_TIMEOUT_MS, act);
      this.#report(call, outcome, step);
      return outcome;
    } catch (error) {
      if (error === this.#closing.signal.reason) return { kind: "held" };
      const outcome: ActionOutcome = { kind: "failed", how: "silent" };
      this.#report(call, outcome, errorText(error));
      return outcome;
    }
  }

  #report({ action, job }: LeaveCall, outcome: ActionOutcome, step: string): void {
    const { log } = this.#deps;
    const fields = { action, outcome: outcome.kind, step, ...describeJob(job) };
    const throttle = `${job.homeserver} ${step}`;
    // What a canceled event would have done is over with its call, or soon.
    if (action === "cancel") return log.debug("A replaced leave event was canceled", fields);
    if (outcome.kind === "refused" && outcome.why !== "forbidden") {
      const advice = ADVICE[outcome.why];
      const message = "A homeserver refuses to manage delayed events, trying on: leaves come late";
      log.error(message, { ...fields, advice, throttle });
    } else if (outcome.kind === "limited") {
      log.info("A homeserver wants fewer delayed-event calls", { ...fields, throttle: job.homeserver });
    } else if (outcome.kind === "failed") {
      log.warning("A homeserver did not manage a delayed event, trying on", { ...fields, throttle });
    } else {
      log.debug("A homeserver was asked about a delayed event", fields);
    }
  }

  #queue(api: string): CallQueue {
    let queue = this.#queues.get(api);
    if (queue === undefined) {
      if (this.#queues.size >= MAX_QUEUES) this.#dropAnIdleQueue();
      queue = new CallQueue(api, {
        ...this.#deps,
        owner: this.#owner,
        make: (call) => this.#make(call),
        onOverload: (...figures) => this.#warnOfOverload(...figures),
      });
    }
    // The one used last is the last one to go.
    this.#queues.delete(api);
    this.#queues.set(api, queue);
    return queue;
  }

  #dropAnIdleQueue(): void {
    for (const [api, queue] of this.#queues) {
      if (queue.load === 0) {
        this.#queues.delete(api);
        return;
      }
    }
  }

  #warnOfOverload(api: string, queued: number, perSecond: number): void {
    this.#deps.log.warning(
      "A homeserver allows fewer delayed-event calls than its users' calls need, so that some leaves come early or " +
        "late: raise its rc_delayed_event_mgmt, or the clients' delay",
      { api, queued, per_second: Math.round(perSecond * 10) / 10, throttle: api },
    );
  }
}
