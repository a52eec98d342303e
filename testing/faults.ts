// Faults that a development server can be told to have: what proxies, crashed servers and hostile peers do to an HTTP
// client. Faults end with their connection, so that a server that is closed leaves no timer behind.

import type { IncomingMessage, ServerResponse } from "node:http";
import { type Answer, send, sendHead, textAnswer } from "./answer.ts";

/**
 * What goes wrong.
 * - `hang`: the request is taken and never answered.
 * - `delay`: the right answer, after a pause.
 * - `drip`: the right answer, byte by byte with a pause before each, headers first.
 * - `truncate`: the right answer's headers and half its body; then the connection breaks.
 * - `reset`: the connection breaks without an answer.
 * - `not-http`: bytes that are no HTTP, then the end of the connection.
 * - `status`: this status instead of the answer; `headers` (such as `retry-after`) and a text or JSON `body` at will.
 * - `redirect`: to another place, by default with 307, which keeps method and body.
 * - `html`: 200 with a web page, as a captive portal or a wrong virtual host answers.
 * - `garbage`: 200 with the right content type and bytes that are neither UTF-8, nor JSON, nor protobuf.
 * - `huge`: 200 with the right content type and this many spaces, in chunks, without a `Content-Length`.
 * - `wrong-type`: the right answer under another content type.
 */
export type Fault =
  | { readonly kind: "hang" }
  | { readonly kind: "delay"; readonly durationMs: number }
  | { readonly kind: "drip"; readonly intervalMs: number }
  | { readonly kind: "truncate" }
  | { readonly kind: "reset" }
  | { readonly kind: "not-http" }
  | {
    readonly kind: "status";
    readonly status: number;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: string;
  }
  | { readonly kind: "redirect"; readonly location: string; readonly status?: 301 | 302 | 303 | 307 | 308 }
  | { readonly kind: "html" }
  | { readonly kind: "garbage" }
  | { readonly kind: "huge"; readonly bytes: number }
  | { readonly kind: "wrong-type"; readonly contentType: string };

/** Which requests a fault hits; by default all, until it is cleared. */
export interface FaultScope {
  /** How many requests, after which it is gone. */
  readonly times?: number;
  /** Only requests whose path, without query, ends so. */
  readonly pathEnd?: string;
}

/** The faults a server has at the moment; of several that fit a request the oldest hits it. */
export class Faults {
  readonly #rules: { readonly fault: Fault; readonly pathEnd: string; timesLeft: number }[] = [];

  /** Adds a fault. */
  inject(fault: Fault, { times = Infinity, pathEnd = "" }: FaultScope = {}): void {
    if (times > 0) this.#rules.push({ fault, pathEnd, timesLeft: times });
  }

  /** Ends all faults; requests that hang already go on hanging. */
  clear(): void {
    this.#rules.length = 0;
  }

  /** The fault for a request to this path, counted as used; null when all is well. */
  take(path: string): Fault | null {
    const rule = this.#rules.find(({ pathEnd }) => path.endsWith(pathEnd));
    if (rule === undefined) return null;
    if (--rule.timesLeft <= 0) this.#rules.splice(this.#rules.indexOf(rule), 1);
    return rule.fault;
  }
}

/** Answers a request the wrong way. `answer` makes the right answer, where the fault needs one. */
export async function misbehave(
  fault: Fault,
  request: IncomingMessage,
  response: ServerResponse,
  answer: () => Promise<Answer>,
): Promise<void> {
  switch (fault.kind) {
    case "hang":
      return;
    case "delay":
      if (await pause(fault.durationMs, response)) send(response, await answer());
      return;
    case "drip":
      return await drip(response, await answer(), fault.intervalMs);
    case "truncate":
      return await truncate(response, await answer());
    case "reset":
      return void request.socket.resetAndDestroy();
    case "not-http":
      return void request.socket.end("220 mail.example.com ready\r\n");
    case "status":
      return send(response, textAnswer(fault.status, fault.body ?? `Fault ${fault.status}\n`, fault.headers));
    case "redirect":
      return send(response, textAnswer(fault.status ?? 307, "", { location: fault.location }));
    case "html":
      return send(response, {
        status: 200,
        headers: { "content-type": "text/html; charset=utf-8" },
        body: "<!doctype html><title>Welcome</title><p>It works!\n",
      });
    case "garbage":
      return send(response, { ...await answer(), status: 200, body: Uint8Array.of(0xff, 0xfe, 0x00, 0x80, 0x7b) });
    case "huge":
      return sendHuge(response, await answer(), fault.bytes);
    case "wrong-type": {
      const right = await answer();
      return send(response, { ...right, headers: { ...right.headers, "content-type": fault.contentType } });
    }
  }
}

async function drip(response: ServerResponse, answer: Answer, intervalMs: number): Promise<void> {
  const bytes = Buffer.from(answer.body);
  sendHead(response, answer, bytes.length);
  response.flushHeaders();
  for (const byte of bytes) {
    if (!await pause(intervalMs, response)) return;
    response.write(Uint8Array.of(byte));
  }
  response.end();
}

async function truncate(response: ServerResponse, answer: Answer): Promise<void> {
  const bytes = Buffer.from(answer.body);
  sendHead(response, answer, bytes.length);
  const half = bytes.subarray(0, Math.floor(bytes.length / 2));
  await new Promise<void>((resolve) => response.write(half, () => resolve()));
  response.destroy();
}

function sendHuge(response: ServerResponse, { headers }: Answer, bytes: number): void {
  response.writeHead(200, headers);
  response.end(Buffer.alloc(bytes, " "));
}

/** @returns False when the connection ended first. */
function pause(durationMs: number, response: ServerResponse): Promise<boolean> {
  return new Promise((resolve) => {
    const end = (elapsed: boolean) => {
      clearTimeout(timer);
      response.off("close", onClose);
      resolve(elapsed);
    };
    const onClose = () => end(false);
    const timer = setTimeout(() => end(true), durationMs);
    response.once("close", onClose);
  });
}
