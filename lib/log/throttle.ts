// Throttling of the log: what anybody can trigger must not fill it.

import { getThrottlingFilter, type LogRecord } from "@logtape/logtape";
import { cutText } from "./bounded_fields.ts";

const PERIOD_MS = 60_000;
const MAX_KEYS = 1000;
const MAX_SUBJECT_BYTES = 255;

/**
 * Lets one record a minute pass per message and subject; remembers the 1,000 pairs that came last.
 *
 * @param monotonicNow A clock that never jumps, in ms.
 * @returns Gives the number of those left out since the last one that passed; null for one to be left out.
 */
export function createThrottle(
  monotonicNow: () => number,
): (rawMessage: LogRecord["rawMessage"], subject: string) => number | null {
  let leftOut = 0;
  const filter = getThrottlingFilter({
    limit: 1,
    windowMs: PERIOD_MS,
    clock: monotonicNow,
    maxKeys: MAX_KEYS,
    key: ({ rawMessage, properties }) => `${rawMessage}\n${properties["subject"]}`,
    // Comes just before the record that opens the next window, which tells the number in its stead.
    summary: {
      logger: { warning: (_, { reason, suppressed }) => leftOut = reason === "window" ? Number(suppressed) : 0 },
    },
  });
  return (rawMessage, subject) => {
    leftOut = 0;
    // The filter keeps the records it sees, so this one is small.
    const properties = { subject: cutText(subject, MAX_SUBJECT_BYTES) };
    const record: LogRecord = { category: [], level: "info", message: [], rawMessage, timestamp: 0, properties };
    return filter(record) ? leftOut : null;
  };
}
