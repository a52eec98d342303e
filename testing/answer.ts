// What a development server answers, and how it is written to the wire when nothing goes wrong.

import type { OutgoingHttpHeaders, ServerResponse } from "node:http";

/** One whole answer. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<OutgoingHttpHeaders>;
  readonly body: string | Uint8Array;
}

/** JSON of any kind. */
export function jsonAnswer(status: number, body: unknown, headers: OutgoingHttpHeaders = {}): Answer {
  return { status, headers: { ...headers, "content-type": "application/json" }, body: JSON.stringify(body) };
}

/** Plain text, labelled as Go's `net/http` labels it unless the headers say otherwise. */
export function textAnswer(status: number, body: string, headers: OutgoingHttpHeaders = {}): Answer {
  return { status, headers: { "content-type": "text/plain; charset=utf-8", ...headers }, body };
}

/** Writes status and headers, with a `Content-Length` unless the answer goes in chunks. */
export function sendHead(response: ServerResponse, { status, headers }: Answer, bodyBytes: number): void {
  response.writeHead(status, "transfer-encoding" in headers ? headers : { ...headers, "content-length": bodyBytes });
}

/** Writes it in one piece. */
export function send(response: ServerResponse, answer: Answer): void {
  const bytes = Buffer.from(answer.body);
  sendHead(response, answer, bytes.length);
  response.end(bytes);
}
