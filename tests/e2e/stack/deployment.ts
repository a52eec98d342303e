// Everything that a call is made of, wired as a deployment wires it: a local and a federated homeserver, an SFU that
// creates no room by itself, and the service that gives full access to the local users only.

import { CertificateAuthority } from "../../../testing/certificates.ts";
import { closeClients } from "./client.ts";
import { type LiveKit, startLiveKit } from "./livekit.ts";
import { freeBind, type ServiceProcess, startService } from "./service.ts";
import { startSynapse, type Synapse } from "./synapse.ts";

const API_KEY = "e2e-key";
const API_SECRET = "e2e-secret-of-more-than-32-characters";

/** A whole deployment; disposed as one. */
export interface Deployment extends AsyncDisposable {
  /** Its users have full access. */
  readonly local: Synapse;
  /** Its users have restricted access. */
  readonly federated: Synapse;
  readonly sfu: LiveKit;
  readonly service: ServiceProcess;
  /** The environment of {@link Deployment.service}, to start one that differs. */
  readonly variables: Readonly<Record<string, string>>;
}

/** What may differ between two deployments. */
export interface DeploymentOptions {
  /** Further settings of the local homeserver. */
  readonly localSettings?: Readonly<Record<string, unknown>>;
  /** Where further services will listen that get the SFU's webhooks, as `LIVEKIT_JWT_BIND` takes it. */
  readonly furtherBinds?: readonly string[];
  /** Further variables of the service, or other values for those below. */
  readonly serviceVariables?: Readonly<Record<string, string>>;
}

/** Starts a deployment, installing what is missing. */
export async function startDeployment(
  { localSettings = {}, furtherBinds = [], serviceVariables = {} }: DeploymentOptions = {},
): Promise<Deployment> {
  await using started = new AsyncDisposableStack();
  const use = <Part extends AsyncDisposable>(part: Part) => started.use(part);
  const ca = await CertificateAuthority.create();
  const bind = await freeBind(); // the SFU must be told before the service starts
  const webhookUrls = [bind, ...furtherBinds].map((bind) => `http://${bind}/sfu_webhook`);
  const servers = [
    startSynapse({ host: "localhost", ca, settings: localSettings }).then(use),
    startSynapse({ host: "127.0.0.1", ca }).then(use),
    startLiveKit({ apiKey: API_KEY, apiSecret: API_SECRET, webhookUrls }).then(use),
  ] as const;
  assertAllStarted(await Promise.allSettled(servers)); // when one fails, the others must be there to be ended
  const [local, federated, sfu] = await Promise.all(servers);

  const caFile = await Deno.makeTempFile({ prefix: "lk-jwt-service-ca-", suffix: ".crt" });
  started.defer(() => Deno.remove(caFile));
  await Deno.writeTextFile(caFile, ca.certificate);
  const variables = {
    LIVEKIT_URL: sfu.url,
    LIVEKIT_KEY: API_KEY,
    LIVEKIT_SECRET: API_SECRET,
    LIVEKIT_FULL_ACCESS_HOMESERVERS: local.serverName,
    LIVEKIT_FEDERATION_ALLOW_NETWORKS: "127.0.0.0/8,::1/128",
    LIVEKIT_EXTRA_CA_FILE: caFile,
    LIVEKIT_LOG_LEVEL: "debug",
    ...serviceVariables,
  };
  const service = started.use(await startService({ ...variables, LIVEKIT_JWT_BIND: bind }));
  started.defer(closeClients);

  const parts = started.move();
  return { local, federated, sfu, service, variables, [Symbol.asyncDispose]: () => parts.disposeAsync() };
}

// One line per problem, all at once: a machine without Python may be one without Go.
function assertAllStarted(results: readonly PromiseSettledResult<unknown>[]): void {
  const problems = results.flatMap((result) => result.status === "rejected" ? [messageOf(result.reason)] : []);
  if (problems.length > 0) throw new Error([...new Set(problems)].join("\n"));
}

function messageOf(reason: unknown): string {
  return reason instanceof Error ? reason.message : String(reason);
}
