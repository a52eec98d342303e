// An HTTP or HTTPS server for development: answers by one handler, can be told to misbehave, and remembers who asked
// for what. It listens on loopback only.

import http, { type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import https from "node:https";
import { isIPv6 } from "node:net";
import { type Answer, send, textAnswer } from "./answer.ts";
import type { ServerCertificate } from "./certificates.ts";
import { Faults, misbehave } from "./faults.ts";
import { ListeningServer } from "./listening_server.ts";

/** Where to listen, and how. */
export interface LoopbackServerOptions {
  /** An address of this machine; default `127.0.0.1`. */
  readonly hostname?: string;
  /** Default 0: any free port. */
  readonly port?: number;
  /** With a certificate it speaks HTTPS, without one plain HTTP. */
  readonly certificate?: ServerCertificate;
}

/** One request as the handler sees it. */
export interface ReceivedRequest {
  readonly method: string;
  /** Without query, not decoded. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly body: Uint8Array;
}

/** One request as it is remembered: no query and no credentials. */
export interface RecordedRequest {
  readonly method: string;
  readonly path: string;
  readonly host: string | null;
  /** The name in the TLS handshake (SNI); null without one, and on plain HTTP. */
  readonly serverName: string | null;
  readonly remoteAddress: string;
}

/** Makes the right answer. */
export type Handler = (request: ReceivedRequest) => Answer | Promise<Answer>;

const MAX_BODY_BYTES = 1024 * 1024;
const MAX_RECORDED_REQUESTS = 100;
// Longer than any client holds an idle connection, so that it is never the server that ends one under a request.
const KEEP_ALIVE_MS = 120_000;

/** A running server. */
export class LoopbackServer implements AsyncDisposable {
  /** What it does wrong at the moment. */
  readonly faults = new Faults();
  /** Answers the requests; until it is set, all get 503. */
  handler: Handler = () => textAnswer(503, "Starting\n");
  /** Called with the path of every request, faulty ones included, before it is answered. */
  onRequest: (path: string) => void = () => {};
  /** TLS handshakes completed. */
  handshakes = 0;
  readonly #server: http.Server | https.Server;
  #listening: ListeningServer | null = null;
  #recorded: RecordedRequest[] = [];
  #url = new URL("http://localhost");

  private constructor(certificate: ServerCertificate | undefined) {
    const onRequest = (request: IncomingMessage, response: ServerResponse) => void this.#serve(request, response);
    this.#server = certificate === undefined
      ? http.createServer(onRequest)
      : https.createServer({ cert: certificate.certificate, key: certificate.privateKey }, onRequest);
    this.#server.keepAliveTimeout = KEEP_ALIVE_MS;
    this.#server.on("secureConnection", () => this.handshakes++);
  }

  /** Listens. */
  static async start(
    { hostname = "127.0.0.1", port = 0, certificate }: LoopbackServerOptions,
  ): Promise<LoopbackServer> {
    const started = new LoopbackServer(certificate);
    started.#listening = await ListeningServer.listen(started.#server, hostname, port);
    const host = isIPv6(hostname) ? `[${hostname}]` : hostname;
    started.#url = new URL(`${certificate === undefined ? "http" : "https"}://${host}:${started.#listening.port}`);
    return started;
  }

  /** Scheme, address and port. */
  get url(): URL {
    return new URL(this.#url);
  }

  get port(): number {
    return Number(this.#url.port);
  }

  /** The latest requests, faulty ones included, oldest first; at least the last {@link MAX_RECORDED_REQUESTS}. */
  get requests(): readonly RecordedRequest[] {
    return this.#recorded;
  }

  /** TCP connections accepted. */
  get connections(): number {
    return this.#listening?.connections ?? 0;
  }

  /** Closes the port and every connection at once; what hangs ends. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#listening?.[Symbol.asyncDispose]();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const target = request.url ?? "/";
    const queryAt = target.indexOf("?");
    const path = queryAt < 0 ? target : target.slice(0, queryAt);
    this.#record(request, path);

    const answer = async () => {
      const body = request.method === "GET" ? new Uint8Array() : await readBody(request);
      if (body === null) return textAnswer(413, "Body too large\n", { connection: "close" });
      const query = new URLSearchParams(queryAt < 0 ? "" : target.slice(queryAt));
      return await this.handler({ method: request.method ?? "GET", path, query, headers: request.headers, body });
    };
    try {
      const fault = this.faults.take(path);
      if (fault === null) send(response, await answer());
      else await misbehave(fault, request, response, answer);
    } catch (error) {
      if (!request.socket.destroyed) console.error("Development server failed to answer", error);
      response.destroy();
    }
  }

  #record({ method = "GET", headers, socket }: IncomingMessage, path: string): void {
    this.onRequest(path);
    if (this.#recorded.length >= 2 * MAX_RECORDED_REQUESTS) {
      this.#recorded = this.#recorded.slice(-MAX_RECORDED_REQUESTS);
    }
    this.#recorded.push({
      method,
      path,
      host: headers.host ?? null,
      serverName: "servername" in socket && typeof socket.servername === "string" ? socket.servername : null,
      remoteAddress: socket.remoteAddress ?? "",
    });
  }
}

function readBody(request: IncomingMessage): Promise<Uint8Array | null> {
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = [];
    let size = 0;
    request.on("data", (chunk: Uint8Array) => {
      size += chunk.length;
      if (size > MAX_BODY_BYTES) resolve(null);
      else chunks.push(chunk);
    });
    request.once(
      "end",
      () => resolve(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks)),
    );
    request.once("error", reject);
    request.once("close", () => reject(new Error("The request ended before its body")));
  });
}

/** Part of the world that is played by one server: what all of them show of it. */
export abstract class ServedDouble implements AsyncDisposable {
  protected readonly server: LoopbackServer;

  protected constructor(server: LoopbackServer) {
    this.server = server;
  }

  get port(): number {
    return this.server.port;
  }

  /** What it does wrong at the moment; calls of one method are those with a path that ends `/<method>`. */
  get faults(): Faults {
    return this.server.faults;
  }

  /** TCP connections accepted. */
  get connections(): number {
    return this.server.connections;
  }

  /** TLS handshakes completed. */
  get handshakes(): number {
    return this.server.handshakes;
  }

  /** The latest requests, oldest first. */
  get requests(): readonly RecordedRequest[] {
    return this.server.requests;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.server[Symbol.asyncDispose]();
  }
}
