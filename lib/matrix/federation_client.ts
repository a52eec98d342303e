// Asks a homeserver's federation API: finds the server, dials its targets in order, tries once more after a passing
// fault, and keeps every step for the one log record that an operator will read.

import type { Clock } from "../async/clock.ts";
import { BoundedMap } from "../cache/bounded_map.ts";
import { type DialRule, ruleBeyond } from "../net/address_guard.ts";
import { MAX_CONNECTIONS_TO_KNOWN_HOST, type Outbound, type OutboundResponse } from "../net/client.ts";
import { formatHostAndPort } from "../net/endpoint.ts";
import { OutboundError, type OutboundFailure } from "../net/outbound_error.ts";
import { CircuitBreaker } from "./circuit_breaker.ts";
import type { ServerDiscovery, Target } from "./server_discovery.ts";
import { type ServerName, serverNameParts } from "./server_name.ts";
import { stepOf } from "./steps.ts";

/**
 * What came of a request.
 * - `answer`: any status.
 * - `no-answer`: of no target; `failure` is that of the last one, `dns` where there is none.
 * - `not-asked`: the server could not be reached a moment ago.
 */
export type FederationOutcome =
  | { readonly outcome: "answer"; readonly response: OutboundResponse; readonly steps: readonly string[] }
  | { readonly outcome: "no-answer"; readonly failure: OutboundFailure; readonly steps: readonly string[] }
  | { readonly outcome: "not-asked"; readonly steps: readonly string[] };

/** What the client needs from outside. */
export interface FederationClientOptions {
  readonly outbound: Outbound;
  readonly discovery: Pick<ServerDiscovery, "resolve">;
  readonly ruleFor: (serverName: string) => DialRule;
  /** Whether a server is worth many connections: one that the operator named, or that has vouched for a user. */
  readonly isKnown?: (server: ServerName) => boolean;
  readonly clock: Clock;
  readonly random: () => number;
}

const MAX_RESPONSE_BYTES = 64 * 1024;
const CONNECT_TIMEOUT_MS = 4000;

// A homeserver that restarts refuses connections for a moment; what failed slowly is not worth a second wait. A broken
// connection is: it tells nothing of the homeserver's speed, and on a busy host the first attempt may take that long.
const RETRY_WITHIN_MS = 3000;
const RETRY_PAUSE_MS = 250;

// What came quickly to nothing costs little to try again: a server is left alone about as long as that took.
const MIN_PAUSE_MS = 1000;
const MAX_PAUSE_MS = 5000;
const TRIAL_MS = 5000;
// A key and a value have a server name and a step: 1 KB at most.
const MAX_BREAKERS = 2000;

// A server that answered, slowly or with a refusal, was reached.
const UNREACHABLE: ReadonlySet<OutboundFailure> = new Set<OutboundFailure>(["dns", "connect", "tls"]);

interface Unreachable {
  readonly breaker: CircuitBreaker;
  readonly lastStep: string;
}

interface Attempt {
  readonly response: OutboundResponse | null;
  readonly failure: OutboundFailure | null;
}

/** One request on its way, with what every target gets of it. */
interface Asking {
  readonly server: ServerName;
  readonly path: string;
  readonly signal: AbortSignal;
  readonly steps: string[];
}

/** GET requests to federation APIs, without authentication. */
export class FederationClient {
  readonly #options: FederationClientOptions;
  // By the exact name: another spelling may be a way around the operator's overrides, and what is learnt there must not
  // be held against the real one.
  readonly #unreachable = new BoundedMap<ServerName, Unreachable>(MAX_BREAKERS);

  constructor(options: FederationClientOptions) {
    this.#options = options;
  }

  /** Servers that could not be reached lately: at most 5,000. */
  get unreachable(): number {
    return this.#unreachable.size;
  }

  /**
   * Asks, unless the server could not be reached a moment ago.
   *
   * @param path Path and query; the query is never part of the steps.
   * @param signal The deadline of the whole: resolution, every target, and the one retry.
   */
  async get(server: ServerName, path: string, signal: AbortSignal): Promise<FederationOutcome> {
    const known = this.#unreachable.get(server);
    if (known !== undefined && !known.breaker.tryPass()) {
      return { outcome: "not-asked", steps: ["not asked again, after a moment ago:", known.lastStep] };
    }
    const startedAt = this.#options.clock.monotonicNow();
    const asking = { server, path, signal, steps: [] };
    const { response, failure } = await this.#ask(asking);
    this.#learn(asking, failure, startedAt);
    const { steps } = asking;
    return response === null
      ? { outcome: "no-answer", failure: failure ?? "dns", steps }
      : { outcome: "answer", response, steps };
  }

  #learn({ server, steps }: Asking, failure: OutboundFailure | null, startedAt: number): void {
    if (failure === null || !UNREACHABLE.has(failure)) return void this.#unreachable.delete(server);
    const breaker = this.#unreachable.get(server)?.breaker ?? new CircuitBreaker({
      clock: this.#options.clock,
      pauseMs: (_failures, tookMs) => Math.min(Math.max(tookMs, MIN_PAUSE_MS), MAX_PAUSE_MS),
      trialMs: TRIAL_MS,
    });
    breaker.fail(startedAt);
    this.#unreachable.set(server, { breaker, lastStep: steps.at(-1) ?? "" });
  }

  async #ask(asking: Asking): Promise<Attempt> {
    const { clock } = this.#options;
    for (let attempt = 1;; attempt++) {
      const startedAt = clock.monotonicNow();
      const result = await this.#attempt(asking);
      const isPassing = result.failure === "connect" || result.failure === "reset" ||
        (result.response !== null && result.response.status >= 500);
      const isQuick = clock.monotonicNow() - startedAt < RETRY_WITHIN_MS;
      const isBroken = result.failure === "reset";
      if (attempt > 1 || !isPassing || !isQuick && !isBroken || asking.signal.aborted) return result;
      // A kept-alive connection that the server had just closed is no sign of a fault: no pause.
      if (!isBroken) await this.#pause(asking.signal);
      asking.steps.push("tried once more");
    }
  }

  async #attempt(asking: Asking): Promise<Attempt> {
    const { targets, steps } = await this.#options.discovery.resolve(asking.server);
    if (asking.steps.length === 0) asking.steps.push(...steps);
    let last: Attempt = { response: null, failure: "dns" };
    for (const target of targets) {
      last = await this.#dial(asking, target);
      const isUnreachable = last.failure === "connect" || last.failure === "dns" || last.failure === "blocked";
      if (!isUnreachable || asking.signal.aborted) break;
    }
    return last;
  }

  async #dial({ server, path, signal, steps }: Asking, target: Target): Promise<Attempt> {
    const [shownPath = ""] = path.split("?");
    const origin = `${target.secure ? "https" : "http"}://${formatHostAndPort(target.host, target.port)}`;
    const where = `${origin}${target.basePath}${shownPath}`;
    try {
      const response = await this.#options.outbound.send({
        method: "GET",
        ...target,
        path: `${target.basePath}${path}`,
        rule: ruleBeyond(this.#options.ruleFor(server), serverNameParts(server).hostname, target.host),
        headers: { accept: "application/json" },
        maxResponseBytes: MAX_RESPONSE_BYTES,
        signal,
        connectTimeoutMs: CONNECT_TIMEOUT_MS,
        ...(this.#options.isKnown?.(server) ? { maxConnections: MAX_CONNECTIONS_TO_KNOWN_HOST } : {}),
      });
      steps.push(stepOf(`${where} (${response.address ?? "by proxy"}): status ${response.status}`));
      return { response, failure: null };
    } catch (error) {
      if (!(error instanceof OutboundError)) throw error;
      steps.push(stepOf(`${where}: ${error.message}`));
      return { response: null, failure: error.failure };
    }
  }

  async #pause(signal: AbortSignal): Promise<void> {
    try {
      await this.#options.clock.sleep(RETRY_PAUSE_MS * (0.5 + this.#options.random()), signal);
    } catch {
      // The deadline passed: the next attempt ends at once, with a step of its own.
    }
  }
}
