// LiveKit's key file, and what people give in its place.

import type { ApiKey } from "../livekit/access_token.ts";
import { Secret } from "../secret.ts";

/** Why a text is no key file, its content left out: the end of a sentence that begins with its path. */
export interface KeyFileProblem {
  readonly ok: false;
  readonly reason: string;
  readonly expected: string;
}

/** The keys of a key file in its order, at least one. */
export type KeyFile = { readonly ok: true; readonly keys: readonly [ApiKey, ...ApiKey[]] } | KeyFileProblem;

const LINES = 'lines of the form "key: secret"';
const IGNORED = /^\s*(#.*|---|\.\.\.)?$/;
// A value ends where YAML begins a comment.
const KEY_LINE = /^\s*("[^"]+"|'[^']+'|[^\s:"'{[][^:"'{}[\]]*?)\s*:\s*("[^"]+"|'[^']+'|[^\s"'#].*?)\s*(\s#.*)?$/;
const SECTION = /^\s*keys\s*:/;

/** Parses a line `key: secret` per key; a secret may hold colons, and both may be quoted. */
export function parseKeyFile(text: string): KeyFile {
  const lines = text.replace(/^\ufeff/, "").split(/\r?\n/);
  const section = lines.findIndex((line) => SECTION.test(line));
  if (section >= 0) {
    const reason = `looks like the whole of LiveKit's configuration (line ${section + 1} is "keys:")`;
    return { ok: false, reason, expected: `the lines below "keys:" alone, ${LINES}` };
  }
  const keys = new Map<string, Secret>();
  for (const [index, line] of lines.entries()) {
    if (IGNORED.test(line)) continue;
    const [, name, secret] = KEY_LINE.exec(line) ?? [];
    if (name === undefined || secret === undefined) return refuse(lines, index);
    const key: ApiKey = { name: unquote(name), secret: new Secret(unquote(secret)) };
    // Nobody could tell which of two secrets LiveKit knows.
    if ((keys.get(key.name) ?? key.secret).reveal() !== key.secret.reveal()) {
      return { ok: false, reason: `has two secrets for key "${key.name}"`, expected: "one secret per key" };
    }
    keys.set(key.name, key.secret);
  }
  const [first, ...rest] = [...keys].map(([name, secret]) => ({ name, secret }));
  if (first === undefined) return { ok: false, reason: "has no key", expected: LINES };
  return { ok: true, keys: [first, ...rest] };
}

/** Release 0.2.2 had one value per file, and this name for the file of the key. */
function refuse(lines: readonly string[], index: number): KeyFileProblem {
  const isOnlyLine = lines.filter((line) => !IGNORED.test(line)).length === 1;
  if (isOnlyLine && !lines[index]?.includes(":")) {
    return {
      ok: false,
      reason: "has one value",
      expected: `${LINES}, or LIVEKIT_KEY_FROM_FILE as the variable's name`,
    };
  }
  return { ok: false, reason: `has a malformed line ${index + 1}`, expected: LINES };
}

function unquote(text: string): string {
  return /^(".*"|'.*')$/.test(text) ? text.slice(1, -1) : text;
}
