// A real homeserver: Synapse from PyPI, with its own database, over TLS on loopback. Its server name is `localhost:PORT`
// or `127.0.0.1:PORT`, which other servers find without DNS and without a well-known (Matrix specification, server
// discovery, steps 1 and 2).

import { randomBytes } from "node:crypto";
import type { CertificateAuthority } from "../../../testing/certificates.ts";
import { ensureInstalled } from "../../../testing/installation.ts";
import { pythonOf, pythonTool } from "../../../testing/python_tool.ts";
import { freePort, loopbackAddresses } from "../../../testing/free_port.ts";
import { Homeserver } from "./matrix.ts";
import { BackgroundProcess } from "../../../testing/child_process.ts";

const START_TIMEOUT_MS = 60_000;

const SYNAPSE = pythonTool({
  name: "synapse",
  version: "1.163.2",
  packageName: "matrix-synapse",
  cache: "lk-jwt-service-e2e",
  effort: "pip install, 1 to 3 minutes",
  describe: "import synapse; print('Synapse', synapse.__version__)",
});

/** What may differ between two homeservers. */
export interface SynapseOptions {
  /** First part of the server name. */
  readonly host: "localhost" | "127.0.0.1";
  /** Issues the server's certificate; the server trusts it when it asks other servers. */
  readonly ca: CertificateAuthority;
  /** Further settings of homeserver.yaml, or other values for those below. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** Where it also answers without TLS, to those inside. */
  readonly internalPort?: number;
}

/** A homeserver that runs. */
export class Synapse extends Homeserver {
  readonly #process: BackgroundProcess;
  readonly #folder: string;

  constructor(serverName: string, caCertificate: string, process: BackgroundProcess, folder: string) {
    super(serverName, caCertificate);
    this.#process = process;
    this.#folder = folder;
  }

  /** The end of its log. */
  output(): string {
    return this.#process.output();
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await super[Symbol.asyncDispose]();
    await this.#process.stop({ graceMs: 5000 });
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/** Makes the installation ready without starting a server. */
export function installSynapse(): Promise<string> {
  return ensureInstalled(SYNAPSE);
}

/**
 * Starts a homeserver with an empty database, and waits until it answers.
 *
 * @throws MissingProgram, or an Error with the server's log.
 */
export async function startSynapse({ host, ca, settings = {}, internalPort }: SynapseOptions): Promise<Synapse> {
  const installation = await installSynapse();
  const folder = await Deno.makeTempDir({ prefix: "lk-jwt-service-synapse-" });
  const port = await freePort();
  const serverName = `${host}:${port}`;
  await writeFiles(folder, { serverName, port, internalPort, ca, settings });
  const process = new BackgroundProcess({
    name: `Synapse "${serverName}"`,
    program: pythonOf(installation),
    args: ["-m", "synapse.app.homeserver", "-c", `${folder}/homeserver.yaml`],
    logFile: `${folder}/synapse.log`,
    cwd: folder,
  });
  const synapse = new Synapse(serverName, ca.certificate, process, folder);
  try {
    await process.untilReady((signal) => synapse.isHealthy(signal), START_TIMEOUT_MS);
    return synapse;
  } catch (error) {
    await synapse[Symbol.asyncDispose]();
    throw error;
  }
}

interface FileOptions {
  readonly serverName: string;
  readonly port: number;
  readonly internalPort: number | undefined;
  readonly ca: CertificateAuthority;
  readonly settings: Readonly<Record<string, unknown>>;
}

async function writeFiles(folder: string, options: FileOptions): Promise<void> {
  const { ca, settings } = options;
  const { certificate, privateKey } = await ca.issue({
    dnsNames: ["localhost"],
    addresses: ["127.0.0.1", "::1"],
  });
  const files = {
    "tls.crt": certificate,
    "tls.key": privateKey,
    "ca.crt": ca.certificate,
    "signing.key": `ed25519 a_e2e ${randomBytes(32).toString("base64").replace(/=$/, "")}\n`,
    // JSON is YAML.
    "log.yaml": JSON.stringify(LOGGING),
    "homeserver.yaml": JSON.stringify({ ...homeserverConfig(folder, options), ...settings }, null, 2),
  };
  for (const [name, text] of Object.entries(files)) await Deno.writeTextFile(`${folder}/${name}`, text);
}

const LOGGING = {
  version: 1,
  disable_existing_loggers: false,
  handlers: { console: { class: "logging.StreamHandler" } },
  root: { level: "WARNING", handlers: ["console"] },
};

const NO_LIMIT = { per_second: 1000, burst_count: 1000 };

function homeserverConfig(
  folder: string,
  { serverName, port, internalPort }: FileOptions,
): Record<string, unknown> {
  const listener = { type: "http", resources: [{ names: ["client", "federation"] }] };
  return {
    server_name: serverName,
    public_baseurl: `https://${serverName}/`,
    report_stats: false,
    database: { name: "sqlite3", args: { database: `${folder}/homeserver.db` } },
    signing_key_path: `${folder}/signing.key`,
    media_store_path: `${folder}/media`,
    log_config: `${folder}/log.yaml`,
    macaroon_secret_key: "e2e",
    form_secret: "e2e",
    enable_registration: true,
    enable_registration_without_verification: true,
    tls_certificate_path: `${folder}/tls.crt`,
    tls_private_key_path: `${folder}/tls.key`,
    federation_custom_ca_list: [`${folder}/ca.crt`],
    ip_range_blacklist: [], // the default one has loopback in it
    trusted_key_servers: [], // the default one is on the Internet
    suppress_key_server_warning: true,
    presence: { enabled: false },
    max_event_delay_duration: "24h", // switches delayed events on (MSC4140)
    rc_message: NO_LIMIT,
    rc_registration: NO_LIMIT,
    rc_room_creation: NO_LIMIT,
    rc_login: { address: NO_LIMIT, account: NO_LIMIT, failed_attempts: NO_LIMIT },
    rc_joins: { local: NO_LIMIT, remote: NO_LIMIT },
    listeners: [
      { ...listener, port, bind_addresses: loopbackAddresses(), tls: true },
      ...(internalPort === undefined ? [] : [{ ...listener, port: internalPort, bind_addresses: ["127.0.0.1"] }]),
    ],
  };
}
