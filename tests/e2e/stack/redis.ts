// A real Redis on loopback, in memory only.

import { freePort } from "./loopback.ts";
import { BackgroundProcess, runToEnd } from "./process.ts";

const PROGRAM = "redis-server";
const START_TIMEOUT_MS = 10_000;

/** A Redis that runs. */
export class Redis implements AsyncDisposable {
  /** As `LIVEKIT_REDIS_URL` takes it. */
  readonly url: string;
  readonly #process: BackgroundProcess;
  readonly #folder: string;

  constructor(url: string, process: BackgroundProcess, folder: string) {
    this.url = url;
    this.#process = process;
    this.#folder = folder;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stop({ graceMs: 5000 });
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/**
 * Starts an empty Redis, and waits until it answers.
 *
 * @throws MissingProgram, or an Error with the server's log.
 */
export async function startRedis(): Promise<Redis> {
  console.log(await runToEnd(PROGRAM, ["--version"], { toInstall: "install Redis (Debian: redis-server)" }));
  const folder = await Deno.makeTempDir({ prefix: "lk-jwt-service-redis-" });
  const port = await freePort();
  const process = new BackgroundProcess({
    name: "Redis",
    program: PROGRAM,
    args: ["--bind", "127.0.0.1", "--port", String(port), "--save", "", "--appendonly", "no", "--dir", folder],
    logFile: `${folder}/redis.log`,
    cwd: folder,
  });
  const redis = new Redis(`redis://127.0.0.1:${port}`, process, folder);
  try {
    await process.untilReady(() => answersPing(port), START_TIMEOUT_MS);
    return redis;
  } catch (error) {
    await redis[Symbol.asyncDispose]();
    throw error;
  }
}

async function answersPing(port: number): Promise<boolean> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  await connection.write(new TextEncoder().encode("PING\r\n"));
  const answer = new Uint8Array(16);
  const length = await connection.read(answer) ?? 0;
  return new TextDecoder().decode(answer.subarray(0, length)).startsWith("+PONG");
}
