// The service of a soak, with the memory limits of the released executable, seen from outside: its memory and its
// sockets.

import { freePort } from "../testing/service_process.ts";
import { setTimeout as sleep } from "node:timers/promises";
import { v8Flags } from "../tasks/compile.ts";
import type { Chaos } from "../testing/chaos.ts";

const ROOT = new URL("..", import.meta.url).pathname;
const START_TRIES = 2000;
const OF_THE_RUNTIME = ["HOME", "DENO_DIR", "XDG_CACHE_HOME"];

/** A service that runs until the end of its scope. */
export class Soaked implements AsyncDisposable {
  readonly url: string;
  readonly #child: Deno.ChildProcess;
  readonly #folder: string;

  private constructor(url: string, child: Deno.ChildProcess, folder: string) {
    this.url = url;
    this.#child = child;
    this.#folder = folder;
  }

  /** Starts it, as a binary when there is one, else from source. */
  static async start(chaos: Chaos, clientApiOverrides: string, binary: string | null): Promise<Soaked> {
    const folder = await Deno.makeTempDir({ prefix: "lk-jwt-soak-" });
    await Deno.writeTextFile(`${folder}/ca.pem`, chaos.caCertificate);
    const port = freePort();
    const flags = ["-P=service", "--no-prompt", `--v8-flags=${v8Flags.join(",")}`];
    const child = new Deno.Command(binary ?? Deno.execPath(), {
      args: binary === null ? ["run", ...flags, `${ROOT}main.ts`] : [],
      cwd: ROOT,
      clearEnv: true, // NODE_EXTRA_CA_CERTS, where it is set, makes each new TLS connection several times as dear
      env: {
        ...Object.fromEntries(
          OF_THE_RUNTIME.flatMap((name) => Deno.env.get(name) === undefined ? [] : [[name, Deno.env.get(name) ?? ""]]),
        ),
        LIVEKIT_URL: chaos.sfuUrl,
        LIVEKIT_KEY: "devkey",
        LIVEKIT_SECRET: "a secret of at least 32 characters",
        LIVEKIT_JWT_BIND: `127.0.0.1:${port}`,
        LIVEKIT_FULL_ACCESS_HOMESERVERS: chaos.homeserver.serverName,
        LIVEKIT_FEDERATION_ALLOW_NETWORKS: "127.0.0.0/8,::1",
        LIVEKIT_EXTRA_CA_FILE: `${folder}/ca.pem`,
        LIVEKIT_CS_API_URL_OVERRIDES: clientApiOverrides,
        LIVEKIT_STATE_DIR: folder,
      },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const service = new Soaked(`http://127.0.0.1:${port}`, child, folder);
    for (let tries = 0; tries < START_TRIES; tries++) {
      const response = await fetch(`${service.url}/healthz`).catch(() => null);
      await response?.body?.cancel();
      if (response?.ok) return service;
      await sleep(10);
    }
    await service[Symbol.asyncDispose]();
    throw new Error("The service does not answer");
  }

  /** Resident memory. */
  rssMiB(): number {
    const status = Deno.readTextFileSync(`/proc/${this.#child.pid}/status`);
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
  }

  /** Open sockets, the listening one included. */
  sockets(): number {
    const folder = `/proc/${this.#child.pid}/fd`;
    return [...Deno.readDirSync(folder)].filter(({ name }) => {
      try {
        return Deno.readLinkSync(`${folder}/${name}`).startsWith("socket:");
      } catch {
        return false; // closed a moment ago
      }
    }).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGTERM");
    await this.#child.status;
    await Deno.remove(this.#folder, { recursive: true });
  }
}
