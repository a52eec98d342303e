// The executable as packagers confine it: a container's user, nothing writable but a state directory, 200 MiB of memory.
// Tells how much of it is in use, and whether the kernel has killed for it.

import { setTimeout as sleep } from "node:timers/promises";
import { Container, CONTAINER_UID } from "../container.ts";
import type { Runtime } from "../executable.ts";
import { createMemoryGroup, type MemoryGroup } from "../memory_group.ts";
import { freePort } from "../free_port.ts";

/** What packagers allow (Helm charts, compose files, the systemd unit). */
const MEMORY_LIMIT_BYTES = 200 * 1024 * 1024;

const SAMPLE_MS = 100;
const START_TIMEOUT_MS = 60_000;

/** How to start a service. */
export interface ConfinedOptions {
  readonly runtime: Runtime;
  /** Its environment, without `LIVEKIT_JWT_BIND`. */
  readonly variables: Readonly<Record<string, string>>;
  /** Takes its log; the service itself may not write there. */
  readonly directory: string;
  readonly stateDirectory?: string;
  readonly resolverFile?: string;
}

/** What became of its memory. */
export interface MemoryUse {
  /** The most that was in use at once, without what the kernel can take back. */
  readonly peakBytes: number;
  /** Processes that the kernel has killed. */
  readonly kills: number;
  /** False where nobody may make control groups: then it is the process's own memory, and nothing kills it. */
  readonly isLimited: boolean;
  /** How many bytes it may take. */
  readonly limitBytes: number;
}

/** A service that runs until the end of its scope. */
export class ConfinedService implements AsyncDisposable {
  readonly url: string;
  readonly #container: Container;
  readonly #group: MemoryGroup | null;
  readonly #limitBytes: number;
  readonly #sampling = new AbortController();
  #pid = 0;
  #peakBytes = 0;

  private constructor(url: string, container: Container, group: MemoryGroup | null, limitBytes: number) {
    this.#limitBytes = limitBytes;
    this.url = url;
    this.#container = container;
    this.#group = group;
  }

  /** Starts one, and waits until it answers. */
  static async start(options: ConfinedOptions): Promise<ConfinedService> {
    const { runtime, variables, directory, stateDirectory, resolverFile } = options;
    const limitBytes = MEMORY_LIMIT_BYTES + runtime.surplusBytes;
    const group = await createMemoryGroup(limitBytes);
    const bind = `127.0.0.1:${await freePort()}`;
    const container = new Container({
      executable: runtime.path,
      args: runtime.args,
      variables: { ...runtime.variables, ...variables, LIVEKIT_JWT_BIND: bind },
      logFile: `${directory}/service.log`,
      memoryProcessesFile: group?.processesFile,
      ...(stateDirectory === undefined ? {} : { writableDirectory: stateDirectory }),
      ...(resolverFile === undefined ? {} : { resolverFile }),
    });
    const service = new ConfinedService(`http://${bind}`, container, group, limitBytes);
    try {
      service.#pid = await container.pid();
      void service.#sample();
      await container.process.untilReady(async (signal) => {
        const response = await fetch(`${service.url}/healthz`, { signal });
        await response.body?.cancel();
        return response.ok;
      }, START_TIMEOUT_MS);
      return service;
    } catch (error) {
      await service[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Whether it runs still: neither killed nor ended by itself. */
  get isRunning(): boolean {
    return memoryOf(this.#pid) > 0;
  }

  /** The end of its log. */
  get output(): string {
    return this.#container.process.output();
  }

  async memory(): Promise<MemoryUse> {
    const kills = await this.#group?.killCount() ?? 0;
    return { peakBytes: this.#peakBytes, kills, isLimited: this.#group !== null, limitBytes: this.#limitBytes };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#sampling.abort();
    await this.#container[Symbol.asyncDispose]();
    await this.#group?.[Symbol.asyncDispose]();
  }

  async #sample(): Promise<void> {
    while (!this.#sampling.signal.aborted) {
      this.#peakBytes = Math.max(this.#peakBytes, memoryOf(this.#pid));
      await sleep(SAMPLE_MS);
    }
  }
}

/** A process's memory that no file stands behind, in bytes: pages of files the kernel drops when memory gets short. */
function memoryOf(pid: number): number {
  try {
    return Number(/^RssAnon:\s+(\d+)/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1] ?? 0) * 1024;
  } catch {
    return 0; // ended
  }
}

/** A directory that the service's user may write to. */
export async function stateDirectoryIn(directory: string): Promise<string> {
  const path = await Deno.makeTempDir({ dir: directory });
  await Deno.chown(path, CONTAINER_UID, CONTAINER_UID);
  return path;
}
