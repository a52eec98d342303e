// The parts of the service that face homeservers, wired as in production, on a scripted network.

import { FederationClient } from "../../lib/matrix/federation_client.ts";
import { openIdToken, OpenIdVerifier } from "../../lib/matrix/openid.ts";
import { ServerDiscovery } from "../../lib/matrix/server_discovery.ts";
import { AddressGuard, type DialRule } from "../../lib/net/address_guard.ts";
import { type Reach, ruleForIn } from "../../testing/reach.ts";
import { MatrixError } from "../../lib/matrix_error.ts";
import { systemClock } from "../../lib/platform.ts";
import { ManualClock } from "../../testing/manual_clock.ts";
import { DisposableClient } from "../../testing/loopback.ts";
import type { ScriptedNetwork } from "../../testing/scripted_network.ts";

/** What a test may choose. */
export interface FederationStackOptions {
  readonly guard?: Reach;
  /** In place of the guard's own rules. */
  readonly ruleFor?: (serverName: string) => DialRule;
  readonly overrides?: ReadonlyMap<string, URL>;
}

/** A token that no log and no error may show. */
export const TOKEN = "secret+token/with=odd&characters";

/** The parts, each open to the test. */
export class FederationStack implements Disposable {
  readonly clock = new ManualClock();
  /** The last refusal, as a log would get it. */
  refusal: MatrixError | null = null;
  readonly client: DisposableClient;
  readonly discovery: ServerDiscovery;
  readonly federation: FederationClient;
  readonly verifier: OpenIdVerifier;

  constructor(network: ScriptedNetwork, options: FederationStackOptions = {}) {
    const guard = new AddressGuard(options.guard?.allowNetworks ?? []);
    const { resolveHost, resolveSrv, connectors } = network;
    const verifyTls = options.guard?.tlsSkipped !== true;
    this.client = new DisposableClient({
      guard,
      verifyTls,
      clock: systemClock,
      userAgent: "test",
      resolveHost,
      connectors,
    });
    const deps = {
      outbound: this.client,
      resolveSrv,
      ruleFor: options.ruleFor ?? ruleForIn(options.guard),
      clock: {
        ...systemClock,
        now: this.clock.now,
        monotonicNow: this.clock.monotonicNow,
        sleep: () => Promise.resolve(),
      },
      random: () => 0.5,
      overrides: options.overrides ?? new Map(),
    };
    this.discovery = new ServerDiscovery(deps);
    this.federation = new FederationClient({ ...deps, discovery: this.discovery });
    this.verifier = new OpenIdVerifier({ ...deps, federation: this.federation });
  }

  /** Verifies {@link TOKEN}, or another, with a server: the user ID, or the status of the refusal. */
  async verify(matrixServerName: string, token = TOKEN): Promise<string> {
    try {
      return (await this.verifier.verify(openIdToken(token, matrixServerName), new AbortController().signal)).user;
    } catch (error) {
      if (!(error instanceof MatrixError)) throw error;
      this.refusal = error;
      return `${error.status}`;
    }
  }

  /** The steps of the last refusal. */
  get steps(): string {
    const steps = this.refusal?.details.fields?.steps;
    return Array.isArray(steps) ? steps.join("\n") : "";
  }

  /** The advice of the last refusal. */
  get advice(): string {
    return String(this.refusal?.details.fields?.advice ?? "");
  }

  [Symbol.dispose](): void {
    this.client.close();
  }
}
