// The client-server API of a homeserver: an address that the operator gave, or the one that the server's well-known
// document names. Source: Matrix client-server API, "Server discovery".

import * as v from "valibot";
import { FlightCache, type Loaded } from "../cache/loading_cache.ts";
import { type DialRule, ruleBeyond } from "../net/address_guard.ts";
import { withBrackets, withoutBrackets } from "../net/endpoint.ts";
import type { Outbound } from "../net/client.ts";
import { fetchDocument } from "./well_known.ts";
import { type ServerName, serverNameParts } from "./server_name.ts";

/** Where a homeserver's client-server API is. */
export interface ClientApi {
  readonly baseUrl: URL;
  /** How far the guard lets calls go. */
  readonly rule: DialRule;
}

/** A client-server API, or the story of why there is none. */
export type ClientApiOutcome =
  | { readonly outcome: "found"; readonly api: ClientApi }
  | { readonly outcome: "not-found"; readonly story: readonly string[] };

/** What discovery needs from outside. */
export interface ClientDiscoveryDeps {
  readonly outbound: Outbound;
  readonly ruleFor: (serverName: string) => DialRule;
  readonly monotonicNow: () => number;
  /** Addresses given by the operator: server name to base URL. */
  readonly overrides: ReadonlyMap<string, URL>;
}

const CACHED_SERVERS = 5000;
const FOUND_TTL_MS = 4 * 60 * 60_000;
const NOT_FOUND_TTL_MS = 30_000;
// As long as a server's federation address is kept through a blip.
const MAX_STALE_MS = 48 * 60 * 60_000;
const TIMEOUT_MS = 5000;

const Document = v.object({ "m.homeserver": v.object({ base_url: v.string() }) });

interface Kept {
  readonly outcome: ClientApiOutcome;
  /** When the document was fetched that it comes from, ms of the monotonic clock. */
  readonly fetchedAt: number;
}

/** Finds client-server APIs, remembering them for 4 h. */
export class ClientDiscovery {
  readonly #deps: ClientDiscoveryDeps;
  readonly #outcomes: FlightCache<Kept>;

  constructor(deps: ClientDiscoveryDeps) {
    this.#deps = deps;
    this.#outcomes = new FlightCache({ capacity: CACHED_SERVERS, monotonicNow: deps.monotonicNow });
  }

  /** Never rejects for what a remote server does. */
  async find(server: ServerName): Promise<ClientApiOutcome> {
    const override = this.#deps.overrides.get(server);
    if (override !== undefined) return { outcome: "found", api: { baseUrl: override, rule: "internal" } };
    return (await this.#outcomes.getOrLoad(server, (stale) => this.#load(server, stale))).outcome;
  }

  async #load(server: ServerName, stale: Kept | undefined): Promise<Loaded<Kept>> {
    const rule = this.#deps.ruleFor(server);
    const { hostname, port } = serverNameParts(server);
    const host = withBrackets(hostname);
    const story: string[] = [];
    // The specification knows the host name alone; services before this one asked at the server name's own port too.
    for (const authority of port === null ? [host] : [host, `${host}:${port}`]) {
      const first = `https://${authority}/.well-known/matrix/client`;
      const fetched = await fetchDocument(first, rule, TIMEOUT_MS, this.#deps.outbound);
      if (fetched.outcome === "failed") {
        story.push(`${fetched.url}: ${fetched.failure}`);
      } else {
        const baseUrl = readBaseUrl(fetched.json);
        if (typeof baseUrl !== "string") {
          const api = { baseUrl, rule: ruleBeyond(rule, hostname, withoutBrackets(baseUrl.hostname)) };
          const outcome = { outcome: "found", api } as const;
          return { value: { outcome, fetchedAt: this.#deps.monotonicNow() }, ttlMs: FOUND_TTL_MS };
        }
        story.push(`${fetched.url}: ${baseUrl}`);
      }
    }
    // A blip must not cost a job its homeserver.
    const now = this.#deps.monotonicNow();
    const isWorthKeeping = stale?.outcome.outcome === "found" && now - stale.fetchedAt < MAX_STALE_MS;
    const value = isWorthKeeping ? stale : { outcome: { outcome: "not-found", story } as const, fetchedAt: now };
    return { value, ttlMs: NOT_FOUND_TTL_MS };
  }
}

/** The base URL, or why the document has none. */
function readBaseUrl(json: unknown): URL | string {
  const document = v.safeParse(Document, json);
  if (!document.success) return 'no text "base_url" in "m.homeserver"';
  const text = document.output["m.homeserver"].base_url;
  if (!URL.canParse(text)) return '"base_url" is no URL';
  const url = new URL(text);
  // Whoever controls a document must not make the service speak plain HTTP to a host of their choice.
  if (url.protocol !== "https:") return '"base_url" is not https';
  return url;
}
