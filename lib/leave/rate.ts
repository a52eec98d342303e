// How many calls per second a homeserver allows, found out: Synapse's default at first, more as long as more is needed
// and nothing is refused, and back to what was good at the first 429.

/** A token bucket's size and speed. */
export interface Rate {
  readonly burst: number;
  readonly perSecond: number;
}

// Synapse's default `rc_delayed_event_mgmt`.
const INITIAL: Rate = { burst: 5, perSecond: 1 };
const MIN_PER_SECOND = 0.2;
const MAX_PER_SECOND = 500;

// Doubling finds the order of magnitude within seconds; after the first 429 small steps find the rest.
const FIRST_STEP = { factor: 2, everyMs: 1000, holdMs: 10_000 };
const SMALL_STEP = { factor: 1.1, everyMs: 10_000, holdMs: 10 * 60_000 };

const RETREAT_FACTOR = 0.7;
const RELAPSE_MS = 10_000;
// After a 429 the homeserver's bucket is empty: ours must not pour out what it has saved.
const EMPTY_BUCKET_MS = 10_000;

/** Finds a homeserver's limit. */
export class RateFinder {
  #perSecond = INITIAL.perSecond;
  /** The highest rate that was kept up for a while without a 429. */
  #good = INITIAL.perSecond;
  #step = FIRST_STEP;
  #changedAt: number;
  #successes = 0;
  #holdUntil = -Infinity;
  #limitedAt = -Infinity;

  /** @param now ms of the monotonic clock, here and below. */
  constructor(now: number) {
    this.#changedAt = now;
  }

  /** What is believed to be allowed. */
  at(now: number): Rate {
    const burst = now - this.#limitedAt < EMPTY_BUCKET_MS ? 1 : INITIAL.burst;
    return { burst, perSecond: this.#perSecond };
  }

  /** @param isPressed Calls wait longer than is good for them, so that a higher rate would be of use. */
  succeeded(now: number, isPressed: boolean): void {
    this.#successes++;
    const keptUpMs = now - this.#changedAt;
    const isFull = this.#successes >= 0.9 * this.#perSecond * keptUpMs / 1000;
    if (keptUpMs >= RELAPSE_MS && isFull) this.#good = this.#perSecond;
    const isDue = keptUpMs >= this.#step.everyMs && now >= this.#holdUntil && this.#successes >= this.#perSecond;
    if (isPressed && isDue) this.#change(Math.min(this.#perSecond * this.#step.factor, MAX_PER_SECOND), now);
  }

  /** @param startedAt When the refused call went out: one from before the last change says nothing about it. */
  limited(now: number, startedAt: number, retryAfterMs: number): void {
    if (startedAt < this.#changedAt) return;
    if (this.#perSecond > this.#good) {
      this.#change(Math.max(this.#good, Math.min(this.#perSecond / this.#step.factor, limitBy(retryAfterMs))), now);
    } else if (now - this.#limitedAt < RELAPSE_MS) {
      this.#good = Math.max(this.#perSecond * RETREAT_FACTOR, MIN_PER_SECOND);
      this.#change(this.#good, now);
    } else {
      this.#change(this.#perSecond, now);
    }
    this.#limitedAt = now;
    this.#holdUntil = now + this.#step.holdMs;
    this.#step = SMALL_STEP;
  }

  #change(perSecond: number, now: number): void {
    this.#perSecond = perSecond;
    this.#changedAt = now;
    this.#successes = 0;
  }
}

// A leaky bucket names the time until it has room for one more call: at most one call's share. Whole seconds are rounded
// and say nothing.
function limitBy(retryAfterMs: number): number {
  return retryAfterMs % 1000 === 0 ? Infinity : 1000 / retryAfterMs;
}
