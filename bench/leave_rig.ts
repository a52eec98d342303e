// The rig of the benchmark of delegated leaves: fakes that stay, and services that come and go, each with a store; CPU and
// memory read from outside, the live heap by V8's inspector.

import { freePort } from "../testing/service_process.ts";
import { setTimeout as sleep } from "node:timers/promises";
import * as v from "valibot";
import { RedisServer } from "../testing/redis_server.ts";
import { signWebhook } from "../testing/signed_webhook.ts";
import { liveHeapBytes } from "./leave_heap.ts";
import { homeserverNames } from "./leave_people.ts";
import { firstLine, LOAD_CORE, pinned, ROOT, SERVICE_CORE, V8_FLAGS } from "./rig.ts";

const Fakes = v.object({
  ca: v.string(),
  homeserverUrls: v.array(v.string()),
  sfuUrl: v.string(),
  apiKey: v.string(),
  apiSecret: v.string(),
  controlUrl: v.string(),
});
const Counted = v.object({
  restarts: v.number(),
  /** Restarts that came after the event's own timer must have fired. */
  late: v.number(),
  /** Distinct rooms that were listed. */
  roomsListed: v.number(),
  /** LeaveCalls of homeservers that are neither restarts nor look-ups: there should be none. */
  others: v.number(),
});

type Fakes = v.InferOutput<typeof Fakes>;
/** What homeservers and SFU were asked. */
export type Counted = v.InferOutput<typeof Counted>;
/** Where jobs are kept. */
export type StoreName = "SQLite" | "Redis";

const TICKS_PER_SECOND = 100;
const START_TIMEOUT_MS = 60_000;
// What is alive is counted, not what fits: see V8_FLAGS for the latter.
const ROOMY_HEAP = "--v8-flags=--max-old-space-size=512";
const OF_THE_RUNTIME = ["HOME", "PATH", "DENO_DIR", "DENO_TLS_CA_STORE"];

/** Homeservers and SFU, running. */
export class Others implements AsyncDisposable {
  private constructor(readonly fakes: Fakes, readonly folder: string, readonly process: Deno.ChildProcess) {}

  /** Starts them, and moves the benchmark itself away from the service's core. */
  static async start(): Promise<Others> {
    await new Deno.Command("taskset", { args: ["-a", "-c", "-p", LOAD_CORE, String(Deno.pid)], stdout: "null" })
      .output();
    const process = pinned(LOAD_CORE, Deno.execPath(), ["run", "-A", `${ROOT}bench/leave_fakes.ts`], {}, "piped");
    const fakes = v.parse(Fakes, JSON.parse(await firstLine(process.stdout)));
    const folder = await Deno.makeTempDir({ prefix: "lk-jwt-bench-leave-" });
    await Deno.writeTextFile(`${folder}/ca.pem`, fakes.ca);
    return new Others(fakes, folder, process);
  }

  /** People are in their rooms from now on, and what was counted begins anew. */
  async populate(people: number, delayMs: number): Promise<void> {
    await this.#control(`people=${people}&delay_ms=${delayMs}`);
  }

  /** What was counted since then; restarts by this caller. */
  counted(caller: string): Promise<Counted> {
    return this.#control(`of=${caller}`);
  }

  async #control(query: string): Promise<Counted> {
    const response = await fetch(`${this.fakes.controlUrl}?${query}`);
    return v.parse(Counted, await response.json());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.process.kill("SIGKILL");
    await this.process.status;
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** A place for jobs. */
export class Place implements AsyncDisposable {
  static #made = 0;
  /** Tells the calls of the services here from those of others. */
  readonly caller = `service${Place.#made++}`;

  private constructor(readonly name: StoreName, readonly directory: string, readonly redis: RedisServer | null) {}

  /** An empty directory, or an empty Redis that writes its log to the disk once a second. */
  static async make(name: StoreName): Promise<Place> {
    const directory = await Deno.makeTempDir({ prefix: "lk-jwt-bench-state-" });
    return new Place(name, directory, name === "Redis" ? await RedisServer.start(["--appendonly", "yes"]) : null);
  }

  get variables(): Readonly<Record<string, string>> {
    return this.redis === null ? { LIVEKIT_STATE_DIR: this.directory } : { LIVEKIT_REDIS_URL: this.redis.url };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.redis?.[Symbol.asyncDispose]();
    await Deno.remove(this.directory, { recursive: true });
  }
}

/** How to run a service. */
export interface LeaveServiceOptions {
  /** An executable; null = from source. */
  readonly binary: string | null;
  /** With V8's inspector, from source alone. */
  readonly inspects?: boolean;
}

/** A service did not live through what it was to be measured at. */
export class ServiceEnded extends Error {
  override name = "ServiceEnded";
}

/** A service, running. */
export class LeaveService implements AsyncDisposable {
  readonly url: string;
  readonly startedAt = performance.now();
  /** From exec to the first 200 on /healthz. */
  startMs = NaN;
  /** Warnings and errors that it logged. */
  readonly complaints: string[] = [];
  readonly #child: Deno.ChildProcess;
  readonly #inspectorPort: number | null;
  readonly #others: Others;
  readonly #place: Place;
  #exitCode: number | null = null;
  readonly #reading: Promise<void>;

  private constructor(others: Others, place: Place, { binary, inspects = false }: LeaveServiceOptions) {
    const { fakes, folder } = others;
    const port = freePort();
    this.#inspectorPort = inspects ? freePort() : null;
    this.#others = others;
    this.#place = place;
    this.url = `http://127.0.0.1:${port}`;
    const names = homeserverNames();
    const urls = names.map((name, index) => `${name}=${fakes.homeserverUrls[index]}`);
    const kept = OF_THE_RUNTIME.flatMap((name) => {
      const value = Deno.env.get(name);
      return value === undefined ? [] : [[name, value]];
    });
    const flags = inspects ? [`--inspect=127.0.0.1:${this.#inspectorPort}`, ROOMY_HEAP] : [V8_FLAGS];
    const run = [Deno.execPath(), "run", "-P=service", "--no-prompt", ...flags, `${ROOT}main.ts`];
    this.#child = new Deno.Command("taskset", {
      args: ["-c", SERVICE_CORE, ...(binary === null ? run : [binary])],
      clearEnv: true,
      env: {
        ...Object.fromEntries(kept),
        ...place.variables,
        NO_COLOR: "1",
        LIVEKIT_URL: fakes.sfuUrl,
        LIVEKIT_KEY: fakes.apiKey,
        LIVEKIT_SECRET: fakes.apiSecret,
        LIVEKIT_JWT_BIND: `127.0.0.1:${port}`,
        LIVEKIT_FULL_ACCESS_HOMESERVERS: names.join(),
        LIVEKIT_FEDERATION_URL_OVERRIDES: urls.join(),
        LIVEKIT_CS_API_URL_OVERRIDES: urls.map((url) => `${url}/${place.caller}`).join(),
        LIVEKIT_EXTRA_CA_FILE: `${folder}/ca.pem`,
        LIVEKIT_STARTUP_CHECKS: "off",
      },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    this.#reading = this.#read();
    void this.#child.status.then(({ code }) => this.#exitCode = code);
  }

  /** Starts one, waits until it answers, and tells it that webhooks work. */
  static async start(others: Others, place: Place, options: LeaveServiceOptions): Promise<LeaveService> {
    const service = new LeaveService(others, place, options);
    while (!await service.#isHealthy()) {
      service.assertRuns();
      if (performance.now() - service.startedAt > START_TIMEOUT_MS) throw new Error("The service does not answer");
      await sleep(5);
    }
    service.startMs = performance.now() - service.startedAt;
    await service.#sendWebhook();
    return service;
  }

  /** What its homeservers and its SFU were asked. */
  counted(): Promise<Counted> {
    return this.#others.counted(this.#place.caller);
  }

  /** @throws ServiceEnded when it has ended by itself: 133 is out of memory. */
  assertRuns(): void {
    if (this.#exitCode === null) return;
    const last = this.complaints.at(-1) ?? "it said nothing";
    throw new ServiceEnded(
      `The service with ${this.#place.name} ended by itself, exit code ${this.#exitCode}: ${last}`,
    );
  }

  /** CPU time so far, in seconds. */
  cpuSeconds(): number {
    const stat = Deno.readTextFileSync(`/proc/${this.#child.pid}/stat`);
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  }

  /** Resident memory, in MiB. */
  rssMiB(): number {
    const status = Deno.readTextFileSync(`/proc/${this.#child.pid}/status`);
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
  }

  /** What is alive in V8's heap after a full collection. Only with the inspector. */
  async heapBytes(): Promise<number> {
    if (this.#inspectorPort === null) throw new TypeError("This service runs without the inspector");
    return await liveHeapBytes(this.#inspectorPort);
  }

  /** Asks it to end; resolves with the ms that took. */
  async stop(): Promise<number> {
    const askedAt = performance.now();
    this.#child.kill("SIGTERM");
    await this.#child.status;
    await this.#reading;
    return performance.now() - askedAt;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.#child.status;
    await this.#reading;
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const text of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      this.complaints.push(...lines.filter((line) => / (WARNING|ERROR|FATAL) |Fatal /.test(line)));
    }
  }

  async #isHealthy(): Promise<boolean> {
    try {
      const response = await fetch(`${this.url}/healthz`);
      await response.body?.cancel();
      return response.ok;
    } catch {
      return false;
    }
  }

  // Until a webhook has arrived the service polls every participant.
  async #sendWebhook(): Promise<void> {
    const { apiKey, apiSecret } = this.#others.fakes;
    const body = '{"event":"room_started","id":"EV_benchmark"}';
    const authorization = signWebhook({ name: apiKey, secret: apiSecret }, body);
    const response = await fetch(`${this.url}/sfu_webhook`, {
      method: "POST",
      headers: { authorization, "content-type": "application/webhook+json" },
      body,
    });
    await response.body?.cancel();
  }
}
