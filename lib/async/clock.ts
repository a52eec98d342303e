// Time, as everything that waits sees it: one object, so that a test replaces all of it at once.

/** Clocks, timers and pauses. */
export interface Clock {
  /** Wall clock, ms since the epoch. May be set back or forward by whoever runs the host. */
  readonly now: () => number;
  /** A clock that never jumps, in ms. */
  readonly monotonicNow: () => number;
  /** Runs something once after a while; the function it returns cancels it. */
  readonly setTimer: (run: () => void, delayMs: number) => () => void;
  /** Pauses. Rejects with the signal's reason when that is aborted first. */
  readonly sleep: (durationMs: number, signal: AbortSignal) => Promise<void>;
}
