// How many calls per second a homeserver allows, found out: Synapse's default at first, more as long as more is needed
// and nothing is refused, and back to what was good at the first 429.

import type { Clock } from "../../async/clock.ts";
import type { Rate, Taken } from "./token_bucket.ts";

// Synapse's default `rc_delayed_event_mgmt`.
const INITIAL = { burst: 5, perSecond: 1 };
const MIN_PER_SECOND = 0.2;
const MAX_PER_SECOND = 500;

// Doubling finds the order of magnitude within seconds; after the first 429 small steps find the rest.
const FIRST_STEP = { factor: 2, everyMs: 1000, holdMs: 10_000 };
const SMALL_STEP = { factor: 1.1, everyMs: 10_000, holdMs: 10 * 60_000 };
// A homeserver that refuses even its software's default was in trouble, which passes.
const STEP_BACK = { factor: 2, everyMs: 1000, holdMs: 30_000 };

// At what was good, the first 429 changes nothing, those that follow soon do more and more.
const RELAPSE_MS = 30_000;
const RETREATS = [1, 0.9, 0.7];
const ASK_EVERY_MS = 1000;
// LeaveCalls do not arrive at the intervals at which they left: a little less than is allowed is never too much.
const MARGIN = 0.97;
// At a tenth too much, so many calls use up a burst of five and more.
const CALLS_OF_A_GOOD_RATE = 100;
// A rate was made full use of, jitter and margin allowed for.
const FULL_SHARE = 0.9;

/** Finds a homeserver's limit. */
export class AdaptiveRate {
  #perSecond = INITIAL.perSecond;
  /** The highest rate that was kept up without a 429 for longer than any burst lasts. */
  #good = INITIAL.perSecond;
  #step = FIRST_STEP;
  #changedAt: number;
  #successes = 0;
  #holdUntil = -Infinity;
  #limitedAt = -Infinity;
  #relapses = 0;
  #askedAt = -Infinity;
  /** When the homeserver has room for one call again. */
  #emptyUntil = -Infinity;

  #learntAt = 0;
  readonly #clock: Pick<Clock, "now" | "monotonicNow">;

  constructor(clock: Pick<Clock, "now" | "monotonicNow">) {
    this.#clock = clock;
    this.#changedAt = clock.monotonicNow();
  }

  /** What is believed to be allowed, per second. */
  get perSecond(): number {
    return this.#perSecond;
  }

  /**
   * What may be made use of.
   *
   * @param now ms of the monotonic clock, here and below.
   */
  at(now: number): Rate {
    const perSecond = this.#perSecond * MARGIN;
    // A 429 means that the homeserver's bucket is empty: ours holds no more than has come in since.
    const sinceLimited = 1 + (now - this.#emptyUntil) / 1000 * perSecond;
    return { burst: Math.min(INITIAL.burst, Math.max(sinceLimited, 1)), perSecond, learntAt: this.#learntAt };
  }

  /** @param isPressed Whether calls will come too late, so that a higher rate would be of use; asked now and then. */
  succeeded(now: number, isPressed: () => boolean): void {
    this.#successes++;
    const keptUpMs = now - this.#changedAt;
    const isFull = this.#successes >= FULL_SHARE * this.#perSecond * keptUpMs / 1000;
    if (this.#successes >= CALLS_OF_A_GOOD_RATE && isFull) this.#good = this.#perSecond;
    const { factor, everyMs } = this.#nextStep();
    const isDue = keptUpMs >= everyMs && now >= this.#holdUntil && now - this.#askedAt >= ASK_EVERY_MS;
    if (!isDue || this.#successes < FULL_SHARE * this.#perSecond) return;
    this.#askedAt = now;
    if (isPressed()) this.#change(Math.min(this.#perSecond * factor, MAX_PER_SECOND), now);
  }

  /** @param startedAt When the refused call went out: one from before the last change does not count. */
  limited(now: number, startedAt: number, retryAfterMs: number): void {
    if (startedAt < this.#changedAt) return;
    if (this.#perSecond > this.#good) {
      this.#change(Math.max(this.#good, Math.min(this.#perSecond / this.#step.factor, limitBy(retryAfterMs))), now);
    } else {
      this.#relapses = now - this.#limitedAt < RELAPSE_MS ? this.#relapses + 1 : 0;
      const retreat = RETREATS[Math.min(this.#relapses, RETREATS.length - 1)] ?? 1;
      this.#good = Math.max(this.#perSecond * retreat, MIN_PER_SECOND);
      this.#change(this.#good, now);
    }
    this.#limitedAt = now;
    this.#emptyUntil = now + retryAfterMs;
    this.#holdUntil = now + this.#nextStep().holdMs;
    this.#step = SMALL_STEP;
  }

  /** Takes over what another replica learnt later: the homeserver limits all of them together. */
  adopt({ perSecond, learntAt }: NonNullable<Taken["shared"]>, now: number): void {
    const learnt = Math.min(Math.max(perSecond / MARGIN, MIN_PER_SECOND), MAX_PER_SECOND);
    this.#change(learnt, now);
    this.#good = Math.min(this.#good, learnt);
    this.#step = SMALL_STEP;
    this.#learntAt = learntAt;
  }

  #nextStep(): typeof FIRST_STEP {
    return this.#perSecond < INITIAL.perSecond ? STEP_BACK : this.#step;
  }

  #change(perSecond: number, now: number): void {
    this.#perSecond = perSecond;
    this.#learntAt = this.#clock.now();
    this.#changedAt = now;
    this.#successes = 0;
  }
}

// A leaky bucket names the time until it has room for one more call: at most one call's share. Whole seconds are rounded
// and of no use.
function limitBy(retryAfterMs: number): number {
  return retryAfterMs % 1000 === 0 ? Infinity : 1000 / retryAfterMs;
}
