// Which client sent a request: the address at the other end of its connection, or the one that a trusted proxy saw
// there. What anybody could have written does not count.

import ipaddr from "ipaddr.js";
import { isIP } from "node:net";
import { parseHostAndPort, withoutZone } from "../net/endpoint.ts";
import { contains, type Network } from "../net/ip_range.ts";

/** An IP address; IPv4 inside IPv6 is unwrapped. */
export type ClientAddress = ipaddr.IPv4 | ipaddr.IPv6;

const IPV6_CLIENT_BITS = 64;
// A header is as long as its sender likes; nobody has that many proxies.
const MAX_FORWARDED_CHARACTERS = 2048;

/**
 * The client's address: from the connection inwards through `X-Forwarded-For`, from its right end, the first address
 * that no trusted proxy has.
 *
 * @param peer Text of the address at the other end; null on a unix socket, which only a proxy of this host opens.
 * @param forwardedFor The `X-Forwarded-For` header, all of its lines.
 * @returns null when there is none: a unix socket, and no header.
 */
export function clientAddress(
  peer: string | null,
  forwardedFor: string | null,
  trusted: readonly Network[],
): ClientAddress | null {
  let client = peer === null ? null : parseAddress(peer);
  const hops = (forwardedFor ?? "").slice(-MAX_FORWARDED_CHARACTERS).split(",");
  for (const hop of hops.reverse()) {
    if (client !== null && !isTrusted(client, trusted)) break;
    const address = parseAddress(withoutPort(hop.trim()));
    // "unknown", or no header at all: the last address that is known stands for it.
    if (address === null) break;
    client = address;
  }
  return client;
}

/** What one client is for a limit: an IPv4 address, or the /64 that an IPv6 host has to itself. */
export function clientKey(address: ClientAddress): string {
  if (address instanceof ipaddr.IPv4) return address.toString();
  return `${ipaddr.IPv6.networkAddressFromCIDR(`${address}/${IPV6_CLIENT_BITS}`)}/${IPV6_CLIENT_BITS}`;
}

/**
 * Whether the other end of a connection is a trusted proxy.
 *
 * @param peer As for {@link clientAddress}.
 */
export function isTrustedPeer(peer: string | null, trusted: readonly Network[]): boolean {
  if (peer === null) return true;
  const address = trusted.length === 0 ? null : parseAddress(peer);
  return address !== null && isTrusted(address, trusted);
}

function isTrusted(address: ClientAddress, trusted: readonly Network[]): boolean {
  return trusted.some((network) => contains(network, address));
}

function parseAddress(text: string): ClientAddress | null {
  const bare = withoutZone(text);
  return isIP(bare) > 0 ? ipaddr.process(bare) : null;
}

// Some proxies write the port as well: 192.0.2.1:1234, [2001:db8::1]:1234.
function withoutPort(text: string): string {
  return parseHostAndPort(text)?.host ?? text;
}
