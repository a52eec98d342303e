// One deadline per exchange: every look-up that could hang gets its signal.

/** Why a signal of this file was aborted. */
export class DeadlineError extends Error {
  override name = "DeadlineError";
}

/**
 * Runs `work` with a signal that is aborted after `timeoutMs`, or as soon as `outer` is aborted.
 *
 * The timer is cleared when the work is done, whatever its outcome; work that ignores its signal is not waited for.
 */
export async function withDeadline<T>(
  timeoutMs: number,
  work: (signal: AbortSignal) => Promise<T>,
  outer?: AbortSignal,
): Promise<T> {
  const controller = new AbortController();
  const timer = setTimeout(
    () => controller.abort(new DeadlineError(`No answer within ${timeoutMs / 1000} s`)),
    timeoutMs,
  );
  const follow = () => controller.abort(outer?.reason);
  if (outer?.aborted) follow();
  else outer?.addEventListener("abort", follow, { once: true });
  try {
    return await within(work(controller.signal), controller.signal);
  } finally {
    clearTimeout(timer);
    outer?.removeEventListener("abort", follow);
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
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
