// Time that passes only when a test says so.

/** A wall clock and a monotonic one that run together, in ms. */
export class ManualClock {
  #elapsed = 0;
  readonly #start: number;

  /** @param start The wall clock's first reading, ms since the epoch. */
  constructor(start = Date.UTC(2026, 0, 1)) {
    this.#start = start;
  }

  readonly now = (): number => this.#start + this.#elapsed;
  readonly monotonicNow = (): number => this.#elapsed;

  /** Lets time pass. */
  advance(durationMs: number): void {
    this.#elapsed += durationMs;
  }
}
