// Why the SFU did not do what it was asked, each with what to do about it.

import * as v from "valibot";
import type { OutboundResponse } from "../net/client.ts";
import { parseJson } from "../net/json.ts";
import type { OutboundError } from "../net/outbound_error.ts";

/**
 * Why the SFU did not do what it was asked.
 * - `dns`, `connect`, `tls`, `timeout`: no answer, by where it failed; a connection that broke is `connect`.
 * - `key-mismatch`: LiveKit does not know the API key, or has another secret for it.
 * - `clock-skew`: LiveKit refuses the token, and by its `Date` the token is not valid yet or any more.
 * - `wrong-path`: nothing of LiveKit's at this path.
 * - `proxy`: something other than LiveKit answers, or takes the request for something else.
 * - `server-error`: a passing fault, 5xx or 429.
 * - `refused`: LiveKit's own word, Twirp's code with it.
 */
export type SfuFailure =
  | "dns"
  | "connect"
  | "tls"
  | "timeout"
  | "key-mismatch"
  | "clock-skew"
  | "wrong-path"
  | "proxy"
  | "server-error"
  | "refused";

/** What an operator can do about each: the end of its message, and the fix of the doctor's check. */
export const ADVICE: Readonly<Record<SfuFailure, string>> = {
  "dns": "correct the host in LIVEKIT_URL, or give the address to call in LIVEKIT_INTERNAL_URL",
  "connect": "start LiveKit, or give the address at which this host reaches it in LIVEKIT_INTERNAL_URL, such as " +
    "http://livekit:7880",
  "tls": "give LiveKit's name as its certificate has it, add a private CA with LIVEKIT_EXTRA_CA_FILE, or call it " +
    "inside with LIVEKIT_INTERNAL_URL=http://livekit:7880",
  "timeout": "open the way from this host to LiveKit (firewall, hairpin NAT), or set LIVEKIT_INTERNAL_URL to its " +
    "address inside; if LiveKit is overloaded, see its log",
  "key-mismatch": "make LIVEKIT_KEY and LIVEKIT_SECRET one of the pairs under `keys:` in livekit.yaml",
  "clock-skew": "set the clocks of both hosts by NTP",
  "wrong-path": "give the path prefix under which LiveKit is served, such as wss://example.com/livekit/sfu, and have " +
    "the proxy before LiveKit pass /twirp below it",
  "proxy": "have the proxy before LiveKit pass POST /twirp unchanged, without redirect or page of its own, or go " +
    "around it with LIVEKIT_INTERNAL_URL",
  "server-error": "see the log of LiveKit, or of the proxy before it",
  "refused": "see LiveKit's log: it knows the key, and does not take the request",
};

/** The only error of this layer. Its message is for the log; it names the URL, and no token. */
export class SfuError extends Error {
  override name = "SfuError";

  /**
   * @param answered What was asked and what came back, without advice.
   * @param code Twirp's error code, null where there was none.
   */
  constructor(
    readonly failure: SfuFailure,
    readonly answered: string,
    readonly code: string | null = null,
    options?: ErrorOptions,
  ) {
    super(`${answered}: ${ADVICE[failure]}`, options);
  }
}

/** What was asked: for the message, and to judge the refusal of a token. */
export interface SfuRequest {
  /** Origin and path. */
  readonly url: string;
  /** When its token was signed, s since the epoch by our clock, and for how long it is valid, s. */
  readonly issuedAt: number;
  readonly ttlSeconds: number;
}

/** The error of a request that got no answer. */
export function noAnswer({ url }: SfuRequest, error: OutboundError): SfuError {
  const failure = failureOf(error);
  return new SfuError(failure, `${url}: ${error.message}`, null, { cause: error });
}

/** The error of an answer 200 that is not what was asked for. */
export function noMessage({ url }: SfuRequest, options?: ErrorOptions): SfuError {
  return new SfuError("proxy", `${url}: the answer 200 is no LiveKit message`, null, options);
}

/**
 * The error of any other answer. Its body is read for Twirp's code only: LiveKit repeats a wrong token in it.
 *
 * @param now Our clock, ms since the epoch.
 */
export function refusal(request: SfuRequest, response: OutboundResponse, now: number): SfuError {
  const code = twirpCode(response.body);
  const failure = failureOfStatus(request, response, code);
  const answered = `answered ${response.status}${code === null ? "" : ` "${code}"`}`;
  const clocks = failure === "clock-skew" ? `, ${describeSkew(clockOf(response) - now)}` : "";
  return new SfuError(failure, `${request.url}: ${answered}${clocks}`, code);
}

function describeSkew(aheadMs: number): string {
  return `its clock ${Math.round(Math.abs(aheadMs) / 1000)} s ${aheadMs > 0 ? "ahead of" : "behind"} ours`;
}

function failureOf(error: OutboundError): SfuFailure {
  switch (error.failure) {
    case "dns":
    case "tls":
    case "timeout":
      return error.failure;
    case "connect":
    case "reset":
      return "connect";
    case "blocked":
    case "protocol":
    case "too-large":
      return "proxy";
  }
}

function failureOfStatus(request: SfuRequest, response: OutboundResponse, code: string | null): SfuFailure {
  const { status, headers } = response;
  if (code === "not_found") return "refused";
  if (status === 401) {
    // LiveKit's text is plain, and in Twirp's form it means that no token came.
    if (code !== null || headers["content-type"]?.startsWith("text/plain") === false) return "proxy";
    return isOutOfTime(request, response) ? "clock-skew" : "key-mismatch";
  }
  if (status === 403 && code === null) return "proxy";
  if (status === 404) return "wrong-path";
  if (status < 400 || status === 405) return "proxy";
  if (status >= 500 || status === 429) return "server-error";
  return "refused";
}

// LiveKit's own.
const LEEWAY_SECONDS = 60;

function isOutOfTime({ issuedAt, ttlSeconds }: SfuRequest, response: OutboundResponse): boolean {
  const seconds = clockOf(response) / 1000;
  return seconds < issuedAt - LEEWAY_SECONDS || seconds > issuedAt + ttlSeconds + LEEWAY_SECONDS;
}

/** The SFU's clock as it answered, ms; NaN where it did not say. */
export function clockOf({ headers }: OutboundResponse): number {
  return Date.parse(headers.date ?? "");
}

const TwirpError = v.object({ code: v.pipe(v.string(), v.regex(/^[a-z_]{1,40}$/)) });

function twirpCode(body: Uint8Array): string | null {
  const error = parseJson(body);
  return v.is(TwirpError, error) ? error.code : null;
}
