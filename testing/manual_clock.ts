// Time that passes only when a test says so.

import type { Clock } from "../lib/async/clock.ts";

/** A wall clock and a monotonic one that run together, in ms, with timers. */
export class ManualClock implements Clock {
  #elapsed = 0;
  readonly #start: number;
  readonly #timers = new Set<{ readonly at: number; readonly run: () => void }>();

  /** @param start The wall clock's first reading, ms since the epoch. */
  constructor(start = Date.UTC(2026, 0, 1)) {
    this.#start = start;
  }

  readonly now = (): number => this.#start + this.#elapsed;
  readonly monotonicNow = (): number => this.#elapsed;

  readonly setTimer = (run: () => void, delayMs: number): () => void => {
    const timer = { at: this.#elapsed + delayMs, run };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  };

  readonly sleep = (durationMs: number, signal: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const cancel = this.setTimer(resolve, durationMs);
      signal.addEventListener("abort", () => (cancel(), reject(signal.reason)), { once: true });
    });

  /** Timers that have not run. */
  get timers(): number {
    return this.#timers.size;
  }

  /** Lets time pass, and runs the timers that are due by then, each at its time. */
  advance(durationMs: number): void {
    const until = this.#elapsed + durationMs;
    for (;;) {
      const [next] = [...this.#timers].filter(({ at }) => at <= until).sort((left, right) => left.at - right.at);
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#elapsed = Math.max(this.#elapsed, next.at);
      next.run();
    }
    this.#elapsed = until;
  }
}
