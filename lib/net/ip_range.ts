// IP addresses as text, the classes they fall into, and networks.

import ipaddr from "ipaddr.js";
import { withoutZone } from "./endpoint.ts";

/**
 * What an address is, seen from a request that anybody may send.
 * - `public`: reachable by everybody anyway.
 * - `internal`: loopback, private, shared (CGNAT), unique local, and the blocks reserved for documentation or tests.
 * - `never`: unspecified, link-local (cloud metadata lives there), multicast, broadcast.
 */
export type AddressClass = "public" | "internal" | "never";

/** An IP address, parsed. */
export type IpAddress = ipaddr.IPv4 | ipaddr.IPv6;

/** A range of addresses in CIDR form, parsed by {@link parseNetwork}. */
export type Network = readonly [address: IpAddress, prefixLength: number];

// ipaddr.js names of the ranges that may never be dialed. "reserved" of IPv4 (240.0.0.0/4 and the documentation
// blocks) and the rest of what is not "unicast" count as internal: nothing public lives there.
const NEVER = new Set(["unspecified", "linkLocal", "multicast", "broadcast"]);
const PUBLIC = new Set(["unicast", "as112", "as112v6", "amt", "orchid2", "droneRemoteIdProtocolEntityTags"]);

// Amazon's metadata service over IPv6, inside the unique local range.
const METADATA_IPV6 = "fd00:ec2::254";

const IPV4_COMPATIBLE = ipaddr.IPv6.parseCIDR("::/96");
// All that is assigned for global use (RFC 4291, IANA's registry). What translates to IPv4 inside a site
// (64:ff9b:1::/48, RFC 8215) is not part of it.
const GLOBAL_UNICAST = ipaddr.IPv6.parseCIDR("2000::/3");
const THIS_NETWORK = ipaddr.IPv4.parseCIDR("0.0.0.0/8");
const NAT64_LOCAL = ipaddr.IPv6.parseCIDR("64:ff9b:1::/48");

/** The class of an address that {@link parseAddress} gave. */
export function classOf(address: IpAddress): AddressClass {
  if (address instanceof ipaddr.IPv4 && address.match(THIS_NETWORK)) return "never";
  if (address.toString() === METADATA_IPV6) return "never";
  const range: string = address.range();
  if (NEVER.has(range)) return "never";
  if (address instanceof ipaddr.IPv6 && !address.match(GLOBAL_UNICAST)) return "internal";
  return PUBLIC.has(range) ? "public" : "internal";
}

/**
 * Parses an address, down to the one that a packet reaches in the end: IPv4 inside IPv6 is unwrapped, a zone left out.
 *
 * @returns null when it is no IP address.
 */
export function parseAddress(text: string): IpAddress | null {
  const bare = withoutZone(text);
  if (!ipaddr.isValid(bare)) return null;
  const address = ipaddr.parse(bare);
  return address instanceof ipaddr.IPv6 ? unwrap(address) : address;
}

/**
 * Parses a network: `10.0.0.0/8`, `fd00::/8`, or one address.
 *
 * @returns null when it is neither.
 */
export function parseNetwork(text: string): Network | null {
  try {
    if (text.includes("/")) return ipaddr.parseCIDR(text);
    const address = ipaddr.parse(text);
    return [address, address.kind() === "ipv4" ? 32 : 128];
  } catch {
    return null;
  }
}

/** Whether a network holds an address. */
export function contains(network: Network, address: IpAddress): boolean {
  const [base, prefixLength] = network;
  if (base instanceof ipaddr.IPv4 && address instanceof ipaddr.IPv4) return address.match(base, prefixLength);
  if (base instanceof ipaddr.IPv6 && address instanceof ipaddr.IPv6) return address.match(base, prefixLength);
  return false;
}

// IPv4-mapped (RFC 4291), IPv4-translated (RFC 6145), NAT64 (RFC 6052), 6to4 (RFC 3056) and the deprecated
// IPv4-compatible form: all of them may end at the IPv4 address inside. In the NAT64 prefix for local use (RFC 8215)
// the site chooses where that stands, so that no more is known than that it is inside, or never.
function unwrap(address: ipaddr.IPv6): IpAddress {
  const bytes = address.toByteArray();
  const range: string = address.range();
  const last = new ipaddr.IPv4(bytes.slice(12));
  if (address.match(NAT64_LOCAL)) return classOf(last) === "never" ? last : address;
  if (range === "ipv4Mapped" || range === "rfc6145" || range === "rfc6052") return last;
  if (range === "6to4") return new ipaddr.IPv4(bytes.slice(2, 6));
  if (address.match(IPV4_COMPATIBLE) && range !== "unspecified" && range !== "loopback") return last;
  return address;
}
