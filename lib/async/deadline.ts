// One deadline per exchange: every look-up that could hang gets its signal.

import type { Clock } from "./clock.ts";

/** Why a signal of this file was aborted. */
export class DeadlineError extends Error {
  override name = "DeadlineError";
}

/**
 * Runs `work` with a signal that is aborted after `timeoutMs`; work that does not heed it is not waited for.
 *
 * @throws DeadlineError past the deadline.
 */
export async function withDeadline<T>(
  clock: Pick<Clock, "setTimer">,
  timeoutMs: number,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const cancel = clock.setTimer(() => controller.abort(late(timeoutMs)), timeoutMs);
  try {
    return await within(work(controller.signal), controller.signal);
  } finally {
    cancel();
  }
}

interface Pending {
  readonly controller: AbortController;
  readonly at: number;
  readonly end: (reason: unknown) => void;
}

/**
 * Deadlines of one length, for work that comes by the thousand: they pass in the order in which they began, so that one
 * timer serves them all.
 */
export class Deadlines {
  readonly #timeoutMs: number;
  readonly #clock: Pick<Clock, "monotonicNow" | "setTimer">;
  /** What goes on, in the order in which it began. What is over leaves at once: with it a request lives and its error. */
  readonly #pending = new Set<Pending>();
  #cancelTimer: (() => void) | undefined;

  constructor(timeoutMs: number, clock: Pick<Clock, "monotonicNow" | "setTimer">) {
    this.#timeoutMs = timeoutMs;
    this.#clock = clock;
  }

  /** How much is remembered: what goes on now. */
  get size(): number {
    return this.#pending.size;
  }

  /**
   * Runs `work` with a signal that is aborted at the deadline; work that does not heed it is not waited for.
   *
   * @throws DeadlineError past the deadline, unless the work ends with words of its own at the signal.
   */
  enforce<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return this.run((signal) => within(work(signal), signal));
  }

  /**
   * Runs `work` with a signal that is aborted at the deadline. The work itself must heed it, and so can end in its own
   * words.
   */
  async run<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const at = this.#clock.monotonicNow() + this.#timeoutMs;
    const { promise, resolve, reject: end } = Promise.withResolvers<T>();
    const pending = { controller: new AbortController(), at, end };
    this.#pending.add(pending);
    this.#cancelTimer ??= this.#clock.setTimer(() => this.#pass(), this.#timeoutMs);
    try {
      work(pending.controller.signal).then(resolve, end);
      return await promise;
    } finally {
      this.#pending.delete(pending);
      if (this.#pending.size === 0) {
        this.#cancelTimer?.();
        this.#cancelTimer = undefined;
      }
    }
  }

  /** Ends all that is going on now with this error, whether it heeds its signal or not. */
  endAll(reason: Error): void {
    for (const { end, controller } of [...this.#pending]) {
      end(reason);
      controller.abort(reason);
    }
  }

  #pass(): void {
    this.#cancelTimer = undefined;
    const now = this.#clock.monotonicNow();
    for (const pending of this.#pending) {
      if (pending.at > now) {
        this.#cancelTimer ??= this.#clock.setTimer(() => this.#pass(), Math.max(pending.at - now, 1));
        return;
      }
      this.#pending.delete(pending);
      pending.controller.abort(late(this.#timeoutMs));
    }
  }
}

/**
 * Waits for a promise that others wait for too, but no longer than the signal allows.
 *
 * @throws The signal's reason once it is aborted; the promise itself goes on for its other callers.
 */
export function within<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then((value) => {
      signal.removeEventListener("abort", abort);
      resolve(value);
    }, (error) => {
      signal.removeEventListener("abort", abort);
      reject(error);
    });
  });
}

function late(timeoutMs: number): DeadlineError {
  return new DeadlineError(`No answer within ${timeoutMs / 1000} s`);
}
