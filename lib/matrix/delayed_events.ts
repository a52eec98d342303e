// Delayed events (MSC4140) as homeservers serve them: restarts and sends an event by its ID, without authentication,
// and tells the answers apart that look alike.

import * as v from "valibot";
import type { ActionOutcome } from "../leave/machine.ts";
import { basePathOf, dialOf } from "../net/dial.ts";
import { type Outbound, OutboundError, type OutboundResponse } from "../net/client.ts";
import type { ClientApi, ClientDiscovery } from "./client_discovery.ts";
import type { ServerName } from "./server_name.ts";

/** What the calls need from outside. */
export interface DelayedEventsDeps {
  readonly outbound: Outbound;
  readonly discovery: Pick<ClientDiscovery, "find">;
}

/** An outcome with its story for the log. */
export interface ActionResult {
  readonly outcome: ActionOutcome;
  readonly story: string;
}

const PATH = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events";
const VERSIONS_PATH = "/_matrix/client/versions";
const MAX_RESPONSE_BYTES = 64 * 1024;
const DEFAULT_RETRY_AFTER_MS = 1000;
const MAX_RETRY_AFTER_MS = 5 * 60_000;
const EMPTY_OBJECT = new TextEncoder().encode("{}");

const ErrorBody = v.object({
  errcode: v.optional(v.string(), ""),
  retry_after_ms: v.optional(v.pipe(v.number(), v.minValue(0))),
});
const Versions = v.object({ unstable_features: v.optional(v.record(v.string(), v.unknown()), {}) });

/** Calls delayed-event endpoints. */
export class DelayedEvents {
  readonly #deps: DelayedEventsDeps;

  constructor(deps: DelayedEventsDeps) {
    this.#deps = deps;
  }

  /** Restarts or sends an event. Never rejects for what a remote server does. */
  async act(
    homeserver: ServerName,
    delayId: string,
    action: "restart" | "send",
    signal: AbortSignal,
  ): Promise<ActionResult> {
    const found = await this.#deps.discovery.find(homeserver);
    if (found.outcome === "not-found") {
      return { outcome: { kind: "failed" }, story: `no client-server API: ${found.story.join("; ")}` };
    }
    try {
      const path = `${PATH}/${encodeURIComponent(delayId)}/${action}`;
      const response = await this.#send(found.api, "POST", path, signal);
      const { kind, errcode } = classify(response);
      const story = `status ${response.status}${errcode === "" ? "" : ` ${errcode}`}`;
      const outcome = kind === "limited" ? { kind, retryAfterMs: retryAfterMs(response) } : { kind };
      return { outcome, story };
    } catch (error) {
      if (!(error instanceof OutboundError)) throw error;
      return { outcome: { kind: "failed" }, story: error.message };
    }
  }

  /** Whether the server says that it has delayed events; null when it could not be asked. */
  async supports(homeserver: ServerName, signal: AbortSignal): Promise<boolean | null> {
    const found = await this.#deps.discovery.find(homeserver);
    if (found.outcome === "not-found") return null;
    try {
      const response = await this.#send(found.api, "GET", VERSIONS_PATH, signal);
      if (response.status !== 200) return null;
      const versions = v.safeParse(Versions, parseJson(response.body));
      return versions.success ? versions.output.unstable_features["org.matrix.msc4140"] === true : null;
    } catch (error) {
      if (!(error instanceof OutboundError)) throw error;
      return null;
    }
  }

  #send(api: ClientApi, method: "GET" | "POST", path: string, signal: AbortSignal): Promise<OutboundResponse> {
    const { baseUrl, rule } = api;
    return this.#deps.outbound.send({
      ...dialOf(baseUrl),
      method,
      path: `${basePathOf(baseUrl)}${path}`,
      rule,
      headers: { "content-type": "application/json", accept: "application/json" },
      ...(method === "POST" ? { body: EMPTY_OBJECT } : {}),
      maxResponseBytes: MAX_RESPONSE_BYTES,
      signal,
    });
  }
}

/**
 * Sorts an answer.
 *
 * A 404 is "gone" only with M_NOT_FOUND: with M_UNRECOGNIZED, or from a proxy, the route itself is missing, and taking
 * that for "gone" would leave a ghost behind every job.
 */
function classify(response: OutboundResponse): { kind: ActionOutcome["kind"]; errcode: string } {
  const body = v.safeParse(ErrorBody, parseJson(response.body));
  const errcode = body.success && /^[A-Z][A-Z0-9_.]{0,63}$/.test(body.output.errcode) ? body.output.errcode : "";
  return { kind: kindOf(response.status, errcode), errcode };
}

function kindOf(status: number, errcode: string): ActionOutcome["kind"] {
  if (status === 200) return "done";
  if (status === 404) return errcode === "M_NOT_FOUND" ? "gone" : errcode === "M_UNRECOGNIZED" ? "refused" : "failed";
  if (status === 409) return "gone";
  if (status === 429) return "limited";
  if (status >= 500 || status === 408 || status < 400) return "failed";
  return "refused";
}

function retryAfterMs(response: OutboundResponse): number {
  const body = v.safeParse(ErrorBody, parseJson(response.body));
  const header = Number(response.headers["retry-after"] ?? NaN);
  const asked = (body.success ? body.output.retry_after_ms : undefined) ??
    (Number.isFinite(header) ? header * 1000 : DEFAULT_RETRY_AFTER_MS);
  return Math.min(Math.max(asked, 0), MAX_RETRY_AFTER_MS);
}

function parseJson(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(body));
  } catch {
    return undefined;
  }
}
