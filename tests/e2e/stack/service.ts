// The service as an operator runs it from source: its own process with its own permissions and nothing in its
// environment but the variables given.

import { fileURLToPath } from "node:url";
import { freePort } from "../../../testing/free_port.ts";
import { BackgroundProcess } from "../../../testing/child_process.ts";

const REPOSITORY = new URL("../../../", import.meta.url);
const START_TIMEOUT_MS = 20_000;
const STOP_GRACE_MS = 15_000;

// What Deno itself needs to find its cache and, when a package is not in it, the registry.
const DENO_VARIABLES = ["HOME", "PATH", "XDG_CACHE_HOME", "DENO_DIR", "DENO_TLS_CA_STORE", "NODE_EXTRA_CA_CERTS"];

/** An answer of the service: the status, and its body as JSON. */
export interface Answer {
  readonly status: number;
  readonly body: unknown;
}

/** A service that runs. */
export class ServiceProcess implements AsyncDisposable {
  /** What clients are told: `livekit_service_url`. */
  readonly url: string;
  readonly #process: BackgroundProcess;
  readonly #folder: string;

  constructor(url: string, process: BackgroundProcess, folder: string) {
    this.url = url;
    this.#process = process;
    this.#folder = folder;
  }

  /** Sends a JSON body to a path and reads the answer. */
  async post(path: string, body: unknown): Promise<Answer> {
    const response = await fetch(`${this.url}${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    return { status: response.status, body: await response.json() };
  }

  /** The end of its log. */
  output(lines?: number): string {
    return this.#process.output(lines);
  }

  /** Sends SIGTERM and gives the exit code; may be called again. */
  stop(): Promise<number> {
    return this.#process.stop({ graceMs: STOP_GRACE_MS });
  }

  /** Ends it without any chance to clean up. */
  async kill(): Promise<void> {
    await this.#process.stop({ signal: "SIGKILL", graceMs: STOP_GRACE_MS });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/** Where a service may listen: a free port on IPv4 loopback, as `LIVEKIT_JWT_BIND` takes it. */
export async function freeBind(): Promise<string> {
  return `127.0.0.1:${await freePort()}`;
}

/**
 * Starts the service on loopback, and waits until it answers 200 to `GET /healthz`.
 *
 * @param variables Its environment; without `LIVEKIT_JWT_BIND` it listens on a free port.
 * @throws With its output, when it ends before.
 */
export async function startService(variables: Readonly<Record<string, string>>): Promise<ServiceProcess> {
  const folder = await Deno.makeTempDir({ prefix: "lk-jwt-service-" });
  const bind = variables.LIVEKIT_JWT_BIND ?? await freeBind();
  const process = new BackgroundProcess({
    name: "lk-jwt-service",
    program: Deno.execPath(),
    args: ["run", "-P=service", "--no-prompt", "main.ts"],
    cwd: fileURLToPath(REPOSITORY),
    clearEnv: true,
    env: { ...denoEnvironment(), NO_COLOR: "1", ...variables, LIVEKIT_JWT_BIND: bind },
    logFile: `${folder}/service.log`,
  });
  const service = new ServiceProcess(`http://${bind}`, process, folder);
  try {
    await process.untilReady((signal) => isHealthy(service, signal), START_TIMEOUT_MS);
    return service;
  } catch (error) {
    await service[Symbol.asyncDispose]();
    throw error;
  }
}

/** What a command of the service left behind. */
export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command of the service, such as `doctor`, with nothing in its environment but the variables given. */
export async function runCommand(
  args: readonly string[],
  variables: Readonly<Record<string, string>>,
): Promise<CommandResult> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-P=service", "--no-prompt", "main.ts", ...args],
    cwd: fileURLToPath(REPOSITORY),
    clearEnv: true,
    env: { ...denoEnvironment(), NO_COLOR: "1", ...variables },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

async function isHealthy(service: ServiceProcess, signal: AbortSignal): Promise<boolean> {
  const response = await fetch(`${service.url}/healthz`, { signal });
  await response.body?.cancel();
  return response.status === 200;
}

function denoEnvironment(): Record<string, string> {
  const set = DENO_VARIABLES.flatMap((name) => {
    const value = Deno.env.get(name);
    return value === undefined ? [] : [[name, value] as const];
  });
  return Object.fromEntries(set);
}
