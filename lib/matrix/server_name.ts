// Matrix server names and user IDs: one parser each, exact comparison everywhere.

import { isIPv4, isIPv6 } from "node:net";
import { parseHostAndPort } from "../net/endpoint.ts";

/** A text that follows the server name grammar. Compared byte for byte, never lower-cased. */
export type ServerName = string & { readonly __brand: "ServerName" };

/** A text that is a Matrix user ID. */
export type UserId = string & { readonly __brand: "UserId" };

/** A server name in its parts. */
export interface ServerNameParts {
  /** DNS name or IP literal; an IPv6 literal without its brackets. */
  readonly hostname: string;
  readonly port: number | null;
  readonly isIpLiteral: boolean;
}

const DNS_NAME = /^[0-9A-Za-z.-]{1,255}$/;
const MAX_USER_ID_BYTES = 255;
const CONTROL_CHARACTER = /\p{Cc}/u;

/**
 * Parses `hostname[:port]`: an IPv4 literal, a bracketed IPv6 literal or a DNS name of 1 to 255 letters, digits,
 * dots and hyphens, with a port of 1 to 5 digits.
 *
 * Source: Matrix specification, appendices, "Server Name".
 *
 * @returns null for anything else, a zone identifier or a port above 65535 among it.
 */
export function parseServerName(text: string): ServerName | null {
  return splitServerName(text) === null ? null : text as ServerName;
}

/** The parts of a server name that {@link parseServerName} accepted. */
export function serverNameParts(name: ServerName): ServerNameParts {
  const parts = splitServerName(name);
  if (parts === null) throw new TypeError(`Cannot split "${name}": expected a server name`);
  return parts;
}

/**
 * Parses a user ID: `@`, a localpart that is not empty, `:`, and the server name after the first colon.
 *
 * Source: Matrix specification, appendices, "User Identifiers". Historical localparts may hold nearly any character;
 * control characters are refused and the whole is at most 255 bytes.
 */
export function parseUserId(text: string): UserId | null {
  const colon = text.indexOf(":");
  if (!text.startsWith("@") || colon < 2) return null;
  if (!text.isWellFormed() || CONTROL_CHARACTER.test(text)) return null;
  if (text.length > MAX_USER_ID_BYTES || byteLength(text) > MAX_USER_ID_BYTES) return null;
  return parseServerName(text.slice(colon + 1)) === null ? null : text as UserId;
}

/** The server part of a user ID: all that follows its first colon (server names may hold further ones). */
export function serverOf(user: UserId): ServerName {
  return user.slice(user.indexOf(":") + 1) as ServerName;
}

/** Length in UTF-8 bytes, the unit of Matrix's and LiveKit's limits. */
export function byteLength(text: string): number {
  return Buffer.byteLength(text, "utf8");
}

function splitServerName(text: string): ServerNameParts | null {
  const split = parseHostAndPort(text);
  if (split === null) return null;
  const { host: hostname, port } = split;
  if (text.startsWith("[")) {
    return isIPv6(hostname) && !hostname.includes("%") ? { hostname, port, isIpLiteral: true } : null;
  }
  return DNS_NAME.test(hostname) ? { hostname, port, isIpLiteral: isIPv4(hostname) } : null;
}
