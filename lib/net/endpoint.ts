// Hosts, ports and addresses as text: how each is written, read, and turned into where to connect.

import { isIP } from "node:net";

/** Where to connect, and as whom to greet. */
export interface Dial {
  /** TLS or plain HTTP. */
  readonly secure: boolean;
  /** What is resolved and dialed: a DNS name, or an IP literal without brackets. */
  readonly host: string;
  readonly port: number;
  /** `Host` header. */
  readonly hostHeader: string;
  /** Name in the TLS handshake (SNI) and on the certificate; null = the certificate must be valid for the IP. */
  readonly tlsName: string | null;
}

/** The dial of an `http:` or `https:` URL; its path is the caller's business. */
export function dialOf(url: URL): Dial {
  const secure = url.protocol === "https:";
  const host = withoutBrackets(url.hostname);
  const port = url.port === "" ? (secure ? 443 : 80) : Number(url.port);
  return { secure, host, port, hostHeader: url.host, tlsName: tlsNameOf(host) };
}

/** The name that a host's certificate must have; null when it must be valid for the IP address. */
export function tlsNameOf(host: string): string | null {
  // A dot at the end belongs to DNS only: no certificate and no SNI carries it (RFC 6066, 3).
  return isIP(withoutZone(host)) > 0 ? null : host.replace(/\.$/, "");
}

/** A base URL's path without the slashes at its end, to put other paths behind. */
export function basePathOf(url: URL): string {
  return url.pathname.replace(/\/+$/, "");
}

/** A host as URLs and `host:port` have it: IPv6 in brackets. */
export function withBrackets(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

/** `host:port`, IPv6 in brackets. */
export function formatHostAndPort(host: string, port: number): string {
  return `${withBrackets(host)}:${port}`;
}

/** A host without the brackets that URLs put around IPv6. */
export function withoutBrackets(host: string): string {
  return host.startsWith("[") && host.endsWith("]") ? host.slice(1, -1) : host;
}

/** An address without its zone: `fe80::1` of `fe80::1%eth0`. */
export function withoutZone(address: string): string {
  const zone = address.indexOf("%");
  return zone < 0 ? address : address.slice(0, zone);
}

const HOST_AND_PORT = /^(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([\w.*-]*))(?::(\d{1,5}))?$/;

/**
 * Parses `host`, `host:port`, `[::1]` or `[::1]:port`; the host may be empty.
 *
 * @returns null for anything else, a port above 65535 among it.
 */
export function parseHostAndPort(text: string): { host: string; port: number | null } | null {
  const match = HOST_AND_PORT.exec(text);
  const port = match?.[3] === undefined ? null : Number(match[3]);
  if (match === null || port !== null && port > 65_535) return null;
  return { host: match[1] ?? match[2] ?? "", port };
}

// What every resolver, and every URL, takes for an IPv4 address: its last part is a number.
const ENDS_IN_NUMBER = /(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)\.?$/i;

/**
 * Tells addresses from names: `127.0.0.1`, but also `2130706433`, `0x7f.1` and `127.0.0.1.` are the same address.
 *
 * Source: WHATWG URL, "ends in a number checker" and "IPv4 parser".
 *
 * @returns The address in its usual form, `name` for a DNS name, null for what is neither.
 */
export function parseHost(host: string): { readonly address: string } | "name" | null {
  if (!host.includes(":") && !ENDS_IN_NUMBER.test(host)) return host === "" ? null : "name";
  if (isIP(withoutZone(host)) > 0) return { address: host };
  const address = URL.canParse(`http://${host}`) ? new URL(`http://${host}`).hostname : "";
  return isIP(address) > 0 ? { address } : null;
}
