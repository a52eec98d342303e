// The stage of the demo: two homeservers, an SFU stand-in and the real service, all on loopback, wired as an operator
// would wire them.

import { parseConfig } from "../lib/config/config.ts";
import { setTrust } from "../lib/net/trust.ts";
import { openLog } from "../lib/log/log.ts";
import { systemPlatform } from "../lib/platform.ts";
import { type Service, startService } from "../lib/service.ts";
import { CertificateAuthority } from "../testing/certificates.ts";
import { DevelopmentHomeserver } from "../testing/fake_homeserver.ts";
import { DevelopmentSfu } from "../testing/fake_sfu.ts";
import { SfuWebhooks } from "../testing/sfu_webhooks.ts";

/** An SFU that stands elsewhere, in place of the stand-in. */
export interface RealSfu {
  readonly url: string;
  readonly apiKey: string;
  readonly apiSecret: string;
}

/** Everything that takes part. */
export interface Stage extends AsyncDisposable {
  /** Its users have full access. */
  readonly local: DevelopmentHomeserver;
  /** Its users are federated: restricted access. */
  readonly federated: DevelopmentHomeserver;
  /** null when a real SFU takes its place. */
  readonly sfu: DevelopmentSfu | null;
  /** How the stand-in tells the service who comes and goes; null without it. */
  readonly webhooks: SfuWebhooks | null;
  /** What clients connect to. */
  readonly sfuUrl: string;
  /** Base URL of the service. */
  readonly serviceUrl: string;
  /** The Matrix rooms that were asked for, by their names on the SFU. */
  readonly roomIds: Map<string, string>;
  /** The service's log since the last call. */
  takeLog(): string[];
  /** Plays one scene after the other: the log and the counts are then its own. */
  inTurn<Played>(play: () => Promise<Played>): Promise<Played>;
}

const CA_FILE = "development-ca.pem";
const REAL_SFU_VARIABLES = ["LIVEKIT_URL", "LIVEKIT_KEY", "LIVEKIT_SECRET"] as const;

/**
 * The SFU that the environment names; null when it names none.
 *
 * @throws When only some of the variables are set.
 */
export function realSfuOf(env: (name: string) => string | undefined): RealSfu | null {
  const [url, apiKey, apiSecret] = REAL_SFU_VARIABLES.map((name) => env(name) || undefined);
  if (url !== undefined && apiKey !== undefined && apiSecret !== undefined) return { url, apiKey, apiSecret };
  const missing = REAL_SFU_VARIABLES.filter((name) => !env(name));
  if (missing.length === REAL_SFU_VARIABLES.length) return null;
  throw new Error(
    `Set ${missing.join(" and ")} too to use the SFU of the environment, or unset all of ${
      REAL_SFU_VARIABLES.join(", ")
    } to use the stand-in`,
  );
}

/** Builds the stage. */
export async function buildStage(realSfu: RealSfu | null = null, port = 0): Promise<Stage> {
  const ca = await CertificateAuthority.create();
  const local = await DevelopmentHomeserver.start({ certificate: await ca.issue({ dnsNames: ["localhost"] }) });
  const federatedCertificate = await ca.issue({ addresses: ["127.0.0.1"] });
  const federated = await startByAddress(federatedCertificate);
  const sfu = realSfu === null ? await DevelopmentSfu.start() : null;

  const variables = {
    LIVEKIT_URL: realSfu?.url ?? sfu?.url ?? "",
    LIVEKIT_KEY: realSfu?.apiKey ?? sfu?.apiKey,
    LIVEKIT_SECRET: realSfu?.apiSecret ?? sfu?.apiSecret,
    LIVEKIT_FULL_ACCESS_HOMESERVERS: local.serverName,
    LIVEKIT_CS_API_URL_OVERRIDES: `${local.serverName}=https://${local.serverName}`,
    // The guard would not let a server that nobody listed lead the service to this machine's own addresses.
    LIVEKIT_FEDERATION_ALLOW_NETWORKS: "127.0.0.0/8,::1",
    LIVEKIT_EXTRA_CA_FILE: CA_FILE,
    LIVEKIT_JWT_BIND: `127.0.0.1:${port}`,
    // They would look for a public URL and a proxy that no stage has.
    LIVEKIT_STARTUP_CHECKS: "off",
  };
  const parsed = parseConfig(variables, () => ca.certificate);
  if (!parsed.ok) throw new Error(parsed.problems.join("\n"));
  const { config } = parsed;
  setTrust(config);

  const lines: string[] = [];
  const log = openLog({ ...config.log, writer: { write: (line) => lines.push(line.trimEnd()), flush() {} } });
  const service = await startService(config, systemPlatform, log);
  const serviceUrl = urlOf(service);
  const key = sfu === null ? null : { name: sfu.apiKey, secret: sfu.apiSecret };
  const webhooks = key === null ? null : new SfuWebhooks(key, () => serviceUrl);
  let last: Promise<unknown> = Promise.resolve();
  return {
    local,
    federated,
    sfu,
    webhooks,
    sfuUrl: variables.LIVEKIT_URL,
    serviceUrl,
    roomIds: new Map(),
    takeLog: () => lines.splice(0),
    inTurn(play) {
      const played = last.then(play);
      last = played.catch(() => {});
      return played;
    },
    async [Symbol.asyncDispose]() {
      await webhooks?.[Symbol.asyncDispose]();
      await service.drain();
      await Promise.all([local, federated, ...(sfu === null ? [] : [sfu])].map((part) => part[Symbol.asyncDispose]()));
    },
  };
}

// A server name that is an IP literal with a port must be known before the server listens.
async function startByAddress(
  certificate: { certificate: string; privateKey: string },
): Promise<DevelopmentHomeserver> {
  const probe = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = probe.addr;
  probe.close();
  return await DevelopmentHomeserver.start({ certificate, port, serverName: `127.0.0.1:${port}` });
}

function urlOf({ address }: Service): string {
  if (!("port" in address)) throw new TypeError("Cannot show the service: expected a TCP address");
  return `http://127.0.0.1:${address.port}`;
}
