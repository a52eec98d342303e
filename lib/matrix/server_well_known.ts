// `/.well-known/matrix/server`: where a server delegates its federation traffic, remembered as long as its headers
// allow, and kept through a blip.

import * as v from "valibot";
import type { Loaded } from "../cache/loading_cache.ts";
import type { DialRule } from "../net/address_guard.ts";
import type { Outbound, OutboundResponse } from "../net/client.ts";
import { fetchDocument } from "./well_known.ts";
import { parseServerName, type ServerName } from "./server_name.ts";

/** What a host's well-known document says, and how that is known. */
export interface WellKnown {
  /** The name it delegates to; null when there is no valid document. */
  readonly delegate: ServerName | null;
  /** One line for the log: what was asked and what came back. */
  readonly story: string;
  /** When the valid document was fetched, in ms of the monotonic clock; null without one. */
  readonly fetchedAt: number | null;
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

const Document = v.object({ "m.server": v.string() });

/** What a look-up needs from outside. */
export interface WellKnownDeps {
  readonly outbound: Outbound;
  readonly now: () => number;
  readonly monotonicNow: () => number;
}

/**
 * Fetches the document of a host.
 *
 * Source: Matrix server-server API, "Resolving server names", step 3. Times to live: `Cache-Control: max-age`, else
 * `Expires`, 24 h by default, from 5 min to 48 h; a definitive failure 1 h, a transient one 30 s. A transient failure
 * keeps the stale document while that is under 48 h old.
 */
export async function fetchWellKnown(
  hostname: string,
  rule: DialRule,
  deps: WellKnownDeps,
  stale: WellKnown | undefined,
): Promise<Loaded<WellKnown>> {
  const first = `https://${hostname}/.well-known/matrix/server`;
  const fetched = await fetchDocument(first, rule, TIMEOUT_MS, deps.outbound);
  if (fetched.outcome === "failed") {
    const story = `${fetched.url}: ${fetched.failure}`;
    if (!fetched.isTransient) return absent(story);
    const kept = keepThroughBlip(stale, story, deps.monotonicNow());
    return { value: kept ?? { delegate: null, story, fetchedAt: null }, ttlMs: TRANSIENT_TTL_MS };
  }
  const { url, response, json } = fetched;
  const document = v.safeParse(Document, json);
  if (!document.success) return absent(`${url}: status 200, but no text "m.server"`);
  const delegate = parseServerName(document.output["m.server"]);
  if (delegate === null) return absent(`${url}: status 200, but "m.server" is no server name`);
  return {
    value: { delegate, story: `${url}: delegates to ${delegate}`, fetchedAt: deps.monotonicNow() },
    ttlMs: timeToLiveMs(response, deps.now()),
  };
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

function absent(story: string): Loaded<WellKnown> {
  return { value: { delegate: null, story, fetchedAt: null }, ttlMs: ABSENT_TTL_MS };
}

function keepThroughBlip(stale: WellKnown | undefined, story: string, now: number): WellKnown | null {
  if (stale?.delegate == null || stale.fetchedAt === null || now - stale.fetchedAt >= MAX_TTL_MS) return null;
  return { ...stale, story: `${story}; kept: delegates to ${stale.delegate}` };
}
