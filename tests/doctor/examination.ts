// The doctor on a made-up world: the service's own clients over scripted answers.

import { createClients, policyOf } from "../../lib/clients.ts";
import { parseConfig } from "../../lib/config/config.ts";
import type { Check } from "../../lib/doctor/check.ts";
import { examine } from "../../lib/doctor/doctor.ts";
import { checkDeps, namedServers } from "../../lib/doctor/setup.ts";
import { systemPlatform } from "../../lib/platform.ts";
import { FakeOutbound } from "../../testing/fake_outbound.ts";
import { answerFrom, HEALTHY, NOW, type Replies, VARIABLES } from "./healthy_world.ts";

/** What differs from the healthy world. */
export interface Differences {
  readonly replies?: Replies;
  readonly variables?: Readonly<Record<string, string>>;
  readonly publicUrl?: string | null;
  readonly serverNames?: readonly string[];
}

/** All checks of others, in a world with these differences. */
export async function examineWorld(differences: Differences): Promise<readonly Check[]> {
  const { replies = {}, variables = {}, publicUrl = null, serverNames = [] } = differences;
  const parsed = parseConfig({ ...VARIABLES, ...variables }, () => "");
  if (!parsed.ok) throw new TypeError(parsed.problems.join("; "));
  const { config } = parsed;
  const outbound = new FakeOutbound(answerFrom({ ...HEALTHY, ...replies }));
  const clock = {
    now: () => NOW,
    monotonicNow: () => 0,
    setTimer: () => () => {},
    sleep: () => Promise.resolve(),
  };
  const platform = { ...systemPlatform, clock, resolveSrv: () => Promise.resolve([]) };
  const clients = createClients(config, platform, { homeservers: policyOf(config), wrap: () => outbound });
  const { checks } = await examine([...namedServers(config), ...serverNames], publicUrl, {
    ...checkDeps(config, clients, clock),
    checkOwn: () => Promise.resolve([]),
    onProgress: () => {},
  }, new AbortController().signal);
  return checks;
}
