// The one home of what the operator decided about homeservers: whose users have full access, whose may ask at all, which
// servers were named, and what may be dialed on their behalf. Decided by the name alone, before anything goes out. What
// is blocked is matched widely, by every spelling of the host; everything else exactly.

import type { DialRule } from "../net/address_guard.ts";
import { parseServerName, type ServerName, serverNameParts } from "../matrix/server_name.ts";
import { parseHost } from "../net/endpoint.ts";
import { parseAddress } from "../net/ip_range.ts";

/** Own homeservers' users may create rooms; everybody else may join what exists. */
export type Access = "full" | "restricted";

/** One entry of a list: a server name, or `*.suffix` for every name below the suffix. */
export interface HomeserverPattern {
  readonly text: string;
  /** True for `*.suffix`; `name` is then the suffix. */
  readonly isSuffix: boolean;
  readonly name: ServerName;
}

/** What the operator configured. */
export interface HomeserverPolicyOptions {
  /** `*`, or the servers with full access. They count as allowed. */
  readonly fullAccess: "*" | ReadonlySet<string>;
  /** `*` = no list of allowed servers. */
  readonly allowed: "*" | readonly HomeserverPattern[];
  readonly blocked: readonly HomeserverPattern[];
  /** Servers whose address was given. */
  readonly overridden: { has(serverName: string): boolean; readonly size: number };
  /** True in a lab that verifies no certificates. */
  readonly tlsSkipped: boolean;
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

/** Answers what may be done for the users of a homeserver. */
export class HomeserverPolicy {
  readonly #fullAccess: "*" | ReadonlySet<string>;
  readonly #overridden: HomeserverPolicyOptions["overridden"];
  readonly #tlsSkipped: boolean;
  readonly #allowsAll: boolean;
  readonly #allowedNames: ReadonlySet<string>;
  readonly #allowedSuffixes: readonly string[];
  readonly #blockedNames: ReadonlySet<string>;
  readonly #blockedSuffixes: readonly string[];

  constructor({ fullAccess, allowed, blocked, overridden, tlsSkipped }: HomeserverPolicyOptions) {
    const patterns = allowed === "*" ? [] : allowed;
    this.#fullAccess = fullAccess;
    this.#overridden = overridden;
    this.#tlsSkipped = tlsSkipped;
    this.#allowsAll = allowed === "*";
    this.#allowedNames = new Set([...namesOf(patterns), ...(fullAccess === "*" ? [] : fullAccess)]);
    this.#allowedSuffixes = suffixesOf(patterns);
    this.#blockedNames = new Set(namesOf(blocked).map(widely));
    this.#blockedSuffixes = suffixesOf(blocked).map((suffix) => suffix.toLowerCase());
  }

  /** Whether the operator named any server: then the others share what is left. */
  get namesAny(): boolean {
    return !this.#allowsAll || this.#fullAccess !== "*" || this.#overridden.size > 0;
  }

  /** The access of a server's users. */
  accessOf(server: string): Access {
    return this.#fullAccess === "*" || this.#fullAccess.has(server) ? "full" : "restricted";
  }

  /**
   * Whether users of a server are served at all.
   *
   * @param server null = a text that is no server name: blocked by nothing, and on no list.
   */
  serves(server: ServerName | null): boolean {
    if (server === null) return this.#allowsAll;
    if (this.#isBlocked(server)) return false;
    return this.#allowsAll || this.#allowedNames.has(server) ||
      this.#allowedSuffixes.some((suffix) => server.endsWith(suffix));
  }

  /** Whether the operator named this very server as one to be served. */
  isNamed(server: string): boolean {
    return this.#allowedNames.has(server) || this.#overridden.has(server);
  }

  /** Gives the rule for the host of a server name itself; `ruleBeyond` of the address guard for where it leads. */
  ruleFor(server: string): DialRule {
    if (this.#tlsSkipped || this.#overridden.has(server)) return "internal";
    if (this.#fullAccess === "*") return "internal-verified";
    return this.#fullAccess.has(server) ? "internal" : "public";
  }

  #isBlocked(server: ServerName): boolean {
    if (this.#blockedNames.size === 0 && this.#blockedSuffixes.length === 0) return false;
    const host = hostOf(server);
    return this.#blockedNames.has(widely(server)) || this.#blockedNames.has(host) ||
      this.#blockedSuffixes.some((suffix) => host.endsWith(suffix));
  }
}

function namesOf(patterns: readonly HomeserverPattern[]): ServerName[] {
  return patterns.filter(({ isSuffix }) => !isSuffix).map(({ name }) => name);
}

function suffixesOf(patterns: readonly HomeserverPattern[]): string[] {
  return patterns.filter(({ isSuffix }) => isSuffix).map(({ name }) => `.${name}`);
}

// DNS knows neither case nor the dot at the end, and an address has many spellings, IPv4 inside IPv6 and whole numbers
// among them: whoever is blocked could choose another one for the same host. A blocked name without a port covers the
// host at every port.
function widely(name: ServerName): string {
  const { port } = serverNameParts(name);
  return port === null ? hostOf(name) : `${hostOf(name)}:${port}`;
}

function hostOf(name: ServerName): string {
  const { hostname } = serverNameParts(name);
  const host = parseHost(hostname);
  const address = host === null || host === "name" ? null : parseAddress(host.address);
  return address?.toString() ?? hostname.toLowerCase().replace(/\.+$/, "");
}
