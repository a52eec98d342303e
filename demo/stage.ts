// The stage of the demo: two homeservers, an SFU stand-in and the real service, all on loopback, wired as an operator
// would wire them.

import { parseConfig } from "../lib/config.ts";
import { setTrust } from "../lib/net/trust.ts";
import { openLog } from "../lib/ops/log.ts";
import { productionDeps, type Service, startService } from "../lib/service.ts";
import { CertificateAuthority } from "./certificates.ts";
import { DevelopmentHomeserver } from "./homeserver.ts";
import { DevelopmentSfu } from "./sfu.ts";

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
  /** Base URL of the service. */
  readonly serviceUrl: string;
  /** The service's log since the last call. */
  takeLog(): string[];
}

const CA_FILE = "development-ca.pem";

/** Builds the stage. */
export async function buildStage(realSfu: RealSfu | null = null, port = 0): Promise<Stage> {
  const ca = await CertificateAuthority.create();
  const local = await DevelopmentHomeserver.start({ certificate: await ca.issue({ dnsNames: ["localhost"] }) });
  const federatedCertificate = await ca.issue({ addresses: ["127.0.0.1"] });
  const federated = await startByAddress(federatedCertificate);
  const sfu = realSfu === null ? await DevelopmentSfu.start() : null;

  const variables = {
    LIVEKIT_URL: realSfu?.url ?? sfu?.url,
    LIVEKIT_KEY: realSfu?.apiKey ?? sfu?.apiKey,
    LIVEKIT_SECRET: realSfu?.apiSecret ?? sfu?.apiSecret,
    LIVEKIT_FULL_ACCESS_HOMESERVERS: local.serverName,
    // The guard would not let a server that nobody listed lead the service to this machine's own addresses.
    LIVEKIT_FEDERATION_ALLOW_NETWORKS: "127.0.0.0/8,::1",
    LIVEKIT_EXTRA_CA_FILE: CA_FILE,
    LIVEKIT_JWT_BIND: `127.0.0.1:${port}`,
  };
  const { config } = parseConfig(variables, () => ca.certificate);
  setTrust(config);

  const lines: string[] = [];
  const log = openLog({ ...config.log, writer: { write: (line) => lines.push(line.trimEnd()), flush() {} } });
  const service = await startService(config, productionDeps(log));
  return {
    local,
    federated,
    sfu,
    serviceUrl: urlOf(service),
    takeLog: () => lines.splice(0),
    async [Symbol.asyncDispose]() {
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
