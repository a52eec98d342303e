// The service as an operator runs it: a process of its own, with its permission set, an environment that holds nothing
// but what a test gives it, and everything it prints.

import assert from "node:assert/strict";

const ROOT = new URL("../", import.meta.url);

// What the runtime itself needs to find its module cache and to trust the registry.
const OF_THE_RUNTIME = ["HOME", "DENO_DIR", "XDG_CACHE_HOME", "DENO_TLS_CA_STORE", "NODE_EXTRA_CA_CERTS"];

const START_TIMEOUT_MS = 60_000;
const END_TIMEOUT_MS = 30_000;

/** Variables of the service. */
export type Variables = Readonly<Record<string, string>>;

/** What to run instead of the service itself. */
export interface SpawnOptions {
  readonly args?: readonly string[];
  /** A module of the tests, by default the service's `main.ts`. */
  readonly module?: URL;
}

/** A running process; it is killed at the end of its scope if it has not ended by itself. */
export class ServiceProcess implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<void>;
  #output = "";
  #hasEnded = false;

  private constructor(variables: Variables, { args = [], module = new URL("main.ts", ROOT) }: SpawnOptions) {
    const kept = OF_THE_RUNTIME.flatMap((name) => {
      const value = Deno.env.get(name);
      return value === undefined ? [] : [[name, value] as const];
    });
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-P=service", "--no-prompt", module.href, ...args],
      cwd: ROOT,
      clearEnv: true,
      // The checks at the start have tests of their own, and others count who is asked for what.
      env: { NO_COLOR: "1", LIVEKIT_STARTUP_CHECKS: "off", ...Object.fromEntries(kept), ...variables },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#reading = Promise.all([this.#read(this.#child.stdout), this.#read(this.#child.stderr)]).then(() => {});
  }

  /** Runs a command of the service. */
  static spawn(variables: Variables, options: SpawnOptions = {}): ServiceProcess {
    return new ServiceProcess(variables, options);
  }

  /** Starts the service and waits until it listens. */
  static async start(variables: Variables, options: SpawnOptions = {}): Promise<ServiceProcess> {
    const service = new ServiceProcess(variables, options);
    try {
      await service.waitFor(/Listening on \S+\n/);
      return service;
    } catch (error) {
      await service[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Everything printed so far, but for the runtime's own notice about permission sets. */
  get output(): string {
    return this.#output.replace(/^.*Permissions in the config file is an experimental feature.*\n/gm, "");
  }

  /** Where it says it listens. */
  get address(): string {
    return /Listening on (\S+)\n/.exec(this.#output)?.[1] ?? "";
  }

  /** Base URL, for a service that listens on TCP. */
  get url(): string {
    return `http://${this.address.startsWith(":") ? `127.0.0.1${this.address}` : this.address}`;
  }

  /** Waits for something to be printed. */
  async waitFor(pattern: RegExp, timeoutMs = START_TIMEOUT_MS): Promise<void> {
    const until = performance.now() + timeoutMs;
    while (!pattern.test(this.#output)) {
      const isOver = this.#hasEnded || performance.now() > until;
      assert.ok(!isOver, `expected ${pattern} in:\n${this.#output}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Its process ID. */
  get pid(): number {
    return this.#child.pid;
  }

  /** Sends a signal. */
  kill(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  /** Waits for the end; a process that does not end is killed, which is code 137. */
  async exitCode(timeoutMs = END_TIMEOUT_MS): Promise<number> {
    const timer = setTimeout(() => this.#killNow(), timeoutMs);
    const { code } = await this.#child.status;
    clearTimeout(timer);
    this.#hasEnded = true;
    await this.#reading;
    return code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#killNow();
    await this.exitCode();
  }

  #killNow(): void {
    if (this.#hasEnded) return;
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has just ended by itself.
    }
  }

  async #read(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) this.#output += text;
    await this.#child.status;
    this.#hasEnded = true;
  }
}

/** A TCP port on which nobody listens at the moment. */
export function freePort(hostname = "127.0.0.1"): number {
  using listener = Deno.listen({ hostname, port: 0 });
  return listener.addr.port;
}
