// Circuit breaker: a server that can't be reached is left alone for a while, then one call tries it, and all the others
// learn from that one instead of finding out by themselves.

import type { Clock } from "../async/clock.ts";

/**
 * Where a breaker stands.
 * - `closed`: calls go out.
 * - `open`: none does.
 * - `half-open`: the pause is over, and one trial goes out.
 */
export type CircuitState = "closed" | "open" | "half-open";

/** How a {@link CircuitBreaker} behaves. */
export interface CircuitBreakerOptions {
  readonly clock: Pick<Clock, "monotonicNow">;
  /**
   * Gives how long the breaker stays open, in ms.
   *
   * @param failures In a row: 1 for the first.
   * @param tookMs How long the failed call took.
   */
  readonly pauseMs: (failures: number, tookMs: number) => number;
  /** For how long a trial is waited for before another one goes out, in ms. */
  readonly trialMs: number;
}

/** The breaker of one server. All times are ms of the monotonic clock. */
export class CircuitBreaker {
  readonly #options: CircuitBreakerOptions;
  #failures = 0;
  #failedAt = -Infinity;
  #openUntil = -Infinity;
  #trialUntil = -Infinity;

  constructor(options: CircuitBreakerOptions) {
    this.#options = options;
  }

  get state(): CircuitState {
    if (this.#failures === 0) return "closed";
    return this.#options.clock.monotonicNow() < this.#openUntil ? "open" : "half-open";
  }

  /** When the last failure was learned; -Infinity before the first. */
  get failedAt(): number {
    return this.#failedAt;
  }

  /** When the next trial may go out; -Infinity while closed. */
  get retryAt(): number {
    return this.#openUntil;
  }

  /** Whether a call may go out now. In `half-open` the first one to ask is the trial. */
  tryPass(): boolean {
    const { state } = this;
    if (state === "closed") return true;
    const now = this.#options.clock.monotonicNow();
    if (state === "open" || now < this.#trialUntil) return false;
    this.#trialUntil = now + this.#options.trialMs;
    return true;
  }

  /** Closes it: the server was reached. */
  succeed(): void {
    this.#failures = 0;
    this.#openUntil = -Infinity;
    this.#trialUntil = -Infinity;
  }

  /**
   * Opens it. Calls that were under way together fail together, which counts as one failure.
   *
   * @param startedAt When the failed call went out.
   */
  fail(startedAt: number): void {
    if (startedAt < this.#failedAt) return;
    const now = this.#options.clock.monotonicNow();
    this.#failures++;
    this.#failedAt = now;
    this.#openUntil = now + this.#options.pauseMs(this.#failures, now - startedAt);
    this.#trialUntil = -Infinity;
  }
}
