// The parts of the service that face homeservers, wired as in production, on a scripted network.

import { FederationClient } from "../../lib/matrix/federation_client.ts";
import { OpenIdVerifier } from "../../lib/matrix/openid.ts";
import { ServerDiscovery } from "../../lib/matrix/server_discovery.ts";
import type { AddressGuardOptions, DialRule } from "../../lib/net/address_guard.ts";
import { systemClock } from "../../lib/platform.ts";
import { Secret } from "../../lib/secret.ts";
import { RecordingLog } from "../../testing/recording_log.ts";
import { ManualClock } from "../../testing/manual_clock.ts";
import { createGuard, DisposableClient } from "../../testing/loopback.ts";
import type { ScriptedNetwork } from "../../testing/scripted_network.ts";

/** What a test may choose. */
export interface FederationStackOptions {
  readonly guard?: Partial<AddressGuardOptions>;
  /** In place of the guard's own rules. */
  readonly ruleFor?: (serverName: string) => DialRule;
  readonly overrides?: ReadonlyMap<string, URL>;
}

/** A token that no log and no error may show. */
export const TOKEN = "secret+token/with=odd&characters";

/** The parts, each open to the test. */
export class FederationStack implements Disposable {
  readonly clock = new ManualClock();
  readonly log = new RecordingLog();
  readonly client: DisposableClient;
  readonly discovery: ServerDiscovery;
  readonly federation: FederationClient;
  readonly verifier: OpenIdVerifier;

  constructor(network: ScriptedNetwork, options: FederationStackOptions = {}) {
    const guard = createGuard(options.guard);
    const { resolveHost, resolveSrv, connectors } = network;
    const verifyTls = options.guard?.tlsSkipped !== true;
    this.client = new DisposableClient({ guard, verifyTls, clock: systemClock, resolveHost, connectors });
    const deps = {
      outbound: this.client,
      resolveSrv,
      ruleFor: options.ruleFor ?? ((serverName: string) => guard.ruleFor(serverName)),
      now: this.clock.now,
      monotonicNow: this.clock.monotonicNow,
      sleep: () => Promise.resolve(),
      random: () => 0.5,
      log: this.log,
      overrides: options.overrides ?? new Map(),
    };
    this.discovery = new ServerDiscovery(deps);
    this.federation = new FederationClient({ ...deps, discovery: this.discovery });
    this.verifier = new OpenIdVerifier({ ...deps, federation: this.federation });
  }

  /** Verifies {@link TOKEN}, or another, with a server: the user ID, or the status of the refusal. */
  async verify(matrixServerName: string, token = TOKEN): Promise<string> {
    try {
      const accessToken = new Secret(token);
      return await this.verifier.verify({ accessToken, matrixServerName }, new AbortController().signal);
    } catch (error) {
      if (error instanceof Error && "status" in error) return `${error.status}`;
      throw error;
    }
  }

  /** The steps of the last record in the log. */
  get story(): string {
    const steps = this.log.of("warning").at(-1)?.fields["steps"];
    return Array.isArray(steps) ? steps.join("\n") : "";
  }

  [Symbol.dispose](): void {
    this.client.close();
  }
}
