// The address guard: which addresses may be dialed on behalf of whom. Requests name hosts that the service then
// connects to, so it judges the very address that is dialed, after DNS and on every hop.

import { classOf, contains, type Network, parseAddress } from "./ip_range.ts";

/**
 * How far a dial may go.
 * - `operator`: the operator wrote this very address (SFU): no judgement.
 * - `internal`: a server the operator named: internal addresses too.
 * - `internal-verified`: internal addresses only when TLS is verified, so that nothing is sent before a certificate for the
 *   asked name was seen.
 * - `public`: public addresses only.
 */
export type DialRule = "operator" | "internal" | "internal-verified" | "public";

/**
 * The rule for a host that a server's name leads to, by a redirect, a delegation, an SRV record or a base URL. What
 * anybody may send under `*` opens internal addresses for its own name alone.
 *
 * @param asked The host of the server name that was asked for.
 */
export function ruleBeyond(rule: DialRule, asked: string, host: string): DialRule {
  const isItself = host.toLowerCase() === asked.toLowerCase();
  return rule === "internal-verified" && !isItself ? "public" : rule;
}

/** Judges addresses before they are dialed. */
export class AddressGuard {
  readonly #allowNetworks: readonly Network[];

  /** @param allowNetworks Internal networks open to every server. */
  constructor(allowNetworks: readonly Network[]) {
    this.#allowNetworks = allowNetworks;
  }

  /**
   * Judges one dial.
   *
   * @param address An IP address in any written form, IPv6 without brackets.
   * @param verifiedTls Whether nothing is sent before a valid certificate was seen.
   * @returns null when it may be dialed, else the reason why not.
   */
  refusal(rule: DialRule, address: string, port: number, verifiedTls: boolean): string | null {
    if (rule === "operator") return null;
    if (port === 0) return "port 0 is never dialed";
    const parsed = parseAddress(address);
    if (parsed === null) return `"${address}" is no IP address`;
    const kind = classOf(parsed);
    if (kind === "public") return null;
    if (kind === "never") return `${address} is never dialed (unspecified, link-local, multicast or broadcast)`;
    if (rule === "internal" || this.#allowNetworks.some((network) => contains(network, parsed))) return null;
    if (rule === "internal-verified") {
      return verifiedTls ? null : `${address} is an internal address and this is not TLS`;
    }
    return `${address} is an internal address`;
  }
}
