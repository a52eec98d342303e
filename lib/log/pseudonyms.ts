// Hides who talks to whom from readers of the log: IDs of users, rooms and devices, and client addresses, become stable
// pseudonyms, which an operator who knows an ID can compute and search for.

import { hash } from "node:crypto";
import type { Log, LogFields } from "./log.ts";

/** How IDs appear in the log. */
export const LOG_ID_FORMS = ["plain", "hash"] as const;
export type LogIdForm = typeof LOG_ID_FORMS[number];

const HEX_DIGITS = 16;

// Room aliases, and the identities that `/get_token` gives, are hashes already and stay, so that the log can be laid
// beside LiveKit's. An identity in clear begins with the user ID.
const ALWAYS_HIDDEN = new Set(["user", "room_id", "client"]);

/**
 * The pseudonym of an ID: `sha256:` and the first 16 hexadecimal digits of the SHA-256 of its UTF-8 bytes.
 *
 * It is the same at every start and on every replica. User IDs can be guessed, and a guess can be checked: it hides
 * people from a glance, not from a search.
 */
export function pseudonym(id: string): string {
  return `sha256:${hash("sha256", id, "hex").slice(0, HEX_DIGITS)}`;
}

/** The log itself, or one that writes pseudonyms into it. */
export function withIdForm(log: Log, form: LogIdForm): Log {
  if (form === "plain") return log;
  return {
    debug: (message, fields) => log.debug(message, hideIds(fields)),
    info: (message, fields) => log.info(message, hideIds(fields)),
    warning: (message, fields) => log.warning(message, hideIds(fields)),
    error: (message, fields) => log.error(message, hideIds(fields)),
  };
}

function hideIds(fields: LogFields = {}): LogFields {
  const hidden: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields)) {
    const isId = ALWAYS_HIDDEN.has(name) || name === "identity" && String(value).startsWith("@");
    hidden[name] = isId && typeof value === "string" ? pseudonym(value) : value;
  }
  return hidden;
}
