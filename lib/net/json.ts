// The JSON in an answer.

const UTF8 = new TextDecoder("utf-8", { fatal: true });

/** Parses JSON in UTF-8; undefined for anything else. */
export function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(UTF8.decode(bytes));
  } catch {
    return undefined;
  }
}
