// The one outbound client: HTTP/1.1 to homeservers and the SFU, over connections that are kept alive. It dials what it is
// told (an address, a port, a certificate name and a Host header that may all differ), asks the address guard about the
// very address it is about to dial, and ends every request by its signal and its byte cap.

import type { Clock } from "../async/clock.ts";
import { Semaphore } from "../async/semaphore.ts";
import type { AddressGuard } from "./address_guard.ts";
import { Connection } from "./connection.ts";
import { type Connectors, Dialer, type DialRequest, type HostResolver } from "./dialer.ts";
import { formatHostAndPort, parseHost } from "./endpoint.ts";
import type { ResponseHeaders } from "./http1_reader.ts";
import { IdlePool } from "./idle_pool.ts";
import { noAnswerInTime, OutboundError } from "./outbound_error.ts";
import { Proxies, type Proxy, type ProxyVariables } from "./proxies.ts";
import { proxyAuthorization } from "./tunnel.ts";

/** One request to one target. Its signal ends headers and body as well. No redirect is ever followed here. */
export interface OutboundRequest extends DialRequest {
  readonly method: "GET" | "POST" | "OPTIONS";
  /** Path and query. Never logged: the query may hold an access token. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** A longer answer is an error. */
  readonly maxResponseBytes: number;
  /** Connections to the target at a time, {@link MAX_CONNECTIONS_PER_HOST} unless told otherwise. */
  readonly maxConnections?: number;
}

/** An answer, whatever its status. */
export interface OutboundResponse {
  readonly status: number;
  readonly headers: ResponseHeaders;
  readonly body: Uint8Array;
  /** The address at the other end, for the log; null behind a proxy. */
  readonly address: string | null;
}

/** Sends requests: the client itself, or a stand-in in tests. */
export interface Outbound {
  send(request: OutboundRequest): Promise<OutboundResponse>;
}

/** What the client is made of. */
export interface OutboundClientOptions {
  readonly guard: AddressGuard;
  /** Verify certificates and names. False in a lab only. */
  readonly verifyTls: boolean;
  readonly clock: Pick<Clock, "monotonicNow" | "setTimer">;
  /** Who asks, for the logs of others and for firewalls that refuse requests without (RFC 9110, 10.1.5): `name/version`. */
  readonly userAgent: string;
  /** The proxy variables of the environment. */
  readonly proxies?: ProxyVariables;
  readonly resolveHost?: HostResolver;
  readonly connectors?: Connectors;
}

/** Connections to one host and port at a time; further requests wait within their deadline. */
export const MAX_CONNECTIONS_PER_HOST = 64;

/** The same for hosts that the operator named or that have proved themselves: a storm costs them one round trip. */
export const MAX_CONNECTIONS_TO_KNOWN_HOST = 256;

const MAX_IDLE_CONNECTIONS = 260;

/** In use at once, to all hosts together under one rule of the guard: what strangers hold, named servers do not lack. */
const MAX_CONNECTIONS_PER_RULE = 272;

/** The same for what the operator named: one of two servers that hangs takes nothing from the other. */
const MAX_CONNECTIONS_TO_NAMED_HOSTS = 528;

/** Of these, to hosts that are not known: however many of them hang, known ones have the rest. */
const MAX_CONNECTIONS_TO_UNKNOWN_HOSTS = 144;

// What may stand in a request line, and in a header's value: nothing that could end it.
const TARGET = /^[\x21-\x7e]+$/;
const FIELD_VALUE = /^[\x20-\x7e]*$/;

const ASCII = new TextEncoder();

/** Keep-alive client. */
export class OutboundClient implements Outbound {
  readonly #guard: AddressGuard;
  readonly #verifyTls: boolean;
  readonly #userAgent: string;
  readonly #proxies: Proxies;
  readonly #dialer: Dialer;
  readonly #permits = new Semaphore(MAX_CONNECTIONS_PER_HOST);
  readonly #permitsOfRules = new Semaphore(MAX_CONNECTIONS_PER_RULE);
  readonly #idle: IdlePool<Connection>;

  constructor(options: OutboundClientOptions) {
    this.#guard = options.guard;
    this.#verifyTls = options.verifyTls;
    this.#userAgent = options.userAgent;
    this.#proxies = new Proxies(options.proxies ?? {});
    this.#dialer = new Dialer(options);
    this.#idle = new IdlePool(MAX_IDLE_CONNECTIONS, options.clock);
  }

  /** @throws OutboundError for everything that is no answer. */
  async send(asked: OutboundRequest): Promise<OutboundResponse> {
    const request = this.#withJudgedHost(asked);
    const { rule, secure, host, port, tlsName, signal, maxResponseBytes } = request;
    const where = formatHostAndPort(host, port);
    const proxy = this.#proxies.find(secure, host, port);
    const bytes = encode(request, proxy, this.#userAgent);

    // A connection must never serve a request that could not have opened it.
    const pool = `${rule} ${secure} ${host} ${port} ${tlsName ?? ""}`;
    using permit = await this.#permits.acquire(pool, signal, request.maxConnections);
    if (permit === null) throw noAnswerInTime(where);
    const isKnown = rule === "operator" || request.maxConnections === MAX_CONNECTIONS_TO_KNOWN_HOST;
    const limit = MAX_CONNECTIONS_TO_UNKNOWN_HOSTS;
    using permitOfUnknown = isKnown ? undefined : await this.#permitsOfRules.acquire(`${rule} unknown`, signal, limit);
    if (permitOfUnknown === null) throw noAnswerInTime(where);
    const isNamed = rule === "operator" || rule === "internal";
    const limitOfRule = isNamed ? MAX_CONNECTIONS_TO_NAMED_HOSTS : MAX_CONNECTIONS_PER_RULE;
    using permitOfRule = await this.#permitsOfRules.acquire(rule, signal, limitOfRule);
    if (permitOfRule === null) throw noAnswerInTime(where);
    const connection = this.#idle.take(pool) ?? new Connection(await this.#dialer.dial(request, proxy), where);
    const answer = await connection.exchange(bytes, { maxBodyBytes: maxResponseBytes }, signal);
    if (answer.isReusable) this.#idle.put(pool, connection, answer.headers["keep-alive"]);
    const { status, headers, body } = answer;
    return { status, headers, body, address: proxy === null ? connection.address : null };
  }

  /**
   * An IP literal in any of its written forms is judged, and dialed, in its usual one: here, since a proxy may be the
   * one that dials it.
   */
  #withJudgedHost(request: OutboundRequest): OutboundRequest {
    const { rule, host, port, secure } = request;
    const parsed = parseHost(host);
    if (parsed === null) throw new OutboundError("dns", `Cannot resolve ${host}:${port}: no host name`);
    if (parsed === "name" && port !== 0) return request;
    const address = parsed === "name" ? host : parsed.address;
    const refusal = this.#guard.refusal(rule, address, port, secure && this.#verifyTls);
    if (refusal !== null) throw new OutboundError("blocked", `Dial refused by the address guard: ${refusal}`);
    return address === host ? request : { ...request, host: address, tlsName: null };
  }

  /** Closes idle connections. */
  close(): void {
    this.#idle.close();
  }
}

/** The request on the wire. */
function encode(request: OutboundRequest, proxy: Proxy | null, userAgent: string): Uint8Array {
  const { method, path, host, port, hostHeader, headers = {}, body } = request;
  // An HTTP proxy is handed plain requests whole: their target is an absolute URL (RFC 9112, 3.2.2).
  const isHandedOver = proxy !== null && proxy.protocol !== "socks5" && !request.secure;
  const target = isHandedOver ? `http://${formatHostAndPort(host, port)}${path}` : path;
  // The host is written too, to proxies.
  let isWritable = TARGET.test(target) && TARGET.test(hostHeader) && TARGET.test(host);
  let head = `${method} ${target} HTTP/1.1\r\nhost: ${hostHeader}\r\nuser-agent: ${userAgent}\r\n`;
  for (const name in headers) {
    const value = headers[name] ?? "";
    isWritable &&= FIELD_VALUE.test(value);
    head += `${name}: ${value}\r\n`;
  }
  if (!isWritable) throw new OutboundError("protocol", `Cannot write a request to ${formatHostAndPort(host, port)}`);
  if (isHandedOver) head += proxyAuthorization(proxy);
  if (body === undefined) return ASCII.encode(`${head}\r\n`);
  head += `content-length: ${body.length}\r\n\r\n`;
  const bytes = new Uint8Array(head.length + body.length);
  ASCII.encodeInto(head, bytes);
  bytes.set(body, head.length);
  return bytes;
}
