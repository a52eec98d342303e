// Bounds what one record takes: a client can make fields as long as its request, and homeservers as long as an answer.

import { Buffer } from "node:buffer";

const MAX_BYTES = 255;
const MAX_BYTES_OF: Readonly<Record<string, number>> = { steps: 300, stack: 4096 };
/** Of a longer list the beginning and the end are kept, this many entries each. */
const LIST_END = 10;

/**
 * The fields, each cut to its bound: 255 bytes (`stack`: 4,096), of a list 20 entries with 255 bytes each (`steps`: 300).
 * What is left out is counted in its place.
 */
export function boundFields(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const bounded: Record<string, unknown> = {};
  for (const name in fields) bounded[name] = boundField(fields[name], MAX_BYTES_OF[name] ?? MAX_BYTES);
  return bounded;
}

function boundField(value: unknown, maxBytes: number): unknown {
  if (!Array.isArray(value)) return boundEntry(value, maxBytes);
  const leftOut = value.length - 2 * LIST_END;
  const kept = leftOut <= 0
    ? value
    : [...value.slice(0, LIST_END), `…(+${leftOut} entries)`, ...value.slice(-LIST_END)];
  return kept.map((entry) => boundEntry(entry, maxBytes));
}

/** Numbers and flags stay; an object stays as long as its JSON fits. */
function boundEntry(value: unknown, maxBytes: number): unknown {
  if (typeof value === "string") return cutText(value, maxBytes);
  if (typeof value !== "object" || value === null) return value;
  const text = JSON.stringify(value) ?? "";
  const cut = cutText(text, maxBytes);
  return cut === text ? value : cut;
}

/** The text, or its first bytes (whole characters) and how many are missing: `abc…(+12000 bytes)`. */
export function cutText(text: string, maxBytes: number): string {
  if (text.length * 3 <= maxBytes) return text; // a UTF-16 unit takes three bytes at most
  const size = Buffer.byteLength(text);
  if (size <= maxBytes) return text;
  const bytes = new Uint8Array(maxBytes);
  const { written } = new TextEncoder().encodeInto(text.slice(0, maxBytes), bytes);
  // Decoded anew: what V8 slices keeps the whole text in memory, and some of what is cut is remembered.
  return `${new TextDecoder().decode(bytes.subarray(0, written))}…(+${size - written} bytes)`;
}
