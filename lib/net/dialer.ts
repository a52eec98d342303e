// Opens connections: resolves the host, has the guard judge the very addresses that are dialed, goes through the proxy
// where there is one, and shakes hands over TLS.

import dns from "node:dns/promises";
import net, { isIP, type LookupFunction, type Socket } from "node:net";
import tls from "node:tls";
import type { Clock } from "../async/clock.ts";
import type { AddressGuard, DialRule } from "./address_guard.ts";
import { type Dial, formatHostAndPort, tlsNameOf } from "./endpoint.ts";
import { classify, noAnswerInTime, OutboundError } from "./outbound_error.ts";
import type { Proxy } from "./proxies.ts";
import { until } from "./socket_event.ts";
import { openTunnel } from "./tunnel.ts";

/** Resolves a host name to its addresses, in the order to try them. Rejects when there is none. */
export type HostResolver = (hostname: string) => Promise<readonly string[]>;

/** A TCP connection to make. */
export interface TcpTarget {
  /** What the addresses belong to, for the record. */
  readonly host: string;
  readonly port: number;
  /** Tried in this order; at least one. */
  readonly addresses: readonly string[];
}

/** A connection that is wanted. */
export interface DialRequest extends Dial {
  /** How far the guard lets this dial go. */
  readonly rule: DialRule;
  /** Ends name resolution, connect and TLS handshake alike. */
  readonly signal: AbortSignal;
  /** Gives up on a connection that is not there by then; without it the signal alone decides. */
  readonly connectTimeoutMs?: number;
}

/** Makes the TCP sockets: replaced in tests that record dials or map ports of a scripted network. */
export interface Connectors {
  tcp(target: TcpTarget): Socket;
}

/** What a dialer is made of. */
export interface DialerOptions {
  readonly guard: AddressGuard;
  /** Verify certificates and names. False in a lab only. */
  readonly verifyTls: boolean;
  readonly clock: Pick<Clock, "setTimer">;
  readonly resolveHost?: HostResolver;
  readonly connectors?: Connectors;
}

// RFC 8305: the other address family is tried after a quarter of a second, not after the deadline.
const NEXT_ADDRESS_AFTER_MS = 250;

/** Opens connections that are ready for a request. */
export class Dialer {
  readonly #options: DialerOptions;

  constructor(options: DialerOptions) {
    this.#options = options;
  }

  /**
   * Opens a connection, by the proxy when there is one.
   *
   * @throws OutboundError, `timeout` once the request's signal is aborted.
   */
  async dial(request: DialRequest, proxy: Proxy | null): Promise<Socket> {
    const { host, port, secure, tlsName, signal, connectTimeoutMs } = request;
    const where = formatHostAndPort(host, port);
    const end = Promise.withResolvers<never>();
    const step = <T>(work: Promise<T>): Promise<T> => Promise.race([work, end.promise]);
    if (signal.aborted) throw noAnswerInTime(where);
    const abort = () => end.reject(noAnswerInTime(where));
    const cancelTimer = connectTimeoutMs === undefined ? () => {} : this.#options.clock.setTimer(
      () => end.reject(new OutboundError("connect", `No connection to ${where} within ${connectTimeoutMs} ms`)),
      connectTimeoutMs,
    );
    signal.addEventListener("abort", abort, { once: true });
    const sockets: Socket[] = [];
    const hold = (socket: Socket): Socket => {
      sockets.push(socket);
      return socket.on("error", () => {}); // the step that waits tells it; after that it is of no interest
    };
    try {
      const addresses = await step(proxy === null ? this.#judge(request) : this.#resolve(proxy.host));
      const target = { host: proxy?.host ?? host, port: proxy?.port ?? port, addresses };
      let socket = hold((this.#options.connectors ?? SYSTEM).tcp(target));
      await step(until(socket, "connect"));
      cancelTimer();
      if (proxy?.protocol === "https") {
        socket = hold(this.#startTls(socket, proxy.host, tlsNameOf(proxy.host)));
        await step(until(socket, "secureConnect"));
      }
      if (proxy !== null && (secure || proxy.protocol === "socks5")) await step(openTunnel(socket, proxy, host, port));
      if (secure) {
        socket = hold(this.#startTls(socket, host, tlsName));
        await step(until(socket, "secureConnect"));
      }
      return socket;
    } catch (error) {
      for (const socket of sockets.reverse()) socket.destroy();
      throw classify(error, where);
    } finally {
      cancelTimer();
      signal.removeEventListener("abort", abort);
    }
  }

  /** The guard sees the very list that is dialed from: between the check and the connect nothing is resolved again. */
  async #judge({ rule, host, port, secure }: DialRequest): Promise<readonly string[]> {
    const { guard, verifyTls } = this.#options;
    const addresses = await this.#resolve(host);
    const refusals = addresses.map((address) => guard.refusal(rule, address, port, secure && verifyTls));
    const allowed = addresses.filter((_, index) => refusals[index] === null);
    if (allowed.length > 0) return allowed;
    const reasons = [...new Set(refusals)].join(", ") || "no address";
    throw new OutboundError("blocked", `Dial refused by the address guard: ${host}: ${reasons}`);
  }

  async #resolve(host: string): Promise<readonly string[]> {
    return isIP(host) > 0 ? [host] : await (this.#options.resolveHost ?? resolveBySystem)(host);
  }

  #startTls(socket: Socket, host: string, tlsName: string | null): Socket {
    return tls.connect({ socket, host, servername: tlsName ?? "", rejectUnauthorized: this.#options.verifyTls });
  }
}

const SYSTEM: Connectors = {
  tcp({ host, port, addresses }) {
    const lookup: LookupFunction = (_, __, callback) =>
      callback(null, addresses.map((address) => ({ address, family: isIP(address) })));
    return net.connect({
      host,
      port,
      lookup,
      noDelay: true,
      autoSelectFamily: true,
      autoSelectFamilyAttemptTimeout: NEXT_ADDRESS_AFTER_MS,
    });
  },
};

// Not a resolver of our own: hosts files and the container's search domains must count.
async function resolveBySystem(hostname: string): Promise<string[]> {
  const found = await dns.lookup(hostname, { all: true, order: "verbatim" });
  return found.map(({ address }) => address);
}
