// One request on behalf of a check, through the service's own outbound client: what it sees is what the service sees.

import type { Clock } from "../async/clock.ts";
import type { DialRule } from "../net/address_guard.ts";
import type { Outbound, OutboundResponse } from "../net/client.ts";
import { dialOf } from "../net/endpoint.ts";
import { parseJson } from "../net/json.ts";
import { OutboundError, type OutboundFailure } from "../net/outbound_error.ts";

/** What came of a request. */
export type Asked =
  | { readonly outcome: "answer"; readonly response: OutboundResponse }
  | { readonly outcome: "no-answer"; readonly failure: OutboundFailure; readonly message: string };

/** What is sent beside the URL. */
export interface ProbeRequest {
  readonly method?: "GET" | "POST" | "OPTIONS";
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** How far the address guard lets the request go. */
  readonly rule: DialRule;
}

/** Sends a request. Never rejects for what the other side does. */
export type Probe = (url: URL, request: ProbeRequest, signal: AbortSignal) => Promise<Asked>;

// Enough for a well-known document, and for a page that says whose it is.
const MAX_RESPONSE_BYTES = 64 * 1024;
const CONNECT_TIMEOUT_MS = 5000;

/** Builds the probe of an outbound client. */
export function probeOf(outbound: Outbound): Probe {
  return async (url, { method = "GET", headers = {}, body, rule }, signal) => {
    try {
      const response = await outbound.send({
        ...dialOf(url),
        method,
        path: `${url.pathname}${url.search}`,
        rule,
        headers: { accept: "application/json", ...headers },
        ...(body === undefined ? {} : { body: new TextEncoder().encode(body) }),
        maxResponseBytes: MAX_RESPONSE_BYTES,
        connectTimeoutMs: CONNECT_TIMEOUT_MS,
        signal,
      });
      return { outcome: "answer", response };
    } catch (error) {
      if (!(error instanceof OutboundError)) throw error;
      return { outcome: "no-answer", failure: error.failure, message: error.message };
    }
  };
}

/** A URL as it may be shown: its query may hold a token. */
export function shown(url: URL): string {
  return `${url.origin}${url.pathname}`;
}

/** A base URL with a path behind its own. */
export function below(base: URL, path: string): URL {
  const url = new URL(base);
  url.pathname = `${base.pathname.replace(/\/+$/, "")}${path}`;
  return url;
}

/** An answer in a few words: its status, and what it seems to come from. */
export function describeAnswer(response: OutboundResponse): string {
  const { status, headers } = response;
  const location = headers.location === undefined
    ? ""
    : ` to ${headers.location.replace(/[?#].*$/s, "").slice(0, 200)}`;
  const errcode = errcodeOf(response);
  if (isChallenge(response)) return `status ${status}, a challenge page for browsers`;
  if (errcode !== null) return `status ${status} ${errcode}`;
  return `status ${status}${location}${isWebPage(response) ? ", a web page" : ""}`;
}

/** What came of a request, in a few words. */
export function describe(asked: Asked): string {
  return asked.outcome === "answer" ? describeAnswer(asked.response) : asked.message;
}

export function isWebPage({ headers, body }: OutboundResponse): boolean {
  if (headers["content-type"]?.includes("text/html")) return true;
  return /^\s*<(?:!doctype|html)/i.test(new TextDecoder().decode(body.subarray(0, 200)));
}

/** A page that lets browsers through and services not. */
export function isChallenge(response: OutboundResponse): boolean {
  if (response.headers["cf-mitigated"] === "challenge") return true;
  const isRefusal = response.status === 403 || response.status === 503 || response.status === 429;
  return isRefusal && isWebPage(response) &&
    /challenge|captcha|just a moment|attention required/i.test(new TextDecoder().decode(response.body));
}

export function isRedirect({ status }: OutboundResponse): boolean {
  return status >= 300 && status < 400;
}

/** The errcode of a Matrix error; null where there is none. */
export function errcodeOf({ body }: OutboundResponse): string | null {
  const json = parseJson(body);
  if (typeof json !== "object" || json === null || !("errcode" in json)) return null;
  return typeof json.errcode === "string" && /^[A-Z][A-Z0-9_.]{0,63}$/.test(json.errcode) ? json.errcode : null;
}

/** How far the answer's clock is from ours, in ms: above 0 = the other one is ahead. Null without a `Date`. */
export function clockSkewMs({ headers }: OutboundResponse, clock: Pick<Clock, "now">): number | null {
  const date = Date.parse(headers.date ?? "");
  return Number.isNaN(date) ? null : date - clock.now();
}
