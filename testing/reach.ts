// What an operator's configuration lets the service dial, for tests of the address guard and of what goes through it.

import { HomeserverPolicy, type HomeserverPolicyOptions } from "../lib/admission/homeserver_policy.ts";
import type { DialRule } from "../lib/net/address_guard.ts";
import type { Network } from "../lib/net/ip_range.ts";

/** The part of a configuration that decides it. Without any of it every server has full access. */
export interface Reach extends Partial<Pick<HomeserverPolicyOptions, "fullAccess" | "overridden" | "tlsSkipped">> {
  /** Internal networks open to every server. */
  readonly allowNetworks?: readonly Network[];
}

/** Gives the rule for each server name. */
export function ruleForIn({ fullAccess = "*", overridden = new Set(), tlsSkipped = false }: Reach = {}) {
  const policy = new HomeserverPolicy({ fullAccess, overridden, tlsSkipped, allowed: "*", blocked: [] });
  return (server: string): DialRule => policy.ruleFor(server);
}
