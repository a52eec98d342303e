// A participant that can die as a phone does: without a word to anybody.

import { fileURLToPath } from "node:url";
import { BackgroundProcess } from "../../../testing/child_process.ts";

const MAIN = fileURLToPath(new URL("./client_main.ts", import.meta.url));
const JOIN_TIMEOUT_MS = 30_000;
const LEAVE_GRACE_MS = 5000;

/** A participant in a process of its own, in a room until it leaves or is killed. */
export class ClientProcess implements AsyncDisposable {
  readonly #process: BackgroundProcess;
  readonly #folder: string;

  constructor(process: BackgroundProcess, folder: string) {
    this.#process = process;
    this.#folder = folder;
  }

  /** Ends the process at once: the SFU has to find out by itself. */
  async kill(): Promise<void> {
    await this.#process.stop({ signal: "SIGKILL", graceMs: LEAVE_GRACE_MS });
  }

  /** Leaves, unless it is dead: the SFU sees an intentional leave. */
  async leave(): Promise<void> {
    await this.#process.stop({ graceMs: LEAVE_GRACE_MS });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.leave();
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/**
 * Joins the room of a token, media connection included, from another process.
 *
 * @throws With the client library's words, when the SFU lets nobody in.
 */
export async function joinFromProcess(url: string, jwt: string): Promise<ClientProcess> {
  const folder = await Deno.makeTempDir({ prefix: "lk-jwt-service-client-" });
  const process = new BackgroundProcess({
    name: "a participant",
    program: Deno.execPath(),
    args: ["run", "-A", "--no-prompt", MAIN],
    env: { SFU_URL: url, SFU_TOKEN: jwt, NO_COLOR: "1" },
    logFile: `${folder}/client.log`,
  });
  const client = new ClientProcess(process, folder);
  try {
    await process.untilReady(() => Promise.resolve(/^joined$/m.test(process.output())), JOIN_TIMEOUT_MS);
    return client;
  } catch (error) {
    await client[Symbol.asyncDispose]();
    throw error;
  }
}
