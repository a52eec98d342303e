// Asks a homeserver's federation API: finds the server, dials its targets in order, tries once more after a passing
// fault, and keeps the whole story for the one log record that an operator will read.

import { type DialRule, ruleBeyond } from "../net/address_guard.ts";
import { MAX_CONNECTIONS_TO_KNOWN_HOST, type Outbound, type OutboundResponse } from "../net/client.ts";
import { formatHostAndPort } from "../net/endpoint.ts";
import { OutboundError } from "../net/outbound_error.ts";
import { Outages } from "./circuit_breaker.ts";
import type { ServerDiscovery, Target } from "./server_discovery.ts";
import { type ServerName, serverNameParts } from "./server_name.ts";

/** What came of a request: an answer with its story, or no answer. */
export type FederationOutcome =
  | { readonly outcome: "answer"; readonly response: OutboundResponse; readonly story: readonly string[] }
  | {
    readonly outcome: "no-answer";
    readonly story: readonly string[];
    readonly blocked: boolean;
    /** Told from memory: nothing was sent. */
    readonly remembered: boolean;
  };

/** What the client needs from outside. */
export interface FederationClientDeps {
  readonly outbound: Outbound;
  readonly discovery: Pick<ServerDiscovery, "resolve">;
  readonly ruleFor: (serverName: string) => DialRule;
  /** Whether a server is worth many connections: one that the operator named, or that has vouched for a user. */
  readonly isKnown?: (server: ServerName) => boolean;
  readonly monotonicNow: () => number;
  readonly sleep: (durationMs: number, signal: AbortSignal) => Promise<void>;
  readonly random: () => number;
}

const MAX_RESPONSE_BYTES = 64 * 1024;
const CONNECT_TIMEOUT_MS = 4000;

// A homeserver that restarts refuses connections for a moment; what failed slowly is not worth a second wait.
const RETRY_WITHIN_MS = 3000;
const RETRY_PAUSE_MS = 250;

/** GET requests to federation APIs, without authentication. */
export class FederationClient {
  readonly #deps: FederationClientDeps;
  readonly #outages: Outages;

  constructor(deps: FederationClientDeps) {
    this.#deps = deps;
    this.#outages = new Outages(deps.monotonicNow);
  }

  /**
   * Asks, unless the server could not be reached a moment ago.
   *
   * @param path Path and query; the query is never part of the story.
   * @param signal The deadline of the whole: resolution, every target, and the one retry.
   */
  async get(server: ServerName, path: string, signal: AbortSignal): Promise<FederationOutcome> {
    const outage = this.#outages.current(server);
    if (outage !== null) return { outcome: "no-answer", story: outage.story, blocked: false, remembered: true };
    const startedAt = this.#deps.monotonicNow();
    const { response, failure, story } = await this.#ask(server, path, signal);
    this.#outages.learn(server, failure, story, this.#deps.monotonicNow() - startedAt);
    return response === null
      ? { outcome: "no-answer", story, blocked: failure === "blocked", remembered: false }
      : { outcome: "answer", response, story };
  }

  async #ask(server: ServerName, path: string, signal: AbortSignal): Promise<Attempt & { story: readonly string[] }> {
    const story: string[] = [];
    for (let attempt = 1;; attempt++) {
      const startedAt = this.#deps.monotonicNow();
      const result = await this.#attempt(server, path, signal, story);
      const isPassing = result.failure === "connect" || result.failure === "reset" ||
        (result.response !== null && result.response.status >= 500);
      const isQuick = this.#deps.monotonicNow() - startedAt < RETRY_WITHIN_MS;
      if (attempt > 1 || !isPassing || !isQuick || signal.aborted) return { ...result, story };
      // A kept-alive connection that the server had just closed says nothing about the server: no pause.
      if (result.failure !== "reset") await this.#pause(signal);
      story.push("tried once more");
    }
  }

  async #attempt(server: ServerName, path: string, signal: AbortSignal, story: string[]): Promise<Attempt> {
    const { targets, story: steps } = await this.#deps.discovery.resolve(server);
    if (story.length === 0) story.push(...steps);
    let last: Attempt = { response: null, failure: "dns" };
    for (const target of targets) {
      last = await this.#dial(server, target, path, signal, story);
      const isUnreachable = last.failure === "connect" || last.failure === "dns" || last.failure === "blocked";
      if (!isUnreachable || signal.aborted) break;
    }
    return last;
  }

  async #dial(
    server: ServerName,
    target: Target,
    path: string,
    signal: AbortSignal,
    story: string[],
  ): Promise<Attempt> {
    const where = `${target.secure ? "https" : "http"}://${formatHostAndPort(target.host, target.port)}`;
    try {
      const response = await this.#deps.outbound.send({
        method: "GET",
        ...target,
        path: `${target.basePath}${path}`,
        rule: ruleBeyond(this.#deps.ruleFor(server), serverNameParts(server).hostname, target.host),
        headers: { accept: "application/json" },
        maxResponseBytes: MAX_RESPONSE_BYTES,
        signal,
        connectTimeoutMs: CONNECT_TIMEOUT_MS,
        ...(this.#deps.isKnown?.(server) ? { maxConnections: MAX_CONNECTIONS_TO_KNOWN_HOST } : {}),
      });
      story.push(`${where} (${response.address ?? "by proxy"}): status ${response.status}`);
      return { response, failure: null };
    } catch (error) {
      if (!(error instanceof OutboundError)) throw error;
      story.push(`${where}: ${error.message}`);
      return { response: null, failure: error.failure };
    }
  }

  async #pause(signal: AbortSignal): Promise<void> {
    try {
      await this.#deps.sleep(RETRY_PAUSE_MS * (0.5 + this.#deps.random()), signal);
    } catch {
      // The deadline passed: the next attempt ends at once and says so.
    }
  }
}

interface Attempt {
  readonly response: OutboundResponse | null;
  readonly failure: OutboundError["failure"] | null;
}
