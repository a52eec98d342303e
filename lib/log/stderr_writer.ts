// Standard error as the place of the log. Lines are written in batches, so that a join storm does not pay a system call
// per line.

import type { LogWriter } from "./log.ts";

/** Writes lines to standard error, together at the end of the current turn of the event loop. */
export function createStderrWriter(): LogWriter {
  let held = "";
  let timer: ReturnType<typeof setTimeout> | undefined;
  const encoder = new TextEncoder();

  const flush = () => {
    clearTimeout(timer);
    timer = undefined;
    let bytes = encoder.encode(held);
    held = "";
    try {
      while (bytes.length > 0) bytes = bytes.subarray(Deno.stderr.writeSync(bytes));
    } catch {
      // Whoever read the log is gone or too slow: the service goes on without it.
    }
  };
  return {
    write(line) {
      held += line;
      timer ??= setTimeout(flush, 0);
    },
    flush,
  };
}
