// Why an outbound request got no answer: one name each for the many ways in which the runtime says so.

/**
 * Why there was no answer.
 * - `blocked`: the address guard refused every address.
 * - `dns`: the name did not resolve.
 * - `connect`: refused, unreachable, or no connection in time.
 * - `tls`: the handshake or the certificate.
 * - `reset`: the connection broke after it stood.
 * - `timeout`: the deadline of the request passed.
 * - `too-large`: more bytes than the cap.
 * - `protocol`: not HTTP, or anything else that is no answer.
 */
export type OutboundFailure = "blocked" | "dns" | "connect" | "tls" | "reset" | "timeout" | "too-large" | "protocol";

/** The only error of this layer. Its message names host and port, never the path. */
export class OutboundError extends Error {
  override name = "OutboundError";

  constructor(readonly failure: OutboundFailure, message: string, options?: ErrorOptions) {
    super(message, options);
  }
}

/** The deadline of a request passed. */
export function noAnswerInTime(where: string): OutboundError {
  return new OutboundError("timeout", `No answer from ${where} in time`);
}

const DNS_CODES = new Set(["ENOTFOUND", "EAI_AGAIN", "EAI_FAIL", "EAI_NODATA", "ENODATA", "ESERVFAIL"]);
const CONNECT_CODES = new Set([
  "ECONNREFUSED",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EHOSTDOWN",
  "ENETDOWN",
  "ETIMEDOUT",
  "EADDRNOTAVAIL",
  "EACCES",
  "EPERM",
  "EINVAL",
]);
// A certificate's names stand in them too, and may be any number.
const MAX_CAUSE_CHARACTERS = 300;
// A proxy's URL stands in the runtime's error texts as it was given, password included.
const URL_CREDENTIALS = /\/\/[^/\s]*@/g;
const RESET_CODES = new Set(["ECONNRESET", "EPIPE", "ECONNABORTED", "ERR_STREAM_PREMATURE_CLOSE"]);

/**
 * Names what went wrong, by the runtime's error codes; an error of this layer has its name already.
 *
 * @param where Host and port, for the message.
 */
export function classify(error: unknown, where: string): OutboundError {
  if (error instanceof OutboundError) return error;
  const first = error instanceof AggregateError && error.errors.length > 0 ? error.errors[0] : error;
  const code = codeOf(first);
  const text = (first instanceof Error ? first.message : String(first)).replaceAll(URL_CREDENTIALS, "//")
    .slice(0, MAX_CAUSE_CHARACTERS);
  const because = (failure: OutboundFailure, what: string) =>
    new OutboundError(failure, `${what} ${where}: ${text || code}`, { cause: error });

  if (DNS_CODES.has(code)) return because("dns", "Cannot resolve");
  if (CONNECT_CODES.has(code)) return because("connect", "Cannot connect to");
  if (RESET_CODES.has(code)) return because("reset", "Connection broke to");
  if (/CERT|TLS|SSL|SELF_SIGNED|UNABLE_TO|ALTNAME/.test(code)) return because("tls", "TLS failed with");
  return because("protocol", "No HTTP answer from");
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
}
