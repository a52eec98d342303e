// The one outbound client: keep-alive HTTP and HTTPS to homeservers and the SFU. It dials what it is told (an address,
// a port, a certificate name and a Host header that may all differ), asks the address guard about the very address it
// is about to dial, and ends every request by its signal and its byte cap.

import dns from "node:dns/promises";
import http from "node:http";
import https from "node:https";
import { isIP, type LookupFunction, type Socket } from "node:net";
import type { AddressGuard, DialRule } from "./address_guard.ts";
import { IdleConnections } from "./idle_connections.ts";
import { classify, GuardRefusal, OutboundError } from "./outbound_error.ts";
import { Semaphore } from "../async/semaphore.ts";

/** One request to one target. No redirect is ever followed here. */
export interface OutboundRequest {
  readonly method: "GET" | "POST";
  /** TLS or plain HTTP. */
  readonly secure: boolean;
  /** What is resolved and dialled: a DNS name, or an IP literal without brackets. */
  readonly host: string;
  readonly port: number;
  /** Path and query. Never logged: the query may hold an access token. */
  readonly path: string;
  /** `Host` header. */
  readonly hostHeader: string;
  /** Name in the TLS handshake (SNI) and on the certificate; null = the certificate must be valid for the IP. */
  readonly tlsName: string | null;
  /** How far the guard lets this dial go. */
  readonly rule: DialRule;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** A longer answer is an error. */
  readonly maxResponseBytes: number;
  /** Ends name resolution, connect, TLS handshake, headers and body alike. */
  readonly signal: AbortSignal;
  /** Gives up on a connection that is not there by then; without it the signal alone decides. */
  readonly connectTimeoutMs?: number;
}

/** An answer, whatever its status. */
export interface OutboundResponse {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Uint8Array;
  /** The address at the other end, for the log; null where the runtime does not know it. */
  readonly address: string | null;
}

/** Resolves a host name to its addresses, in the order to try them. Rejects when there is none. */
export type HostResolver = (hostname: string) => Promise<readonly string[]>;

/** Sends requests: the client itself, or a stand-in in tests. */
export interface Outbound {
  send(request: OutboundRequest): Promise<OutboundResponse>;
}

/** Makes the sockets: replaced in tests that record dials or map ports of a scripted network. */
export interface Connectors {
  tcp(options: http.ClientRequestArgs): Socket;
  tls(options: https.RequestOptions): Socket;
}

/** What the client is made of. */
export interface OutboundClientOptions {
  readonly guard: AddressGuard;
  /** Verify certificates and names. False in a lab only. */
  readonly verifyTls: boolean;
  /** The proxy variables of the environment. */
  readonly proxies?: ProxyVariables;
  readonly resolveHost?: HostResolver;
  readonly connectors?: Connectors;
}

/** Outbound proxies, in the form of the environment variables of these names. */
export interface ProxyVariables {
  readonly HTTP_PROXY?: string;
  readonly HTTPS_PROXY?: string;
  readonly NO_PROXY?: string;
}

/** Connections to one host and port at a time; further requests wait within their deadline. */
export const MAX_CONNECTIONS_PER_HOST = 64;

// Longer than a client's pause between its two or three requests, shorter than the idle time-out of common proxies.
const IDLE_CONNECTION_MS = 25_000;

// To all hosts together.
const MAX_IDLE_CONNECTIONS = 1000;

// RFC 8305: the other address family is tried after a quarter of a second, not after the deadline.
const NEXT_ADDRESS_AFTER_MS = 250;

interface AgentPair {
  readonly http: http.Agent;
  readonly https: https.Agent;
}

/** Keep-alive client over Node's agents. */
export class OutboundClient implements Outbound {
  readonly #options: OutboundClientOptions;
  readonly #proxyHosts: ReadonlySet<string>;
  // A pooled connection must never serve a request that could not have dialled it: one pool per rule.
  readonly #agents = new Map<string, AgentPair>();
  readonly #connections = new Semaphore(MAX_CONNECTIONS_PER_HOST);
  readonly #idle = new IdleConnections(MAX_IDLE_CONNECTIONS);

  constructor(options: OutboundClientOptions) {
    this.#options = options;
    const { HTTP_PROXY, HTTPS_PROXY } = options.proxies ?? {};
    this.#proxyHosts = new Set([HTTP_PROXY, HTTPS_PROXY].flatMap((url) => url ? [bareHost(new URL(url))] : []));
  }

  /** @throws OutboundError for everything that is no answer. */
  async send(request: OutboundRequest): Promise<OutboundResponse> {
    const refusal = isIP(request.host) > 0 || request.port === 0
      ? this.#options.guard.refusal(request.rule, request.host, request.port, this.#isVerified(request.secure))
      : null;
    if (refusal !== null) throw new OutboundError("blocked", `Dial refused by the address guard: ${refusal}`);

    // Grouped like the agents' pools, which thus need no bound of their own.
    const { rule, secure, host, port, tlsName, signal } = request;
    const pool = `${rule} ${secure} ${host} ${port} ${tlsName}`;
    using permit = await this.#connections.acquire(pool, signal);
    if (permit === null) throw noAnswerInTime(request);
    return await this.#exchange(request);
  }

  /** Closes idle connections. */
  close(): void {
    for (const pair of this.#agents.values()) {
      pair.http.destroy();
      pair.https.destroy();
    }
    this.#agents.clear();
  }

  #exchange(request: OutboundRequest): Promise<OutboundResponse> {
    const where = `${request.host}:${request.port}`;
    return new Promise((resolve, reject) => {
      const agents = this.#agentsFor(request);
      const options: https.RequestOptions = {
        method: request.method,
        host: request.host,
        port: request.port,
        path: request.path,
        headers: { ...request.headers, host: request.hostHeader, ...contentLength(request.body) },
        agent: request.secure ? agents.https : agents.http,
        ...(request.secure ? { servername: request.tlsName ?? "", rejectUnauthorized: this.#options.verifyTls } : {}),
      };
      const outgoing = request.secure ? https.request(options) : http.request(options);
      let connectTimer: ReturnType<typeof setTimeout> | undefined;

      const settle = () => {
        clearTimeout(connectTimer);
        request.signal.removeEventListener("abort", abort);
      };
      const fail = (error: OutboundError) => {
        settle();
        outgoing.reusedSocket = false; // else the runtime sends it again on a new connection: denoland/deno#36786
        outgoing.destroy();
        reject(error);
      };
      const abort = () => fail(noAnswerInTime(request));

      outgoing.on("error", (error) => fail(classify(error, where)));
      outgoing.on("socket", (socket) => {
        if (request.connectTimeoutMs === undefined || !socket.connecting) return;
        connectTimer = setTimeout(
          () => fail(new OutboundError("connect", `No connection to ${where} within ${request.connectTimeoutMs} ms`)),
          request.connectTimeoutMs,
        );
        socket.once("connect", () => clearTimeout(connectTimer));
      });
      outgoing.on("response", (incoming) => {
        const address = incoming.socket.remoteAddress ?? null; // gone once the socket is back in its pool
        const chunks: Uint8Array[] = [];
        let received = 0;
        incoming.on("data", (chunk: Uint8Array) => {
          received += chunk.length;
          chunks.push(chunk);
          if (received > request.maxResponseBytes) {
            fail(new OutboundError("too-large", `Answer of ${where} is over ${request.maxResponseBytes} bytes`));
          }
        });
        incoming.on("error", (error) => fail(classify(error, where)));
        incoming.on("aborted", () => fail(new OutboundError("reset", `${where} closed the connection mid-answer`)));
        incoming.on("end", () => {
          settle();
          resolve({
            status: incoming.statusCode ?? 0,
            headers: incoming.headers,
            body: chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks),
            address,
          });
        });
      });

      if (request.signal.aborted) return abort();
      request.signal.addEventListener("abort", abort, { once: true });
      outgoing.end(request.body);
    });
  }

  #isVerified(secure: boolean): boolean {
    return secure && this.#options.verifyTls;
  }

  #agentsFor(request: OutboundRequest): AgentPair {
    // A target that is the proxy's own host is dialled directly, so that only the proxy itself is exempt below.
    const direct = this.#proxyHosts.size === 0 || this.#proxyHosts.has(request.host.toLowerCase());
    const key = `${request.rule} ${direct}`;
    let pair = this.#agents.get(key);
    if (pair === undefined) this.#agents.set(key, pair = this.#createAgents(request.rule, direct));
    return pair;
  }

  #createAgents(rule: DialRule, direct: boolean): AgentPair {
    const { connectors, proxies } = this.#options;
    const common = {
      keepAlive: true,
      maxFreeSockets: MAX_CONNECTIONS_PER_HOST,
      timeout: IDLE_CONNECTION_MS,
      scheduling: "lifo" as const,
      autoSelectFamily: true,
      autoSelectFamilyAttemptTimeout: NEXT_ADDRESS_AFTER_MS,
      ...(direct ? {} : { proxyEnv: { ...proxies } }),
    };
    const pair = {
      http: new http.Agent({ ...common, lookup: this.#guardedLookup(rule, direct, false) }),
      https: new https.Agent({ ...common, lookup: this.#guardedLookup(rule, direct, true) }),
    };
    this.#idle.govern(pair.http);
    this.#idle.govern(pair.https);
    if (connectors !== undefined) {
      pair.http.createConnection = (options) => connectors.tcp(options);
      pair.https.createConnection = (options) => connectors.tls(options);
    }
    return pair;
  }

  // The guard sees the very list that is dialled from: between the check and the connect nothing is resolved again.
  #guardedLookup(rule: DialRule, direct: boolean, secure: boolean): LookupFunction {
    const resolveHost = this.#options.resolveHost ?? resolveHostBySystem;
    return (hostname, options, callback) => {
      const isProxy = !direct && this.#proxyHosts.has(hostname.toLowerCase());
      resolveHost(hostname).then((addresses) => {
        const refusals = new Map<string, string>();
        if (!isProxy) {
          for (const address of addresses) {
            const refusal = this.#options.guard.refusal(rule, address, 1, this.#isVerified(secure));
            if (refusal !== null) refusals.set(address, refusal);
          }
        }
        const allowed = addresses.filter((address) => !refusals.has(address));
        const first = allowed[0];
        if (first === undefined) {
          const reasons = [...refusals.values()].join(", ") || "no address";
          return callback(new GuardRefusal(`Dial refused by the address guard: ${hostname}: ${reasons}`), "", 4);
        }
        if (options.all) callback(null, allowed.map((address) => ({ address, family: isIP(address) })));
        else callback(null, first, isIP(first));
      }, (error) => callback(error, "", 4));
    };
  }
}

function noAnswerInTime({ host, port }: OutboundRequest): OutboundError {
  return new OutboundError("timeout", `No answer from ${host}:${port} in time`);
}

// Not a resolver of our own: hosts files and the container's search domains must count.
async function resolveHostBySystem(hostname: string): Promise<string[]> {
  const found = await dns.lookup(hostname, { all: true, order: "verbatim" });
  return found.map(({ address }) => address);
}

function bareHost(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, "").toLowerCase();
}

function contentLength(body: Uint8Array | undefined): Record<string, string> {
  return body === undefined ? {} : { "content-length": String(body.length) };
}
