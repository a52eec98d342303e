// Whose users may ask at all: the operator's lists of homeservers, decided before anything goes out. What is blocked is
// matched widely, by every spelling of the host; what is allowed is matched exactly.

import { parseServerName, type ServerName, serverNameParts } from "../matrix/server_name.ts";
import { withBrackets } from "../net/endpoint.ts";

/** One entry of a list: a server name, or `*.suffix` for every name below the suffix. */
export interface HomeserverPattern {
  readonly text: string;
  /** True for `*.suffix`; `name` is then the suffix. */
  readonly isSuffix: boolean;
  readonly name: ServerName;
}

/** What the operator listed. */
export interface HomeserverListsOptions {
  /** `*` = no list of allowed servers. */
  readonly allowed: "*" | readonly HomeserverPattern[];
  readonly blocked: readonly HomeserverPattern[];
  /** Servers with full access count as allowed. */
  readonly fullAccess: "*" | ReadonlySet<string>;
}

/**
 * Parses one entry of a list.
 *
 * @returns null when it is neither a server name nor `*.` before one without a port.
 */
export function parseHomeserverPattern(text: string): HomeserverPattern | null {
  const isSuffix = text.startsWith("*.");
  const name = parseServerName(isSuffix ? text.slice(2) : text);
  if (name === null) return null;
  const { port, isIpLiteral } = serverNameParts(name);
  return isSuffix && (port !== null || isIpLiteral) ? null : { text, isSuffix, name };
}

/** Decides who may ask. */
export class HomeserverLists {
  readonly #allowedNames: ReadonlySet<string>;
  readonly #allowedSuffixes: readonly string[];
  readonly #blockedNames: ReadonlySet<string>;
  readonly #blockedSuffixes: readonly string[];
  readonly #allowsAll: boolean;

  constructor({ allowed, blocked, fullAccess }: HomeserverListsOptions) {
    const patterns = allowed === "*" ? [] : allowed;
    this.#allowsAll = allowed === "*";
    this.#allowedNames = new Set([...namesOf(patterns), ...(fullAccess === "*" ? [] : fullAccess)]);
    this.#allowedSuffixes = suffixesOf(patterns);
    this.#blockedNames = new Set(namesOf(blocked).map(widely));
    this.#blockedSuffixes = suffixesOf(blocked).map((suffix) => suffix.toLowerCase());
  }

  /** Whether users of a server may ask. A text that is no server name is blocked by nothing, and on no list. */
  allows(serverName: string): boolean {
    if (this.#isBlocked(serverName)) return false;
    return this.#allowsAll || this.#allowedNames.has(serverName) ||
      this.#allowedSuffixes.some((suffix) => serverName.endsWith(suffix));
  }

  /** Whether the operator named this very server as one to be served. */
  names(serverName: string): boolean {
    return this.#allowedNames.has(serverName);
  }

  #isBlocked(serverName: string): boolean {
    if (this.#blockedNames.size === 0 && this.#blockedSuffixes.length === 0) return false;
    const name = parseServerName(serverName);
    if (name === null) return false;
    const host = hostOf(name);
    return this.#blockedNames.has(widely(name)) || this.#blockedNames.has(host) ||
      this.#blockedSuffixes.some((suffix) => host.endsWith(suffix));
  }
}

function namesOf(patterns: readonly HomeserverPattern[]): string[] {
  return patterns.filter(({ isSuffix }) => !isSuffix).map(({ name }) => name);
}

function suffixesOf(patterns: readonly HomeserverPattern[]): string[] {
  return patterns.filter(({ isSuffix }) => isSuffix).map(({ name }) => `.${name}`);
}

// DNS knows neither case nor the dot at the end, and an IPv6 address has many spellings: whoever is blocked could choose
// another one for the same host. A blocked name without a port covers the host at every port.
function widely(name: string): string {
  const parsed = parseServerName(name);
  if (parsed === null) return name;
  const { port } = serverNameParts(parsed);
  return port === null ? hostOf(parsed) : `${hostOf(parsed)}:${port}`;
}

function hostOf(name: ServerName): string {
  const { hostname, isIpLiteral } = serverNameParts(name);
  if (isIpLiteral && hostname.includes(":")) return new URL(`http://${withBrackets(hostname)}`).hostname;
  return hostname.toLowerCase().replace(/\.+$/, "");
}
