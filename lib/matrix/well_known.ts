// Fetches a JSON document by HTTPS with redirects followed by hand: each hop is https, is seen once, and passes the
// address guard. Both well-known documents come this way.

import { DeadlineError, withDeadline } from "../async/deadline.ts";
import { type DialRule, ruleBeyond } from "../net/address_guard.ts";
import { dialOf } from "../net/endpoint.ts";
import type { Outbound, OutboundRequest, OutboundResponse } from "../net/client.ts";
import { OutboundError } from "../net/outbound_error.ts";

/** A document, or why there is none. `url` is where it ended, its query left out. */
export type FetchedDocument =
  | { readonly outcome: "document"; readonly url: string; readonly response: OutboundResponse; readonly json: unknown }
  | { readonly outcome: "failed"; readonly url: string; readonly failure: string; readonly isTransient: boolean };

const MAX_BODY_BYTES = 50 * 1024;
const MAX_REDIRECTS = 5;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

/**
 * Fetches the document of a URL.
 *
 * @param first An https URL as text; it may be no URL at all, since server names hold what no URL may.
 * @param timeoutMs For all hops together; a host that hangs is a transient failure like any other.
 */
export async function fetchDocument(
  first: string,
  rule: DialRule,
  timeoutMs: number,
  outbound: Outbound,
): Promise<FetchedDocument> {
  // The grammar of server names lets through what no URL may hold, such as "example.123".
  if (!URL.canParse(first)) return failed(first, "no valid host name");
  try {
    return await withDeadline(timeoutMs, (signal) => follow(first, rule, signal, outbound));
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    return failed(first, error.message, true);
  }
}

async function follow(
  first: string,
  rule: DialRule,
  signal: AbortSignal,
  outbound: Outbound,
): Promise<FetchedDocument> {
  const seen = new Set<string>();
  const { hostname } = new URL(first);
  let url = new URL(first);
  for (;;) {
    seen.add(url.href);
    // The query of a redirect target is somebody's data: it is followed, but not written down.
    const shown = `${url.origin}${url.pathname}`;
    let response: OutboundResponse;
    try {
      response = await outbound.send(getRequest(url, ruleBeyond(rule, hostname, url.hostname), signal));
    } catch (error) {
      if (!(error instanceof OutboundError)) throw error;
      return failed(shown, error.message, error.failure !== "too-large");
    }
    if (!REDIRECTS.has(response.status)) return read(shown, response);

    const location = response.headers.location ?? "";
    if (!URL.canParse(location, url)) return failed(shown, `redirect ${response.status} without a valid Location`);
    url = new URL(location, url);
    if (url.protocol !== "https:") return failed(shown, `redirect to "${url.origin}", expected https`);
    if (seen.has(url.href)) return failed(shown, "redirect loop");
    if (seen.size > MAX_REDIRECTS) return failed(shown, `more than ${MAX_REDIRECTS} redirects`);
  }
}

function read(url: string, response: OutboundResponse): FetchedDocument {
  const { status } = response;
  if (status !== 200) return failed(url, `status ${status}`, status >= 500 || status === 429 || status === 408);
  try {
    const json: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(response.body));
    return { outcome: "document", url, response, json };
  } catch {
    return failed(url, "status 200, but the body is not JSON");
  }
}

function failed(url: string, failure: string, isTransient = false): FetchedDocument {
  return { outcome: "failed", url, failure, isTransient };
}

function getRequest(url: URL, rule: DialRule, signal: AbortSignal): OutboundRequest {
  return {
    ...dialOf(url),
    method: "GET",
    path: `${url.pathname}${url.search}`,
    rule,
    headers: { accept: "application/json" },
    maxResponseBytes: MAX_BODY_BYTES,
    signal,
  };
}
