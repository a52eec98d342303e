// For how long this replica may work on its shards. A lease is measured from the moment at which the heartbeat that renewed
// it was sent, so that it ends here before it ends in Redis.
//
// Two cases look alike from inside and are told apart here. A process that was stopped finds its lease over: the shards may
// be another's, and nothing is done until a heartbeat is answered. When Redis cannot be reached, heartbeat after heartbeat
// fails: then nobody can take a shard over, and work goes on. (A replica that alone is cut off works on as well, beside the
// one that took over: a second restart or send of an event does no harm, a missing one does.)

import type { Clock } from "../../../async/clock.ts";

/** A moment on both clocks: the monotonic one stands still while a host is suspended, the other one can be set. */
export interface Moment {
  readonly monotonic: number;
  readonly wall: number;
}

/** How long a heartbeat keeps a replica's shards in Redis, in ms. */
export const LEASE_MS = 3000;
/** How often a heartbeat is sent, in ms. */
export const HEARTBEAT_MS = 700;
// Two clocks never run at quite the same speed.
const MARGIN_MS = 200;
// After so long without Redis it is away for everybody, as far as this replica can tell.
const AWAY_AFTER_MS = 3000;
const MAX_GAP_BETWEEN_FAILURES_MS = 3000;
const LEASE_WHILE_AWAY_MS = 5000;

/** The lease of this replica. */
export class Lease {
  readonly #clock: Pick<Clock, "now" | "monotonicNow">;
  #renewedAt: Moment | null = null;
  #failingSince: Moment | null = null;
  #failedAt: Moment | null = null;

  constructor(clock: Pick<Clock, "now" | "monotonicNow">) {
    this.#clock = clock;
  }

  /** Now, on both clocks. */
  moment(): Moment {
    return { monotonic: this.#clock.monotonicNow(), wall: this.#clock.now() };
  }

  /** A heartbeat has renewed the lease. */
  renewed(sentAt: Moment): void {
    this.#renewedAt = sentAt;
    this.#failingSince = null;
    this.#failedAt = null;
  }

  /** A heartbeat has failed. */
  failed(): void {
    // Failures with a long pause between them are no proof: in the pause Redis may have answered others.
    const isStreak = this.#failedAt !== null && this.#since(this.#failedAt) <= MAX_GAP_BETWEEN_FAILURES_MS;
    this.#failedAt = this.moment();
    if (!isStreak) this.#failingSince = this.#failedAt;
  }

  /** For how many ms the shards of this replica are surely its own; 0 = not, or not any more. */
  heldMs(): number {
    return this.#renewedAt === null ? 0 : Math.max(LEASE_MS - MARGIN_MS - this.#since(this.#renewedAt), 0);
  }

  /** For how many ms from now work can go on without Redis; 0 = Redis may well be there for others. */
  awayMs(): number {
    if (this.#failingSince === null || this.#failedAt === null) return 0;
    const isAway = this.#since(this.#failingSince) >= AWAY_AFTER_MS &&
      this.#since(this.#failedAt) <= MAX_GAP_BETWEEN_FAILURES_MS;
    return isAway ? LEASE_WHILE_AWAY_MS : 0;
  }

  #since({ monotonic, wall }: Moment): number {
    return Math.max(this.#clock.monotonicNow() - monotonic, this.#clock.now() - wall);
  }
}
