// `/.well-known/matrix/server`: where a server delegates its federation traffic, remembered as long as its headers
// allow, and kept through a blip.

import * as v from "valibot";
import type { Clock } from "../async/clock.ts";
import { type CacheCounts, type Loaded, LoadingCache } from "../cache/loading_cache.ts";
import type { DialRule } from "../net/address_guard.ts";
import type { Outbound, OutboundResponse } from "../net/client.ts";
import { parseServerName, type ServerName } from "./server_name.ts";
import { stepOf } from "./steps.ts";
import { DocumentFetcher } from "./well_known.ts";

/** The content of a host's well-known document, and how it was found. */
export interface WellKnown {
  /** The name it delegates to; null when there is no valid document. */
  readonly delegate: ServerName | null;
  /** What was asked and what came back, for the log. */
  readonly step: string;
}

// Well below the deadline of the exchange: when this host hangs, SRV and port 8448 still get their turn.
const TIMEOUT_MS = 3500;

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DEFAULT_TTL_MS = 24 * HOUR_MS;
const MIN_TTL_MS = 5 * MINUTE_MS;
const MAX_TTL_MS = 48 * HOUR_MS;
const ABSENT_TTL_MS = HOUR_MS;
const TRANSIENT_TTL_MS = 30_000;

// A key and a value have two server names and a step: 0.9 KB at most.
const CACHED_SERVERS = 2000;

const Document = v.object({ "m.server": v.string() });

/** What look-ups need from outside. */
export interface ServerWellKnownsOptions {
  readonly outbound: Outbound;
  readonly clock: Clock;
}

/**
 * Looks documents up, remembering them.
 *
 * Source: Matrix server-server API, "Resolving server names", step 3. Times to live: `Cache-Control: max-age`, else
 * `Expires`, 24 h by default, from 5 min to 48 h; a definitive failure 1 h, a transient one 30 s. A transient failure
 * keeps a document that is under 48 h old.
 */
export class ServerWellKnowns {
  readonly #documents: DocumentFetcher;
  readonly #clock: Clock;
  readonly #cache: LoadingCache<WellKnown>;

  constructor({ outbound, clock }: ServerWellKnownsOptions) {
    this.#documents = new DocumentFetcher(outbound, clock, TIMEOUT_MS);
    this.#clock = clock;
    this.#cache = new LoadingCache({
      capacity: CACHED_SERVERS,
      clock,
      maxStaleMs: MAX_TTL_MS,
      keep: ({ delegate }, failure) =>
        delegate === null ? failure : { delegate, step: stepOf(`${failure.step}; kept: delegates to ${delegate}`) },
    });
  }

  /** How often a look-up was saved. */
  get cacheCounts(): CacheCounts {
    return this.#cache.counts;
  }

  /** Never rejects for what a remote server does. */
  find(hostname: string, rule: DialRule): Promise<WellKnown> {
    // The rule is part of the key: what one server name may reach, another may not.
    return this.#cache.get(`${rule} ${hostname}`, () => this.#load(hostname, rule));
  }

  async #load(hostname: string, rule: DialRule): Promise<Loaded<WellKnown>> {
    const fetched = await this.#documents.fetch(`https://${hostname}/.well-known/matrix/server`, rule);
    if (fetched.outcome === "failed") {
      const { step, isTransient } = fetched;
      return isTransient
        ? { value: { delegate: null, step }, ttlMs: TRANSIENT_TTL_MS, isFailure: true }
        : { value: { delegate: null, step }, ttlMs: ABSENT_TTL_MS };
    }
    const { url, response, json } = fetched;
    const absent = (why: string) => ({
      value: { delegate: null, step: stepOf(`${url}: status 200, but ${why}`) },
      ttlMs: ABSENT_TTL_MS,
    });
    const document = v.safeParse(Document, json);
    if (!document.success) return absent('no text "m.server"');
    const delegate = parseServerName(document.output["m.server"]);
    if (delegate === null) return absent('"m.server" is no server name');
    return {
      value: { delegate, step: stepOf(`${url}: delegates to ${delegate}`) },
      ttlMs: timeToLiveMs(response, this.#clock.now()),
    };
  }
}

/** How long a valid document may be served, in ms. Source: RFC 9111, bounds from the Matrix specification. */
export function timeToLiveMs(response: Pick<OutboundResponse, "headers">, now: number): number {
  const maxAge = /(?:^|[\s,])max-age\s*=\s*"?(\d{1,10})/i.exec(response.headers["cache-control"] ?? "");
  const expires = response.headers.expires;
  let ttlMs = DEFAULT_TTL_MS;
  if (maxAge !== null) ttlMs = Number(maxAge[1]) * 1000;
  else if (expires !== undefined) {
    const at = Date.parse(expires);
    // An unparsable date means "already expired" (RFC 9111, 5.3).
    ttlMs = Number.isNaN(at) ? 0 : at - now;
  }
  return Math.min(Math.max(ttlMs, MIN_TTL_MS), MAX_TTL_MS);
}
