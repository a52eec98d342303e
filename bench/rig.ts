// The rig of the benchmarks: the service on one core, homeservers, SFU and load on the other; CPU, memory and
// connections read from outside.

import * as v from "valibot";
import { v8Flags } from "../tasks/compile.ts";
import { freePort } from "../testing/service_process.ts";

/** Where the fakes listen. */
const Fakes = v.object({
  ca: v.string(),
  local: v.string(),
  federated: v.string(),
  hanging: v.string(),
  sfuUrl: v.string(),
  apiKey: v.string(),
  apiSecret: v.string(),
  controlUrl: v.string(),
});
const Counters = v.object({
  homeserverConnections: v.number(),
  sfuConnections: v.number(),
  createRoomCalls: v.number(),
});
const Load = v.object({
  requests: v.number(),
  durationUs: v.number(),
  wrong: v.number(),
  errors: v.number(),
  p50Us: v.number(),
  p99Us: v.number(),
});

export type Fakes = v.InferOutput<typeof Fakes>;
export type Counters = v.InferOutput<typeof Counters>;
/** What wrk counted. */
export type Load = v.InferOutput<typeof Load>;

/** The repository's root. */
export const ROOT = new URL("..", import.meta.url).pathname;
/** The service has one core to itself. */
export const SERVICE_CORE = "0";
/** Everything else has the other. */
export const LOAD_CORE = "1";
const TICKS_PER_SECOND = 100;

/** V8's limits as the released executable has them. */
export const V8_FLAGS = `--v8-flags=${v8Flags.join(",")}`;

/** A process that is measured from outside. */
export class Subject implements AsyncDisposable {
  /** From exec to the first 200 on /healthz. */
  startMs = 0;
  readonly url: string;
  readonly #process: Deno.ChildProcess;

  constructor(port: number, command: string, args: readonly string[], variables: Record<string, string>) {
    this.url = `http://127.0.0.1:${port}`;
    this.#process = pinned(SERVICE_CORE, command, args, variables, "null");
  }

  /** Waits for its first answer. */
  async untilHealthy(): Promise<this> {
    const startedAt = performance.now();
    await untilHealthy(this.url);
    this.startMs = performance.now() - startedAt;
    return this;
  }

  /** CPU time so far, in microseconds. */
  cpuUs(): number {
    const stat = Deno.readTextFileSync(`/proc/${this.#process.pid}/stat`);
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) * 1_000_000 / TICKS_PER_SECOND;
  }

  /** Resident memory, in MiB. */
  rssMiB(): number {
    const status = Deno.readTextFileSync(`/proc/${this.#process.pid}/status`);
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGTERM");
    await this.#process.status;
  }
}

/** The service, the bare handler that it is measured by, and the fakes that both ask. */
export class Rig implements AsyncDisposable {
  private constructor(
    readonly fakes: Fakes,
    readonly service: Subject,
    readonly bare: Subject,
    private readonly fakesProcess: Deno.ChildProcess,
    private readonly folder: string,
  ) {}

  /** Starts all; the service as a binary when there is one, else from source. */
  static async start(binary: string | null): Promise<Rig> {
    const folder = await Deno.makeTempDir({ prefix: "lk-jwt-bench-" });
    const fakesProcess = pinned(LOAD_CORE, Deno.execPath(), ["run", "-A", `${ROOT}bench/fakes.ts`], {}, "piped");
    const fakes = v.parse(Fakes, JSON.parse(await firstLine(fakesProcess.stdout)));
    await Deno.writeTextFile(`${folder}/ca.pem`, fakes.ca);
    const port = freePort();
    const variables = {
      LIVEKIT_URL: fakes.sfuUrl,
      LIVEKIT_KEY: fakes.apiKey,
      LIVEKIT_SECRET: fakes.apiSecret,
      LIVEKIT_FULL_ACCESS_HOMESERVERS: `${fakes.local},${fakes.hanging}`,
      LIVEKIT_FEDERATION_ALLOW_NETWORKS: "127.0.0.0/8,::1",
      LIVEKIT_EXTRA_CA_FILE: `${folder}/ca.pem`,
      LIVEKIT_JWT_BIND: `127.0.0.1:${port}`,
    };
    const [command, args] = binary === null
      ? [Deno.execPath(), ["run", "-P=service", "--no-prompt", V8_FLAGS, `${ROOT}main.ts`]]
      : [binary, []];
    const service = await new Subject(port, command, args, variables).untilHealthy();
    const barePort = freePort();
    const bareArgs = ["run", "-A", `${ROOT}bench/bare_handler.ts`];
    const bare = await new Subject(barePort, Deno.execPath(), bareArgs, { ...variables, BARE_PORT: `${barePort}` })
      .untilHealthy();
    return new Rig(fakes, service, bare, fakesProcess, folder);
  }

  /** Sets the delay of homeservers and SFU, and reads what was counted. */
  async control(delayMs: number): Promise<Counters> {
    const response = await fetch(`${this.fakes.controlUrl}control?delay_ms=${delayMs}`);
    return v.parse(Counters, await response.json());
  }

  /** Runs wrk against a subject for a while. Without bodies it asks for /healthz. */
  async load(
    subject: Subject,
    bodies: readonly string[] | null,
    connections: number,
    seconds: number,
  ): Promise<Load & { cpuUs: number }> {
    const file = `${this.folder}/bodies`;
    if (bodies !== null) await Deno.writeTextFile(file, bodies.join("\n"));
    const script = `${ROOT}bench/load.lua`;
    const options = ["-t1", `-c${connections}`, `-d${seconds}s`, "--timeout", "15s", "-s", script, subject.url];
    const cpuBefore = subject.cpuUs();
    const output = await new Deno.Command("taskset", {
      args: ["-c", LOAD_CORE, "wrk", ...options],
      env: { BENCH_BODIES: bodies === null ? "" : file },
    }).output();
    const line = /^BENCH (.*)$/m.exec(new TextDecoder().decode(output.stdout))?.[1];
    if (line === undefined) throw new Error(`Cannot read what wrk counted: ${new TextDecoder().decode(output.stderr)}`);
    const load = v.parse(Load, JSON.parse(line));
    return { ...load, cpuUs: (subject.cpuUs() - cpuBefore) / load.requests };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.fakesProcess.kill("SIGKILL");
    await Promise.all([
      this.service[Symbol.asyncDispose](),
      this.bare[Symbol.asyncDispose](),
      this.fakesProcess.status,
    ]);
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** Runs a command on one core; stdout alone is to be had, where it is piped. */
export function pinned(
  core: string,
  command: string,
  args: readonly string[],
  variables: Record<string, string>,
  stdout: "piped" | "null",
): Deno.ChildProcess {
  // What Deno itself needs to find its cache; the service sees its own variables only.
  const kept = ["HOME", "PATH", "DENO_DIR", "DENO_TLS_CA_STORE"].flatMap((name) => {
    const value = Deno.env.get(name);
    return value === undefined ? [] : [[name, value]];
  });
  const env = { ...Object.fromEntries(kept), ...variables };
  return new Deno.Command("taskset", {
    args: ["-c", core, command, ...args],
    clearEnv: true,
    env,
    stdin: "null",
    stdout,
    stderr: stdout === "null" ? "null" : "inherit",
  }).spawn();
}

/** The first line that a process prints. */
export async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string> {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (!text.includes("\n")) {
    const { done, value } = await reader.read();
    if (done) throw new Error("The fakes ended before they listened");
    text += value;
  }
  reader.releaseLock();
  return text.slice(0, text.indexOf("\n"));
}

async function untilHealthy(url: string): Promise<void> {
  for (let attempt = 0; attempt < 2000; attempt++) {
    try {
      const response = await fetch(`${url}/healthz`);
      await response.body?.cancel();
      if (response.ok) return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
  throw new Error("The service does not answer");
}
