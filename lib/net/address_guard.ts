// The address guard: which addresses may be dialled on behalf of whom. Requests name hosts that the service then
// connects to, so it judges the very address that is dialled, after DNS and on every hop.

import ipaddr from "ipaddr.js";

/**
 * What an address is, seen from a request that anybody may send.
 * - `public`: reachable by everybody anyway.
 * - `inner`: loopback, private, shared (CGNAT), unique local, and the blocks reserved for documentation or tests.
 * - `never`: unspecified, link-local (cloud metadata lives there), multicast, broadcast.
 */
export type AddressClass = "public" | "inner" | "never";

/**
 * How far a dial may go.
 * - `operator`: the operator wrote this very address (SFU): no judgement.
 * - `inner`: a server the operator named: inner addresses too.
 * - `inner-verified`: inner addresses only when TLS is verified, so that nothing is sent before a certificate for the
 *   asked name was seen.
 * - `public`: public addresses only.
 */
export type DialRule = "operator" | "inner" | "inner-verified" | "public";

/** A range of addresses in CIDR form, parsed by {@link parseNetwork}. */
export type Network = readonly [address: ipaddr.IPv4 | ipaddr.IPv6, prefixLength: number];

/** What the guard knows of the configuration. */
export interface AddressGuardOptions {
  /** Servers with full access: `*`, or the names listed. */
  readonly fullAccess: "*" | ReadonlySet<string>;
  /** Server names whose address the operator gave. */
  readonly overridden: ReadonlySet<string>;
  /** Inner networks open to every server. */
  readonly allowNetworks: readonly Network[];
  /** True in a lab that verifies no certificates. */
  readonly tlsSkipped: boolean;
}

// ipaddr.js names of the ranges that may never be dialled. "reserved" of IPv4 (240.0.0.0/4 and the documentation
// blocks) and the rest of what is not "unicast" count as inner: nothing public lives there.
const NEVER = new Set(["unspecified", "linkLocal", "multicast", "broadcast"]);
const PUBLIC = new Set(["unicast", "as112", "as112v6", "amt", "orchid2", "droneRemoteIdProtocolEntityTags"]);

// Amazon's metadata service over IPv6, inside the unique local range.
const METADATA_IPV6 = "fd00:ec2::254";

const NAT64_LOCAL = ipaddr.IPv6.parseCIDR("64:ff9b:1::/48");
const IPV4_COMPATIBLE = ipaddr.IPv6.parseCIDR("::/96");
// All that is assigned for global use (RFC 4291, IANA's registry).
const GLOBAL_UNICAST = ipaddr.IPv6.parseCIDR("2000::/3");
const THIS_NETWORK = ipaddr.IPv4.parseCIDR("0.0.0.0/8");

/** Judges addresses before they are dialled. */
export class AddressGuard {
  readonly #options: AddressGuardOptions;

  constructor(options: AddressGuardOptions) {
    this.#options = options;
  }

  /** The rule for every dial made on behalf of a server name, whatever host a delegation leads to. */
  ruleFor(serverName: string): DialRule {
    const { fullAccess, overridden, tlsSkipped } = this.#options;
    if (tlsSkipped || overridden.has(serverName)) return "inner";
    if (fullAccess === "*") return "inner-verified";
    return fullAccess.has(serverName) ? "inner" : "public";
  }

  /**
   * Judges one dial.
   *
   * @param address An IP address in any written form, IPv6 without brackets.
   * @param verifiedTls Whether nothing is sent before a valid certificate was seen.
   * @returns null when it may be dialled, else the reason why not.
   */
  refusal(rule: DialRule, address: string, port: number, verifiedTls: boolean): string | null {
    if (rule === "operator") return null;
    if (port === 0) return "port 0 is never dialled";
    const parsed = parseAddress(address);
    if (parsed === null) return `"${address}" is no IP address`;
    const kind = classify(parsed);
    if (kind === "public") return null;
    if (kind === "never") return `${address} is never dialled (unspecified, link-local, multicast or broadcast)`;
    if (rule === "inner" || this.#options.allowNetworks.some((network) => contains(network, parsed))) return null;
    if (rule === "inner-verified") return verifiedTls ? null : `${address} is an inner address and this is not TLS`;
    return `${address} is an inner address`;
  }
}

/** The class of an IP address; `never` for what is no address at all. */
export function classifyAddress(address: string): AddressClass {
  const parsed = parseAddress(address);
  return parsed === null ? "never" : classify(parsed);
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

function classify(address: ipaddr.IPv4 | ipaddr.IPv6): AddressClass {
  if (address instanceof ipaddr.IPv4 && address.match(THIS_NETWORK)) return "never";
  if (address.toString() === METADATA_IPV6) return "never";
  const range: string = address.range();
  if (NEVER.has(range)) return "never";
  if (address instanceof ipaddr.IPv6 && !address.match(GLOBAL_UNICAST)) return "inner";
  return PUBLIC.has(range) ? "public" : "inner";
}

/** Parses an address down to the one that a packet reaches in the end: IPv4 inside IPv6 is unwrapped. */
function parseAddress(text: string): ipaddr.IPv4 | ipaddr.IPv6 | null {
  const zone = text.indexOf("%");
  const bare = zone < 0 ? text : text.slice(0, zone);
  if (!ipaddr.isValid(bare)) return null;
  const address = ipaddr.parse(bare);
  return address instanceof ipaddr.IPv6 ? unwrap(address) : address;
}

// IPv4-mapped (RFC 4291), IPv4-translated (RFC 6145), NAT64 (RFC 6052, RFC 8215), 6to4 (RFC 3056) and the deprecated
// IPv4-compatible form: all of them may end at the IPv4 address inside.
function unwrap(address: ipaddr.IPv6): ipaddr.IPv4 | ipaddr.IPv6 {
  const bytes = address.toByteArray();
  const range: string = address.range();
  const last = () => new ipaddr.IPv4(bytes.slice(12));
  if (range === "ipv4Mapped" || range === "rfc6145" || range === "rfc6052") return last();
  if (range === "6to4") return new ipaddr.IPv4(bytes.slice(2, 6));
  if (address.match(NAT64_LOCAL)) return last();
  if (address.match(IPV4_COMPATIBLE) && range !== "unspecified" && range !== "loopback") return last();
  return address;
}

/** Whether a network holds an address. */
export function contains(network: Network, address: ipaddr.IPv4 | ipaddr.IPv6): boolean {
  const [base, prefixLength] = network;
  if (base instanceof ipaddr.IPv4 && address instanceof ipaddr.IPv4) return address.match(base, prefixLength);
  if (base instanceof ipaddr.IPv6 && address instanceof ipaddr.IPv6) return address.match(base, prefixLength);
  return false;
}
