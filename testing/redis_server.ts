// A real Redis on loopback, one per test: started, frozen, killed and started again, by its process alone.

import { setTimeout as sleepFor } from "node:timers/promises";
import { freePort } from "./service_process.ts";

const START_TIMEOUT_MS = 10_000;

/** A server process, and what it was started with. */
export class RedisServer implements AsyncDisposable {
  readonly port: number;
  readonly directory: string;
  readonly #args: readonly string[];
  #process: Deno.ChildProcess | null = null;

  private constructor(port: number, directory: string, args: readonly string[]) {
    this.port = port;
    this.directory = directory;
    this.#args = args;
  }

  /**
   * Starts a server on a free port, and on a unix socket.
   *
   * @param config Further options, as on the command line: `--requirepass`, `secret`.
   */
  static async start(config: readonly string[] = []): Promise<RedisServer> {
    const directory = await Deno.makeTempDir();
    const port = freePort();
    const server = new RedisServer(port, directory, [
      ...["--port", String(port), "--bind", "127.0.0.1", "--unixsocket", `${directory}/socket`, "--save", ""],
      ...["--dir", directory, "--daemonize", "no", "--loglevel", "warning", ...config],
    ]);
    await server.run();
    return server;
  }

  /** Starts a Sentinel that watches a master, by a configuration of its own: it writes into it. */
  static async startSentinel(master: RedisServer, name: string): Promise<RedisServer> {
    const directory = await Deno.makeTempDir();
    const port = freePort();
    const config = [
      ...[`port ${port}`, "bind 127.0.0.1", `dir ${directory}`, "sentinel resolve-hostnames no"],
      `sentinel monitor ${name} 127.0.0.1 ${master.port} 1`,
      `sentinel down-after-milliseconds ${name} 1000`,
      `sentinel failover-timeout ${name} 3000`,
    ];
    await Deno.writeTextFile(`${directory}/sentinel.conf`, `${config.join("\n")}\n`);
    const server = new RedisServer(port, directory, [`${directory}/sentinel.conf`, "--sentinel"]);
    await server.run();
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  get socketUrl(): string {
    return `unix:${this.directory}/socket`;
  }

  /** Starts the process (again), without any data; with further options, as on the command line. */
  async run(config: readonly string[] = []): Promise<void> {
    try {
      const command = new Deno.Command("redis-server", {
        args: [...this.#args, ...config],
        stdin: "null",
        stdout: "null",
        stderr: "null",
      });
      this.#process = command.spawn();
    } catch (error) {
      throw new Error("Cannot start redis-server: install it (Debian: apt-get install redis-server)", { cause: error });
    }
    const giveUpAt = performance.now() + START_TIMEOUT_MS;
    while (!(await this.#answers())) {
      if (performance.now() > giveUpAt) throw new Error(`No answer of redis-server on port ${this.port} in time`);
      await sleepFor(20);
    }
  }

  freeze(): void {
    this.#process?.kill("SIGSTOP");
  }

  thaw(): void {
    this.#process?.kill("SIGCONT");
  }

  /** Ends the process at once. */
  async kill(): Promise<void> {
    const process = this.#process;
    this.#process = null;
    if (process === null) return;
    process.kill("SIGKILL");
    await process.status;
  }

  /** Runs a command; the reply as redis-cli prints it without a terminal. */
  async cli(...command: readonly string[]): Promise<string> {
    const { stdout } = await new Deno.Command("redis-cli", {
      args: ["-h", "127.0.0.1", "-p", String(this.port), ...command],
      stdin: "null",
    }).output();
    return new TextDecoder().decode(stdout).trim();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await Deno.remove(this.directory, { recursive: true });
  }

  async #answers(): Promise<boolean> {
    try {
      using connection = await Deno.connect({ hostname: "127.0.0.1", port: this.port });
      await connection.write(new TextEncoder().encode("PING\r\n"));
      return (await connection.read(new Uint8Array(64)) ?? 0) > 0;
    } catch {
      return false;
    }
  }
}
