// What presses on a service's memory: other servers, and clients, at their worst for a while. The suite of the memory
// drives each kind for a minute, the soak for longer.

import { setTimeout as sleep } from "node:timers/promises";
import { provideRuntime } from "../executable.ts";
import { ConfinedService, type MemoryUse } from "./confined_service.ts";
import { type Health, HealthProbe } from "./health_probe.ts";

/** Where a kind of pressure puts its files. */
export interface Place {
  readonly directory: string;
}

/** The other side, ready: how the service is to be set up, and what then happens to it. */
export interface Prepared {
  /** Without `LIVEKIT_JWT_BIND`. */
  readonly variables: Readonly<Record<string, string>>;
  readonly stateDirectory?: string;
  readonly resolverFile?: string;
  /** Presses until the signal; gives what it did, for people. */
  readonly press: (url: string, over: AbortSignal) => Promise<string>;
}

/** One kind of pressure. */
export interface Pressure {
  /** Continues "the service withstands …". */
  readonly what: string;
  /** @param parts Takes what has to end afterwards. */
  readonly prepare: (parts: AsyncDisposableStack, place: Place) => Promise<Prepared>;
}

/** What a service made of it. */
export interface Result {
  readonly what: string;
  readonly isRunning: boolean;
  readonly memory: MemoryUse;
  readonly health: Health;
  readonly done: string;
  /** The end of its log. */
  readonly output: string;
}

/** Presses on a service of its own for so long. */
export async function press(pressure: Pressure, durationMs: number): Promise<Result> {
  await using parts = new AsyncDisposableStack();
  const runtime = parts.use(await provideRuntime());
  const directory = await Deno.makeTempDir({ prefix: "lk-jwt-pressure-" });
  parts.defer(() => Deno.remove(directory, { recursive: true }));
  await Deno.chmod(directory, 0o755);
  const { press, ...prepared } = await pressure.prepare(parts, { directory });
  const service = parts.use(await ConfinedService.start({ ...prepared, runtime, directory }));
  const probe = new HealthProbe(service.url);
  const done = await press(service.url, AbortSignal.timeout(durationMs));
  const health = await probe.stop();
  const { isRunning, output } = service;
  return { what: pressure.what, isRunning, memory: await service.memory(), health, done, output };
}

/** Does something in as many loops at once, each again and again, until the signal; a failure counts as done. */
export async function inLoops(count: number, over: AbortSignal, once: (loop: number) => Promise<unknown>) {
  let times = 0;
  await Promise.all(Array.from({ length: count }, async (_, loop) => {
    while (!over.aborted) {
      await once(loop).catch(() => sleep(PAUSE_MS)); // the service may be gone
      times++;
    }
  }));
  return times;
}

const PAUSE_MS = 20;

/** Posts JSON; gives the status, 0 for none. */
export async function post(url: string, body: unknown, over: AbortSignal): Promise<number> {
  const signal = AbortSignal.any([over, AbortSignal.timeout(POST_TIMEOUT_MS)]);
  const response = await fetch(url, { method: "POST", body: JSON.stringify(body), signal });
  await response.body?.cancel();
  return response.status;
}

const POST_TIMEOUT_MS = 15_000;
