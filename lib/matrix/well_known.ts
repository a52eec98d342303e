// Fetches a JSON document by HTTPS with redirects followed by hand: each hop is https, is seen once, and passes the
// address guard. Both well-known documents come this way.

import type { Clock } from "../async/clock.ts";
import { Deadlines } from "../async/deadline.ts";
import { type DialRule, ruleBeyond } from "../net/address_guard.ts";
import { dialOf } from "../net/endpoint.ts";
import type { Outbound, OutboundRequest, OutboundResponse } from "../net/client.ts";
import { parseJson } from "../net/json.ts";
import { OutboundError } from "../net/outbound_error.ts";
import { stepOf } from "./steps.ts";

/** A document, or the step that shows why there is none. `url` is where it ended, its query left out. */
export type FetchedDocument =
  | { readonly outcome: "document"; readonly url: string; readonly response: OutboundResponse; readonly json: unknown }
  | { readonly outcome: "failed"; readonly step: string; readonly isTransient: boolean };

const MAX_BODY_BYTES = 50 * 1024;
const MAX_REDIRECTS = 5;
// Those of real servers have some fifty characters; each is sent on to where it leads.
const MAX_LOCATION_CHARACTERS = 1024;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

/** Fetches documents, each within one time for all of its hops. */
export class DocumentFetcher {
  readonly #outbound: Outbound;
  readonly #deadlines: Deadlines;

  /** @param timeoutMs For all hops together; a host that hangs is a transient failure like any other. */
  constructor(outbound: Outbound, clock: Clock, timeoutMs: number) {
    this.#outbound = outbound;
    this.#deadlines = new Deadlines(timeoutMs, clock);
  }

  /**
   * Fetches the document of a URL.
   *
   * @param first An https URL as text; it may be no URL at all, since server names hold what no URL may.
   */
  async fetch(first: string, rule: DialRule): Promise<FetchedDocument> {
    // The grammar of server names lets through what no URL may hold, such as "example.123".
    if (!URL.canParse(first)) return failed(first, "no valid host name");
    return await this.#deadlines.run((signal) => this.#follow(new URL(first), rule, signal));
  }

  async #follow(first: URL, rule: DialRule, signal: AbortSignal): Promise<FetchedDocument> {
    const seen = new Set<string>();
    let url = first;
    for (;;) {
      seen.add(url.href);
      // The query of a redirect target is somebody's data: it is followed, but not written down.
      const shown = `${url.origin}${url.pathname}`;
      let response: OutboundResponse;
      try {
        response = await this.#outbound.send(getRequest(url, ruleBeyond(rule, first.hostname, url.hostname), signal));
      } catch (error) {
        if (!(error instanceof OutboundError)) throw error;
        return failed(shown, error.message, error.failure !== "too-large");
      }
      const { status, headers: { location = "" } } = response;
      if (!REDIRECTS.has(status)) return read(shown, response);

      if (location.length > MAX_LOCATION_CHARACTERS) {
        return failed(shown, `redirect ${status} with a Location over ${MAX_LOCATION_CHARACTERS} characters`);
      }
      if (!URL.canParse(location, url)) return failed(shown, `redirect ${status} without a valid Location`);
      url = new URL(location, url);
      if (url.protocol !== "https:") return failed(shown, `redirect to "${url.origin}", expected https`);
      if (seen.has(url.href)) return failed(shown, "redirect loop");
      if (seen.size > MAX_REDIRECTS) return failed(shown, `more than ${MAX_REDIRECTS} redirects`);
    }
  }
}

function read(url: string, response: OutboundResponse): FetchedDocument {
  const { status } = response;
  if (status !== 200) return failed(url, `status ${status}`, status >= 500 || status === 429 || status === 408);
  const json = parseJson(response.body);
  if (json === undefined) return failed(url, "status 200, but the body is not JSON");
  return { outcome: "document", url, response, json };
}

function failed(url: string, failure: string, isTransient = false): FetchedDocument {
  return { outcome: "failed", step: stepOf(`${url}: ${failure}`), isTransient };
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
