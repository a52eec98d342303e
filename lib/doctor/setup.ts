// From a configuration to the checks of its set-up: which servers it names, and with what they are asked.

import type { Clients } from "../clients.ts";
import type { Config } from "../config/config.ts";
import type { Clock } from "../async/clock.ts";
import type { Check } from "./check.ts";
import type { ExaminationDeps } from "./doctor.ts";
import { checkHomeserver } from "./homeserver_checks.ts";
import { probeOf } from "./probe.ts";
import { checkSfu } from "./sfu_checks.ts";

/** The servers that the operator named, each once, as written. */
export function namedServers({ fullAccess, federationUrlOverrides, csApiUrlOverrides }: Config): string[] {
  const listed = fullAccess === "*" ? [] : fullAccess;
  return [...new Set([...listed, ...federationUrlOverrides.keys(), ...csApiUrlOverrides.keys()])];
}

/** What the checks of others need, from the service's own clients. */
export function checkDeps(
  config: Config,
  { outbound, roomService, signer, discovery, federation, clientDiscovery, ruleFor }: Clients,
  clock: Clock,
): Pick<ExaminationDeps, "sfu" | "homeserver" | "clientApi" | "delegation"> {
  const probe = probeOf(outbound);
  return {
    sfu: {
      apiUrl: config.sfuApiUrl,
      livekitUrl: config.livekitUrl,
      roomService,
      signer,
      probe,
      clock,
      unusedName: () => `lk-jwt-service-check-${crypto.randomUUID()}`,
    },
    homeserver: { discovery, federation, clock },
    clientApi: { clientDiscovery, ruleFor, probe },
    delegation: config.delegation,
  };
}

/** The checks that a service makes at its start: the SFU, and each named homeserver. */
export function startupCheck(config: Config, clients: Clients, clock: Clock) {
  const { sfu, homeserver } = checkDeps(config, clients, clock);
  return async (signal: AbortSignal): Promise<readonly Check[]> => {
    const servers = namedServers(config).map((entry) => checkHomeserver(entry, homeserver, signal));
    return (await Promise.all([checkSfu(sfu, signal), ...servers])).flat();
  };
}
