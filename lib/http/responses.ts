// Answers as responses: JSON, errors, pages, each with the CORS headers that every answer of every path carries.

import { MatrixError } from "../matrix_error.ts";

// Without CORS headers a browser takes any answer for a network error.
const CORS = {
  "access-control-allow-origin": "*",
  "access-control-allow-headers": "Accept, Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token",
  "access-control-expose-headers": "Retry-After",
  "access-control-max-age": "86400",
} as const;

const CORS_ENTRIES = Object.entries(CORS);

const JSON_TYPE = { "content-type": "application/json" };

/** 200 without a body: complete, as {@link complete} would make it. */
export function empty(methods: string, requestId: string): Response {
  const headers = { ...CORS, "access-control-allow-methods": methods, "x-request-id": requestId };
  return new Response(null, { headers });
}

/** A JSON body, which ends with a newline as in release 0.6.0. */
export function json(status: number, body: unknown): Response {
  return new Response(`${JSON.stringify(body)}\n`, { status, headers: JSON_TYPE });
}

/** An error as the Matrix client-server API has it ("Standard error response"). */
export function errorResponse(error: MatrixError): Response {
  const { status, errcode, message, retryAfterSeconds, retryAfterMs } = error;
  const retryAfter = retryAfterMs === undefined ? {} : { retry_after_ms: retryAfterMs };
  const response = json(status, { errcode, error: message, ...retryAfter });
  if (retryAfterSeconds !== undefined) response.headers.set("retry-after", String(retryAfterSeconds));
  return response;
}

/**
 * Adds the headers of every answer, and gives the response back. One by one: a response with a body that is built with all
 * of its headers at once costs several times as much.
 */
export function complete(response: Response, methods: string, requestId: string): Response {
  const { headers } = response;
  for (const [name, value] of CORS_ENTRIES) headers.set(name, value);
  headers.set("access-control-allow-methods", methods);
  headers.set("x-request-id", requestId);
  return response;
}
