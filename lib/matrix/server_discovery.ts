// Server name resolution: from a Matrix server name to the targets that may speak for it, each with the address to
// dial, the Host header and the certificate name. Source: Matrix server-server API, "Resolving server names".

import type { Clock } from "../async/clock.ts";
import { Deadlines } from "../async/deadline.ts";
import { type CacheCounts, LoadingCache } from "../cache/loading_cache.ts";
import { errorText } from "../log/error_text.ts";
import type { DialRule } from "../net/address_guard.ts";
import type { Outbound } from "../net/client.ts";
import { basePathOf, type Dial, dialOf } from "../net/endpoint.ts";
import { classifySrv, orderSrv, type SrvAnswer, type SrvResolver } from "../net/srv.ts";
import { type ServerName, serverNameParts } from "./server_name.ts";
import { ServerWellKnowns } from "./server_well_known.ts";
import { stepOf } from "./steps.ts";

/** One place where a server may be reached. */
export interface Target extends Dial {
  /** Put before the path; empty but for an override with a path. */
  readonly basePath: string;
}

/** Where a server is, and how that was found out. */
export interface Resolution {
  /** In the order to try them; empty when the server cannot be located. */
  readonly targets: readonly Target[];
  /** How, for the log. */
  readonly steps: readonly string[];
}

/** What discovery needs from outside. */
export interface ServerDiscoveryOptions {
  readonly outbound: Outbound;
  readonly resolveSrv: SrvResolver;
  readonly ruleFor: (serverName: string) => DialRule;
  readonly clock: Clock;
  readonly random: () => number;
  /** Addresses given by the operator: server name to base URL. */
  readonly overrides: ReadonlyMap<string, URL>;
}

/** Port of the federation API when nothing names another. */
export const DEFAULT_FEDERATION_PORT = 8448;

// A key and a value have 1.5 KB at most: a name, and targets of 1 KB together.
const CACHED_SRV_NAMES = 1000;

// Resolvers do not tell a record's time to live, and report a server failure just like a missing name.
const SRV_FOUND_TTL_MS = 5 * 60_000;
const SRV_NONE_TTL_MS = 30_000;
const SRV_TIMEOUT_MS = 2500;

/** Resolves server names, remembering well-known documents and SRV answers. */
export class ServerDiscovery {
  readonly #options: ServerDiscoveryOptions;
  readonly #wellKnowns: ServerWellKnowns;
  readonly #srvAnswers: LoadingCache<SrvAnswer>;
  readonly #srvDeadlines: Deadlines;

  constructor(options: ServerDiscoveryOptions) {
    const { clock } = options;
    this.#options = options;
    this.#wellKnowns = new ServerWellKnowns(options);
    this.#srvAnswers = new LoadingCache({ capacity: CACHED_SRV_NAMES, clock });
    this.#srvDeadlines = new Deadlines(SRV_TIMEOUT_MS, clock);
  }

  /** How often a look-up of a well-known document was saved. */
  get wellKnownCounts(): CacheCounts {
    return this.#wellKnowns.cacheCounts;
  }

  /** Never rejects for what a remote server does: then the targets are empty and the steps show why. */
  async resolve(name: ServerName): Promise<Resolution> {
    const override = this.#options.overrides.get(name);
    if (override !== undefined) {
      return step(`override: ${override.origin}`, { ...dialOf(override), basePath: basePathOf(override) });
    }

    const { hostname, port, isIpLiteral } = serverNameParts(name);
    if (isIpLiteral) return step("IP literal", ipTarget(hostname, port, name)); // step 1
    if (port !== null) return step("explicit port", namedTarget(hostname, port, name)); // step 2

    const wellKnown = await this.#wellKnowns.find(hostname, this.#options.ruleFor(name)); // step 3
    if (wellKnown.delegate !== null) {
      const delegate = serverNameParts(wellKnown.delegate);
      const found = delegate.isIpLiteral
        ? step("delegated to an IP literal", ipTarget(delegate.hostname, delegate.port, wellKnown.delegate))
        : delegate.port !== null
        ? step("delegated with a port", namedTarget(delegate.hostname, delegate.port, wellKnown.delegate))
        : await this.#bySrv(delegate.hostname);
      return { targets: found.targets, steps: [wellKnown.step, ...found.steps] };
    }
    const found = await this.#bySrv(hostname); // steps 4 to 6
    return { targets: found.targets, steps: [wellKnown.step, ...found.steps] };
  }

  async #bySrv(hostname: string): Promise<Resolution> {
    const names = [`_matrix-fed._tcp.${hostname}`, `_matrix._tcp.${hostname}`];
    const steps: string[] = [];
    for (const name of names) {
      let answer: SrvAnswer;
      try {
        answer = await this.#srv(name);
      } catch (error) {
        return { targets: [], steps: [...steps, stepOf(`SRV ${name}: no answer (${errorText(error)})`)] };
      }
      if (answer.outcome === "unavailable") {
        return { targets: [], steps: [...steps, stepOf(`SRV ${name}: "." (no such service here)`)] };
      }
      if (answer.outcome === "records") {
        const records = orderSrv(answer.records, this.#options.random);
        const shown = records.map((record) => `${record.target}:${record.port}`).join(", ");
        return {
          targets: records.map((record) => ({ ...namedTarget(hostname, record.port, hostname), host: record.target })),
          steps: [...steps, stepOf(`SRV ${name}: ${shown}`)],
        };
      }
      steps.push(stepOf(`SRV ${name}: none`));
    }
    return { targets: [namedTarget(hostname, DEFAULT_FEDERATION_PORT, hostname)], steps };
  }

  #srv(name: string): Promise<SrvAnswer> {
    return this.#srvAnswers.get(name, async () => {
      const lookUp = (signal: AbortSignal) => this.#options.resolveSrv(name, signal);
      const value = classifySrv(await this.#srvDeadlines.enforce(lookUp));
      return { value, ttlMs: value.outcome === "records" ? SRV_FOUND_TTL_MS : SRV_NONE_TTL_MS };
    });
  }
}

function step(text: string, target: Target): Resolution {
  return { targets: [target], steps: [text] };
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
