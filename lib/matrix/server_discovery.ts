// Server name resolution: from a Matrix server name to the targets that may speak for it, each with the address to
// dial, the Host header and the certificate name. Source: Matrix server-server API, "Resolving server names".

import { withDeadline } from "../async/deadline.ts";
import { FlightCache } from "../cache/loading_cache.ts";
import type { DialRule } from "../net/address_guard.ts";
import type { Outbound } from "../net/client.ts";
import { basePathOf, type Dial, dialOf } from "../net/endpoint.ts";
import { classifySrv, orderSrv, type SrvAnswer, type SrvResolver } from "../net/srv.ts";
import { type ServerName, serverNameParts } from "./server_name.ts";
import { fetchWellKnown, type WellKnown } from "./server_well_known.ts";

/** One place where a server may be reached. */
export interface Target extends Dial {
  /** Put before the path; empty but for an override with a path. */
  readonly basePath: string;
}

/** Where a server is, and how that was found out. */
export interface Resolution {
  /** In the order to try them; empty when the server cannot be located. */
  readonly targets: readonly Target[];
  /** One line per step, for the log. */
  readonly story: readonly string[];
}

/** What discovery needs from outside. */
export interface ServerDiscoveryDeps {
  readonly outbound: Outbound;
  readonly resolveSrv: SrvResolver;
  readonly ruleFor: (serverName: string) => DialRule;
  readonly now: () => number;
  readonly monotonicNow: () => number;
  readonly random: () => number;
  /** Addresses given by the operator: server name to base URL. */
  readonly overrides: ReadonlyMap<string, URL>;
}

/** Port of the federation API when nothing names another. */
export const DEFAULT_FEDERATION_PORT = 8448;

const CACHED_SERVERS = 5000;

// Resolvers do not tell a record's time to live, and report a server failure just like a missing name.
const SRV_FOUND_TTL_MS = 5 * 60_000;
const SRV_NONE_TTL_MS = 30_000;
const SRV_TIMEOUT_MS = 2500;

/** Resolves server names, remembering what well-known documents and SRV look-ups said. */
export class ServerDiscovery {
  readonly #deps: ServerDiscoveryDeps;
  readonly #wellKnowns: FlightCache<WellKnown>;
  readonly #srvAnswers: FlightCache<SrvAnswer>;

  constructor(deps: ServerDiscoveryDeps) {
    this.#deps = deps;
    const bounds = { capacity: CACHED_SERVERS, monotonicNow: deps.monotonicNow };
    this.#wellKnowns = new FlightCache(bounds);
    this.#srvAnswers = new FlightCache(bounds);
  }

  /** Never rejects for what a remote server does: then the targets are empty and the story says why. */
  async resolve(name: ServerName): Promise<Resolution> {
    const override = this.#deps.overrides.get(name);
    if (override !== undefined) {
      return {
        targets: [{ ...dialOf(override), basePath: basePathOf(override) }],
        story: [`override: ${override.origin}`],
      };
    }

    const { hostname, port, isIpLiteral } = serverNameParts(name);
    if (isIpLiteral) return step("IP literal", ipTarget(hostname, port, name)); // step 1
    if (port !== null) return step("explicit port", namedTarget(hostname, port, name)); // step 2

    const rule = this.#deps.ruleFor(name);
    const wellKnown = await this.#wellKnown(hostname, rule); // step 3
    const story = [wellKnown.story];
    if (wellKnown.delegate !== null) {
      const delegate = serverNameParts(wellKnown.delegate);
      const found = delegate.isIpLiteral
        ? step("delegated to an IP literal", ipTarget(delegate.hostname, delegate.port, wellKnown.delegate))
        : delegate.port !== null
        ? step("delegated with a port", namedTarget(delegate.hostname, delegate.port, wellKnown.delegate))
        : await this.#bySrv(delegate.hostname);
      return { targets: found.targets, story: [...story, ...found.story] };
    }
    const found = await this.#bySrv(hostname); // steps 4 to 6
    return { targets: found.targets, story: [...story, ...found.story] };
  }

  #wellKnown(hostname: string, rule: DialRule): Promise<WellKnown> {
    // The rule is part of the key: what one server name may reach says nothing about what another may.
    const key = `${rule} ${hostname}`;
    return this.#wellKnowns.getOrLoad(key, (stale) => fetchWellKnown(hostname, rule, this.#deps, stale));
  }

  async #bySrv(hostname: string): Promise<Resolution> {
    const names = [`_matrix-fed._tcp.${hostname}`, `_matrix._tcp.${hostname}`];
    const story: string[] = [];
    for (const name of names) {
      let answer: SrvAnswer;
      try {
        answer = await this.#srv(name);
      } catch (error) {
        return { targets: [], story: [...story, `SRV ${name}: no answer (${errorText(error)})`] };
      }
      if (answer.outcome === "unavailable") {
        return { targets: [], story: [...story, `SRV ${name}: "." (no such service here)`] };
      }
      if (answer.outcome === "records") {
        const records = orderSrv(answer.records, this.#deps.random);
        const shown = records.map((record) => `${record.target}:${record.port}`).join(", ");
        return {
          targets: records.map((record) => ({ ...namedTarget(hostname, record.port, hostname), host: record.target })),
          story: [...story, `SRV ${name}: ${shown}`],
        };
      }
      story.push(`SRV ${name}: none`);
    }
    return { targets: [namedTarget(hostname, DEFAULT_FEDERATION_PORT, hostname)], story };
  }

  #srv(name: string): Promise<SrvAnswer> {
    return this.#srvAnswers.getOrLoad(name, async () => {
      const lookUp = (signal: AbortSignal) => this.#deps.resolveSrv(name, signal);
      const value = classifySrv(await withDeadline(SRV_TIMEOUT_MS, lookUp));
      return { value, ttlMs: value.outcome === "records" ? SRV_FOUND_TTL_MS : SRV_NONE_TTL_MS };
    });
  }
}

function step(text: string, target: Target): Resolution {
  return { targets: [target], story: [text] };
}

function ipTarget(address: string, port: number | null, hostHeader: string): Target {
  return {
    secure: true,
    host: address,
    port: port ?? DEFAULT_FEDERATION_PORT,
    hostHeader,
    tlsName: null,
    basePath: "",
  };
}

function namedTarget(hostname: string, port: number, hostHeader: string): Target {
  // A trailing dot belongs to DNS only: no certificate and no SNI carries it (RFC 6066, 3).
  return { secure: true, host: hostname, port, hostHeader, tlsName: hostname.replace(/\.$/, ""), basePath: "" };
}

function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
