// One deadline per exchange: every look-up that could hang gets its signal.

/** Why a signal of this file was aborted. */
export class DeadlineError extends Error {
  override name = "DeadlineError";
}

/**
 * Runs `work` with a signal that is aborted after `timeoutMs`. The work itself must heed it, and so can say in its own
 * words that it came to nothing.
 */
export async function withSignal<T>(timeoutMs: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const late = () => controller.abort(new DeadlineError(`No answer within ${timeoutMs / 1000} s`));
  const timer = setTimeout(late, timeoutMs);
  try {
    return await work(controller.signal);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Like {@link withSignal}, for work that may not heed its signal: it is not waited for past the deadline.
 *
 * @throws DeadlineError past the deadline.
 */
export function withDeadline<T>(timeoutMs: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  return withSignal(timeoutMs, (signal) => within(work(signal), signal));
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
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
