// The client-server API of a homeserver: an address that the operator gave, or the one that the server's well-known
// document names. Source: Matrix client-server API, "Server discovery".

import * as v from "valibot";
import type { Clock } from "../async/clock.ts";
import { type CacheCounts, type Loaded, LoadingCache } from "../cache/loading_cache.ts";
import { type DialRule, ruleBeyond } from "../net/address_guard.ts";
import { withBrackets, withoutBrackets } from "../net/endpoint.ts";
import type { Outbound } from "../net/client.ts";
import { type ServerName, serverNameParts } from "./server_name.ts";
import { stepOf } from "./steps.ts";
import { DocumentFetcher } from "./well_known.ts";

/** Where a homeserver's client-server API is. */
export interface ClientApi {
  readonly baseUrl: URL;
  /** How far the guard lets calls go. */
  readonly rule: DialRule;
}

/** A client-server API, or the steps that show why there is none. */
export type ClientApiOutcome =
  | { readonly outcome: "found"; readonly api: ClientApi }
  | { readonly outcome: "not-found"; readonly steps: readonly string[] };

/** What discovery needs from outside. */
export interface ClientDiscoveryOptions {
  readonly outbound: Outbound;
  readonly ruleFor: (serverName: string) => DialRule;
  readonly clock: Clock;
  /** Addresses given by the operator: server name to base URL. */
  readonly overrides: ReadonlyMap<string, URL>;
}

// A key and a value have a server name, and a base URL or two steps: 1.5 KB at most.
const CACHED_SERVERS = 1000;
const FOUND_TTL_MS = 4 * 60 * 60_000;
const NOT_FOUND_TTL_MS = 30_000;
// As long as a server's federation address is kept through a blip, which must not cost a job its homeserver.
const MAX_STALE_MS = 48 * 60 * 60_000;
const TIMEOUT_MS = 5000;
const MAX_BASE_URL_CHARACTERS = 1024;

const Document = v.object({ "m.homeserver": v.object({ base_url: v.string() }) });

/** Finds client-server APIs, remembering them for 4 h. */
export class ClientDiscovery {
  readonly #options: ClientDiscoveryOptions;
  readonly #documents: DocumentFetcher;
  readonly #outcomes: LoadingCache<ClientApiOutcome>;

  constructor(options: ClientDiscoveryOptions) {
    const { outbound, clock } = options;
    this.#options = options;
    this.#documents = new DocumentFetcher(outbound, clock, TIMEOUT_MS);
    this.#outcomes = new LoadingCache({
      capacity: CACHED_SERVERS,
      clock,
      maxStaleMs: MAX_STALE_MS,
    });
  }

  /** How often a look-up was saved. */
  get cacheCounts(): CacheCounts {
    return this.#outcomes.counts;
  }

  /** Never rejects for what a remote server does. */
  find(server: ServerName): Promise<ClientApiOutcome> {
    const override = this.#options.overrides.get(server);
    if (override !== undefined) {
      return Promise.resolve({ outcome: "found", api: { baseUrl: override, rule: "internal" } });
    }
    return this.#outcomes.get(server, () => this.#load(server));
  }

  async #load(server: ServerName): Promise<Loaded<ClientApiOutcome>> {
    const rule = this.#options.ruleFor(server);
    const { hostname, port } = serverNameParts(server);
    const host = withBrackets(hostname);
    const steps: string[] = [];
    // The specification knows the host name alone; services before this one asked at the server name's own port too.
    for (const authority of port === null ? [host] : [host, `${host}:${port}`]) {
      const fetched = await this.#documents.fetch(`https://${authority}/.well-known/matrix/client`, rule);
      if (fetched.outcome === "failed") {
        steps.push(fetched.step);
        continue;
      }
      const base = readBaseUrl(fetched.json);
      if (base.ok) {
        const api = { baseUrl: base.url, rule: ruleBeyond(rule, hostname, withoutBrackets(base.url.hostname)) };
        return { value: { outcome: "found", api }, ttlMs: FOUND_TTL_MS };
      }
      steps.push(stepOf(`${fetched.url}: ${base.reason}`));
    }
    return { value: { outcome: "not-found", steps }, ttlMs: NOT_FOUND_TTL_MS, isFailure: true };
  }
}

type BaseUrl = { readonly ok: true; readonly url: URL } | { readonly ok: false; readonly reason: string };

function readBaseUrl(json: unknown): BaseUrl {
  const refused = (reason: string) => ({ ok: false, reason }) as const;
  const document = v.safeParse(Document, json);
  if (!document.success) return refused('no text "base_url" in "m.homeserver"');
  const text = document.output["m.homeserver"].base_url;
  if (text.length > MAX_BASE_URL_CHARACTERS) return refused(`"base_url" is over ${MAX_BASE_URL_CHARACTERS} characters`);
  if (!URL.canParse(text)) return refused('"base_url" is no URL');
  const url = new URL(text);
  // Whoever controls a document must not make the service speak plain HTTP to a host of their choice.
  return url.protocol === "https:" ? { ok: true, url } : refused('"base_url" is not https');
}
