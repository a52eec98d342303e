// LiveKit's API keys: from a key file, from one file per value, or from plain variables, in this order.

import type { Environment, Problems } from "./values.ts";
import type { ApiKey } from "../livekit/access_token.ts";
import { Secret } from "../secret.ts";

// LiveKit logs an error below this length; HS256 wants as many bits as its hash (RFC 7518, 3.2).
const MIN_SECRET_LENGTH = 32;

/** At least one key, the one that signs first; null when there is a problem. */
export function readApiKeys(env: Environment, problems: Problems): readonly [ApiKey, ...ApiKey[]] | null {
  const keys = env.get("LIVEKIT_KEY_FILE") === undefined ? readSingleKey(env, problems) : readKeyFile(env, problems);
  for (const { name, secret } of keys ?? []) warnAboutSecret(name, secret.reveal(), problems);
  return keys;
}

function readKeyFile(env: Environment, problems: Problems): readonly [ApiKey, ...ApiKey[]] | null {
  const path = env.get("LIVEKIT_KEY_FILE");
  const text = env.readFileOf("LIVEKIT_KEY_FILE");
  if (text === undefined) return null;
  const keys = parseKeyFile(text);
  if (keys === null) {
    problems.add("LIVEKIT_KEY_FILE", `names "${path}", which has a malformed line`, 'lines of the form "key: secret"');
    return null;
  }
  const ambiguous = nameWithTwoSecrets(keys);
  if (ambiguous !== null) {
    problems.add(
      "LIVEKIT_KEY_FILE",
      `names "${path}", which has two secrets for key "${ambiguous}"`,
      "one secret per key",
    );
    return null;
  }
  const ignored = ["LIVEKIT_KEY_FROM_FILE", "LIVEKIT_SECRET", "LIVEKIT_SECRET_FROM_FILE"]
    .filter((name) => env.get(name) !== undefined);
  const wanted = env.get("LIVEKIT_KEY")?.trim();
  const [first] = keys;
  const signing = keys.find(({ name }) => name === wanted);
  if (wanted !== undefined && signing === undefined) {
    if (keys.length > 1) {
      problems.add("LIVEKIT_KEY", `is "${wanted}"`, `one of the keys in "${path}"`);
      return null;
    }
    ignored.push("LIVEKIT_KEY");
  }
  if (ignored.length > 0) problems.warn(`LIVEKIT_KEY_FILE is set, so ${ignored.join(", ")} had no effect`);
  const signs = signing ?? first;
  return [signs, ...keys.filter((key) => key !== signs)];
}

/** A key that stands there twice, with another secret: nobody could tell which of them LiveKit knows. */
function nameWithTwoSecrets(keys: readonly ApiKey[]): string | null {
  const secrets = new Map<string, string>();
  for (const { name, secret } of keys) {
    const value = secret.reveal();
    if ((secrets.get(name) ?? value) !== value) return name;
    secrets.set(name, value);
  }
  return null;
}

function readSingleKey(env: Environment, problems: Problems): readonly [ApiKey] | null {
  const name = readValue(env, "LIVEKIT_KEY", "LIVEKIT_KEY_FROM_FILE", problems);
  const secret = readValue(env, "LIVEKIT_SECRET", "LIVEKIT_SECRET_FROM_FILE", problems);
  return name === null || secret === null ? null : [{ name, secret: new Secret(secret) }];
}

function readValue(env: Environment, plain: string, fromFile: string, problems: Problems): string | null {
  if (env.get(fromFile) !== undefined) {
    if (env.get(plain) !== undefined) problems.warn(`${fromFile} is set, so ${plain} had no effect`);
    const text = env.readFileOf(fromFile);
    if (text === "") problems.add(fromFile, `names "${env.get(fromFile)}", which is empty`, "a file with the value");
    return text === undefined || text === "" ? null : text;
  }
  const value = env.get(plain)?.trim() ?? "";
  if (value === "") problems.add(plain, "is not set", `${plain}, ${fromFile} or LIVEKIT_KEY_FILE`);
  return value === "" ? null : value;
}

/**
 * Parses LiveKit's key file: a line `key: secret` per key; a secret may hold colons, and both may be quoted.
 *
 * @returns null when it has no key, or a line that is none.
 */
export function parseKeyFile(text: string): readonly [ApiKey, ...ApiKey[]] | null {
  const keys: ApiKey[] = [];
  for (const line of text.split(/\r?\n/)) {
    if (/^\s*(#.*|---)?$/.test(line)) continue;
    const match = /^\s*("[^"]+"|'[^']+'|[^\s:"'][^:]*?)\s*:\s*("[^"]+"|'[^']+'|[^\s"'].*?)\s*$/.exec(line);
    if (match === null || match[1] === undefined || match[2] === undefined) return null;
    keys.push({ name: unquote(match[1]), secret: new Secret(unquote(match[2])) });
  }
  const [first, ...rest] = keys;
  return first === undefined ? null : [first, ...rest];
}

function unquote(text: string): string {
  return /^(".*"|'.*')$/.test(text) ? text.slice(1, -1) : text;
}

function warnAboutSecret(name: string, secret: string, problems: Problems): void {
  if (secret.length < MIN_SECRET_LENGTH) {
    problems.warn(`The secret of API key "${name}" has under ${MIN_SECRET_LENGTH} characters: it can be guessed`);
  }
  if (/[^\x20-\x7e]/.test(secret)) {
    problems.warn(`The secret of API key "${name}" has characters beyond ASCII: LiveKit may read them differently`);
  }
}
