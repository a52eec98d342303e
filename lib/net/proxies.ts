// Outbound proxies: which request goes through which one, by the variables that every program knows.
// Source: the conventions of Go's net/http (golang.org/x/net/http/httpproxy).

import ipaddr from "ipaddr.js";
import { isIP } from "node:net";
import { parseHostAndPort, withoutBrackets } from "./endpoint.ts";
import { contains, type Network, parseNetwork } from "./ip_range.ts";

/** Outbound proxies, in the form of the environment variables of these names. */
export interface ProxyVariables {
  readonly HTTP_PROXY?: string;
  readonly HTTPS_PROXY?: string;
  readonly NO_PROXY?: string;
}

/** How a proxy is spoken to. Both forms of SOCKS5 leave the resolution of names to the proxy. */
export const PROXY_PROTOCOLS: readonly string[] = ["http:", "https:", "socks5:", "socks5h:"];

/** One proxy. */
export interface Proxy {
  readonly protocol: "http" | "https" | "socks5";
  readonly host: string;
  readonly port: number;
  /** Null without a user in the URL. */
  readonly login: { readonly user: string; readonly password: string } | null;
}

/** A host that is reached directly; on this port only, when there is one. */
interface Exception {
  readonly matches: (host: string) => boolean;
  readonly port: number | null;
}

/** The proxies of one client. */
export class Proxies {
  readonly #http: Proxy | null;
  readonly #https: Proxy | null;
  readonly #exceptions: readonly Exception[];

  constructor({ HTTP_PROXY, HTTPS_PROXY, NO_PROXY = "" }: ProxyVariables) {
    this.#http = HTTP_PROXY === undefined ? null : parseProxy(new URL(HTTP_PROXY));
    this.#https = HTTPS_PROXY === undefined ? null : parseProxy(new URL(HTTPS_PROXY));
    this.#exceptions = NO_PROXY.split(",").flatMap((entry) => parseException(entry.trim().toLowerCase()) ?? []);
  }

  /** The proxy for a target; null when it is dialed directly. */
  find(secure: boolean, target: string, port: number): Proxy | null {
    const proxy = secure ? this.#https : this.#http;
    if (proxy === null) return null;
    const host = target.toLowerCase();
    // The guard exempts the proxy's own address, but only for the proxy's own sake.
    if (host === this.#http?.host || host === this.#https?.host) return null;
    if (host === "localhost" || isLoopback(host)) return null;
    return this.#exceptions.some((one) => (one.port ?? port) === port && one.matches(host)) ? null : proxy;
  }
}

const DEFAULT_PORTS = { http: 80, https: 443, socks5: 1080 };

function parseProxy(url: URL): Proxy {
  const scheme = url.protocol.slice(0, -1);
  const protocol = scheme === "http" || scheme === "https" ? scheme : "socks5";
  return {
    protocol,
    host: withoutBrackets(url.hostname).toLowerCase(),
    port: url.port === "" ? DEFAULT_PORTS[protocol] : Number(url.port),
    login: url.username === "" ? null : { user: decode(url.username), password: decode(url.password) },
  };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a password with a % that was not escaped
  }
}

/** `*`, a network, an address, a name with all below it, or with a dot in front only what is below it. */
function parseException(entry: string): Exception | null {
  if (entry === "*") return { matches: () => true, port: null };
  const network = entry.includes("/") ? parseNetwork(entry) : null;
  if (network !== null) return { matches: (host) => isIn(network, host), port: null };
  const { host, port } = parseHostAndPort(entry) ?? { host: entry, port: null };
  if (host === "") return null;
  const address = parseNetwork(host);
  if (isIP(host) > 0 && address !== null) return { matches: (target) => isIn(address, target), port };
  const name = host.startsWith("*.") ? host.slice(1) : host;
  const below = name.startsWith(".") ? name : `.${name}`;
  return { matches: (target) => target === name || target.endsWith(below), port };
}

function isIn(network: Network, host: string): boolean {
  return isIP(host) > 0 && contains(network, ipaddr.process(host));
}

function isLoopback(host: string): boolean {
  return isIP(host) > 0 && ipaddr.process(host).range() === "loopback";
}
