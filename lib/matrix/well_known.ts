// `/.well-known/matrix/server`: where a server delegates its federation traffic, fetched over verified TLS with
// redirects, remembered as long as its headers allow, and kept through a blip.

import * as v from "valibot";
import type { DialRule } from "../net/address_guard.ts";
import { type Outbound, OutboundError, type OutboundResponse } from "../net/client.ts";
import { type Loaded } from "../flight_cache.ts";
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

const MAX_BODY_BYTES = 50 * 1024;
const MAX_REDIRECTS = 5;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

// Well below the deadline of the exchange: when this host hangs, SRV and port 8448 still get their turn.
export const WELL_KNOWN_TIMEOUT_MS = 3500;

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
  signal: AbortSignal,
  deps: WellKnownDeps,
  stale: WellKnown | undefined,
): Promise<Loaded<WellKnown>> {
  const fetched = await follow(hostname, rule, signal, deps.outbound);
  if ("failure" in fetched) {
    const story = `${fetched.url}: ${fetched.failure}`;
    if (!fetched.transient) return { value: { delegate: null, story, fetchedAt: null }, ttlMs: ABSENT_TTL_MS };
    const kept = keepThroughBlip(stale, story, deps.monotonicNow());
    return { value: kept ?? { delegate: null, story, fetchedAt: null }, ttlMs: TRANSIENT_TTL_MS };
  }
  const { url, response, delegate } = fetched;
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

type Fetched =
  | { url: string; response: OutboundResponse; delegate: ServerName }
  | { url: string; failure: string; transient: boolean };

async function follow(hostname: string, rule: DialRule, signal: AbortSignal, outbound: Outbound): Promise<Fetched> {
  const first = `https://${hostname}/.well-known/matrix/server`;
  // The grammar of server names lets through what no URL may hold, such as "example.123".
  if (!URL.canParse(first)) return { url: first, failure: "no valid host name", transient: false };
  const seen = new Set<string>();
  let url = new URL(first);
  for (;;) {
    seen.add(url.href);
    // The query of a redirect target is somebody's data: it is followed, but not written down.
    const shown = `${url.origin}${url.pathname}`;
    const failed = (failure: string, transient = false) => ({ url: shown, failure, transient });

    let response: OutboundResponse;
    try {
      response = await outbound.send(getRequest(url, rule, signal));
    } catch (error) {
      if (!(error instanceof OutboundError)) throw error;
      return failed(error.message, error.failure !== "too-large");
    }
    if (!REDIRECTS.has(response.status)) return read(shown, response);

    const location = response.headers.location ?? "";
    if (!URL.canParse(location, url)) return failed(`redirect ${response.status} without a valid Location`);
    url = new URL(location, url);
    if (url.protocol !== "https:") return failed(`redirect to "${url.origin}", expected https`);
    if (seen.has(url.href)) return failed("redirect loop");
    if (seen.size > MAX_REDIRECTS) return failed(`more than ${MAX_REDIRECTS} redirects`);
  }
}

function read(url: string, response: OutboundResponse): Fetched {
  const failed = (failure: string, transient = false): Fetched => ({ url, failure, transient });
  const { status } = response;
  if (status !== 200) return failed(`status ${status}`, status >= 500 || status === 429 || status === 408);
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(response.body));
  } catch {
    return failed("status 200, but the body is not JSON");
  }
  const document = v.safeParse(Document, json);
  if (!document.success) return failed('status 200, but no text "m.server"');
  const delegate = parseServerName(document.output["m.server"]);
  if (delegate === null) return failed('status 200, but "m.server" is no server name');
  return { url, response, delegate };
}

function getRequest(url: URL, rule: DialRule, signal: AbortSignal) {
  const host = url.hostname.replace(/^\[|\]$/g, "");
  return {
    method: "GET" as const,
    secure: true,
    host,
    port: url.port === "" ? 443 : Number(url.port),
    path: `${url.pathname}${url.search}`,
    hostHeader: url.host,
    tlsName: host === url.hostname && !/^[\d.]+$/.test(host) ? host : null,
    rule,
    headers: { accept: "application/json" },
    maxResponseBytes: MAX_BODY_BYTES,
    signal,
    connectTimeoutMs: WELL_KNOWN_TIMEOUT_MS,
  };
}

function keepThroughBlip(stale: WellKnown | undefined, story: string, now: number): WellKnown | null {
  if (stale?.delegate == null || stale.fetchedAt === null || now - stale.fetchedAt >= MAX_TTL_MS) return null;
  return { ...stale, story: `${story}; kept: delegates to ${stale.delegate}` };
}
