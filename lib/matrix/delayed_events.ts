// Delayed events (MSC4140) as homeservers serve them: restarts, sends and cancels an event by its ID, without
// authentication, and tells the answers apart that look alike.

import * as v from "valibot";
import { basePathOf, dialOf } from "../net/endpoint.ts";
import type { Outbound, OutboundResponse } from "../net/client.ts";
import { parseJson } from "../net/json.ts";
import { OutboundError, type OutboundFailure } from "../net/outbound_error.ts";
import type { ClientApi, ClientDiscovery } from "./client_discovery.ts";
import type { ServerName } from "./server_name.ts";
import { stepOf } from "./steps.ts";

/** What the calls need from outside. */
export interface DelayedEventsOptions {
  readonly outbound: Outbound;
  readonly discovery: Pick<ClientDiscovery, "find">;
}

/** What can be asked for an event. */
export type DelayedAction = "restart" | "send" | "cancel";

/** Why a homeserver did not do what it was asked; each with its own advice for the log. */
export type RefusalReason =
  /** 401: it allows nobody but the event's owner. */
  | "unauthorized"
  /** 403: the user is not in the room any more, so that there is nothing left to leave. */
  | "forbidden"
  /** 404 or 405 M_UNRECOGNIZED: no such route. */
  | "unsupported"
  /** Any other error of the homeserver about the request itself. */
  | "other";

/** What a request to the homeserver came to (MSC4140, as homeservers serve it). */
export type ActionOutcome =
  /** 200. */
  | { readonly kind: "done" }
  /** 404 M_NOT_FOUND (sent, canceled, never known) or 409 (finished with another outcome). */
  | { readonly kind: "gone"; readonly how: "not-found" | "conflict" }
  /** Not for us; lasting, unless a worker of the homeserver is just being replaced. */
  | { readonly kind: "refused"; readonly why: RefusalReason }
  /** 429: not now, but after this many ms. */
  | { readonly kind: "limited"; readonly retryAfterMs: number }
  /** Unknown. */
  | { readonly kind: "failed"; readonly how: CallFailure }
  /** Not asked: another replica may be at work on the room, or the participant is back. */
  | { readonly kind: "held" };

/** Why it is not known what came of a request. */
export type CallFailure =
  /** No connection, or no API that could be found: nothing was done. */
  | "unreachable"
  /** No answer in time, or none to the end: it may have been done. */
  | "silent"
  /** 404 with a JSON object that has no errcode. */
  | "bare-404"
  /** 5xx, or an answer that is no homeserver's. */
  | "wrong-answer";

/** An outcome, and what was asked and answered, for the log. */
export interface ActionResult {
  readonly outcome: ActionOutcome;
  readonly step: string;
}

/** The longest delay ID that is taken; Synapse's have some twenty bytes. */
export const MAX_DELAY_ID_BYTES = 255;

const PATH = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events";
const VERSIONS_PATH = "/_matrix/client/versions";
const MAX_RESPONSE_BYTES = 64 * 1024;
const DEFAULT_RETRY_AFTER_MS = 1000;
const MIN_RETRY_AFTER_MS = 100;
const MAX_RETRY_AFTER_MS = 5 * 60_000;
const EMPTY_OBJECT = new TextEncoder().encode("{}");

// Each field for itself: a strange one must not hide the other.
const ErrorBody = v.object({
  errcode: v.fallback(v.optional(v.string(), ""), ""),
  retry_after_ms: v.fallback(v.optional(v.number()), undefined),
});
type ErrorBody = v.InferOutput<typeof ErrorBody>;
const AnyObject = v.custom<object>((json) => typeof json === "object" && json !== null && !Array.isArray(json));
const WithoutErrcode = v.pipe(AnyObject, v.check((json) => !("errcode" in json)));
const WRONG_ANSWER: ActionOutcome = { kind: "failed", how: "wrong-answer" };
const FAILURES: Readonly<Record<OutboundFailure, CallFailure>> = {
  blocked: "unreachable",
  dns: "unreachable",
  connect: "unreachable",
  tls: "unreachable",
  reset: "silent",
  timeout: "silent",
  "too-large": "wrong-answer",
  protocol: "wrong-answer",
};
const Versions = v.object({ unstable_features: v.optional(v.record(v.string(), v.unknown()), {}) });

/** Calls delayed-event endpoints. */
export class DelayedEvents {
  readonly #options: DelayedEventsOptions;

  constructor(options: DelayedEventsOptions) {
    this.#options = options;
  }

  /**
   * Host and port of the API that keeps a homeserver's events: what limits calls, whoever's events they are about. Where
   * none can be found, the server name stands in.
   */
  async apiOf(homeserver: ServerName): Promise<string> {
    const found = await this.#options.discovery.find(homeserver);
    return found.outcome === "found" ? found.api.baseUrl.host : homeserver;
  }

  /** Restarts, sends or cancels an event. Never rejects for what a remote server does. */
  async act(
    homeserver: ServerName,
    delayId: string,
    action: DelayedAction,
    signal: AbortSignal,
  ): Promise<ActionResult> {
    const found = await this.#options.discovery.find(homeserver);
    if (found.outcome === "not-found") {
      const outcome = { kind: "failed", how: "unreachable" } as const;
      return { outcome, step: stepOf(`no client-server API: ${found.steps.join("; ")}`) };
    }
    try {
      const path = `${PATH}/${encodeURIComponent(delayId)}/${action}`;
      const response = await this.#send(found.api, "POST", path, signal);
      const body = errorBody(response);
      const step = `status ${response.status}${body.errcode === "" ? "" : ` ${body.errcode}`}`;
      return { outcome: classify(response, body), step };
    } catch (error) {
      if (!(error instanceof OutboundError)) throw error;
      return { outcome: { kind: "failed", how: FAILURES[error.failure] }, step: stepOf(error.message) };
    }
  }

  /** Whether the server announces delayed events; null when it could not be asked. */
  async supports(homeserver: ServerName, signal: AbortSignal): Promise<boolean | null> {
    const found = await this.#options.discovery.find(homeserver);
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
    return this.#options.outbound.send({
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
 * An error is the homeserver's own only with an errcode. A 404 is "gone" only with M_NOT_FOUND: with M_UNRECOGNIZED, or
 * from a proxy, the route itself is missing, and taking that for "gone" would leave a ghost behind every job. Nor is a
 * page that some web server has for every URL a success.
 */
function classify(response: OutboundResponse, body: ErrorBody): ActionOutcome {
  const { status } = response;
  const { errcode } = body;
  if (status === 200) return v.is(AnyObject, parseJson(response.body)) ? { kind: "done" } : WRONG_ANSWER;
  if (status === 409) return { kind: "gone", how: "conflict" };
  if (status === 429) return { kind: "limited", retryAfterMs: retryAfterMs(response, body) };
  if (status === 404 && v.is(WithoutErrcode, parseJson(response.body))) return { kind: "failed", how: "bare-404" };
  if (status < 400 || status >= 500 || status === 408 || errcode === "") return WRONG_ANSWER;
  if (status === 404 && errcode === "M_NOT_FOUND") return { kind: "gone", how: "not-found" };
  if (errcode === "M_UNRECOGNIZED") return { kind: "refused", why: "unsupported" };
  if (status === 401) return { kind: "refused", why: "unauthorized" };
  if (status === 403) return { kind: "refused", why: "forbidden" };
  return { kind: "refused", why: "other" };
}

function errorBody(response: OutboundResponse): ErrorBody {
  const body = v.safeParse(ErrorBody, response.status === 200 ? undefined : parseJson(response.body));
  if (!body.success) return { errcode: "", retry_after_ms: undefined };
  const { errcode } = body.output;
  return { ...body.output, errcode: /^[A-Z][A-Z0-9_.]{0,63}$/.test(errcode) ? errcode : "" };
}

/** Source: Matrix client-server API, "Rate limiting"; RFC 9110, 10.2.3 (seconds, or a date). */
function retryAfterMs({ headers }: OutboundResponse, { retry_after_ms: inBody }: ErrorBody): number {
  const header = headers["retry-after"] ?? "";
  const seconds = /^\d{1,9}$/.test(header.trim()) ? Number(header) : NaN;
  // Both dates are of the same clock.
  const untilDate = Date.parse(header) - Date.parse(headers.date ?? "");
  const candidates = [inBody, seconds * 1000, untilDate, DEFAULT_RETRY_AFTER_MS];
  const asked = candidates.find((ms) => ms !== undefined && ms >= 0) ?? DEFAULT_RETRY_AFTER_MS;
  return Math.min(Math.max(asked, MIN_RETRY_AFTER_MS), MAX_RETRY_AFTER_MS);
}
