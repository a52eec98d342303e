// What was done on behalf of a request, step by step, for the one log record that an operator will read.

import { cutText } from "../log/bounded_fields.ts";

// With the note of what was left out, 300.
const MAX_STEP_BYTES = 280;

/** Gives a step, cut to 300 bytes: servers write parts of it, at any length, and some steps are remembered. */
export function stepOf(text: string): string {
  return cutText(text, MAX_STEP_BYTES);
}
