// What a failure of Redis means for whoever set its URL: the cause in the words of the log.

import { errorText } from "../log/error_text.ts";
import type { RedisTarget } from "./url.ts";

interface Meaning {
  readonly pattern: RegExp;
  readonly text: string;
}

const MEANINGS: readonly Meaning[] = [
  // The first script has more arguments than a server takes from a client that has not given the password.
  { pattern: /^NOAUTH|unauthenticated/, text: "NOAUTH, set LIVEKIT_REDIS_PASSWORD" },
  // "H" of "HTTP/1.1 400".
  { pattern: /Unknown RESP type 72/, text: "a web server answers there, expected the host and port of Redis" },
  { pattern: /Unknown RESP type/, text: "what answers there is no Redis" },
  // OpenSSL's words, and those of rustls.
  {
    pattern: /wrong version number|InvalidContentType/,
    text: "this port has no TLS, use redis:// or the port for TLS",
  },
];

// A server that expects TLS closes the connection at once; one that does not waits for the end of a line.
const HINTS = [
  { usesTls: false, pattern: /ECONNRESET/, text: ": if this port expects TLS, use rediss://" },
  { usesTls: true, pattern: /ETIMEDOUT|does not answer/, text: ": if this port has no TLS, use redis://" },
];

/** The cause of a failure, without any secret of the target. */
export function redisFailureText(error: unknown, target: RedisTarget): string {
  const text = errorText(error);
  const meaning = MEANINGS.find(({ pattern }) => pattern.test(text));
  if (meaning !== undefined) return meaning.text;
  const hint = HINTS.find(({ usesTls, pattern }) => usesTls === target.usesTls && pattern.test(text))?.text ?? "";
  return target.secrets.reduce((shown, secret) => shown.replaceAll(secret, "[redacted]"), text) + hint;
}

/** Whether a server refused the database that the URL names. */
export function isDatabaseRefused(error: unknown): boolean {
  if (!(error instanceof Error) || !("command" in error)) return false;
  const { command } = error;
  return error.name === "ReplyError" && typeof command === "object" && command !== null && "name" in command &&
    command.name === "select";
}
