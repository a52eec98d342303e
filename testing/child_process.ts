// Other programs, run to their end or in the background. What they print goes to a file, not through a pipe: a test's
// op sanitizer then sees nothing of them, and the text is there when a failure needs explaining.

import { setTimeout as sleep } from "node:timers/promises";

/** The program is not on this machine; the text says what to install. */
export class MissingProgram extends Error {
  override name = "MissingProgram";
}

/** How to run a program. */
export interface ProgramOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** What to tell a reader whose machine lacks the program, without final period. */
  readonly toInstall?: string;
}

const POLL_MS = 50;
const TAIL_LINES = 40;

/**
 * Runs a program to its end.
 *
 * @returns What it wrote to standard output, without spaces around it.
 * @throws MissingProgram, or an Error with the end of its output when the exit code is not 0.
 */
export async function runToEnd(program: string, args: readonly string[], options: ProgramOptions = {}) {
  const { env, cwd, toInstall } = options;
  const output = await spawnable(program, toInstall, () =>
    new Deno.Command(program, {
      args: [...args],
      stdin: "null",
      ...(env === undefined ? {} : { env }),
      ...(cwd === undefined ? {} : { cwd }),
    }).output());
  const [stdout, stderr] = [output.stdout, output.stderr].map((bytes) => new TextDecoder().decode(bytes).trim());
  if (!output.success) {
    const text = tail(`${stdout}\n${stderr}`.trim());
    throw new Error(`Cannot run "${program} ${args.join(" ")}": exit code ${output.code}\n${text}`);
  }
  return stdout ?? "";
}

async function spawnable<T>(program: string, toInstall: string | undefined, spawn: () => Promise<T>): Promise<T> {
  try {
    return await spawn();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new MissingProgram(`Cannot run "${program}": it is not on PATH; ${toInstall ?? "install it"}`);
  }
}

/** How to start a program that stays. */
export interface BackgroundOptions {
  /** For error texts. */
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
  /** Takes all that the program prints. */
  readonly logFile: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Gives the program `env` and nothing of this process's own environment. */
  readonly clearEnv?: boolean;
  readonly cwd?: string;
}

/** A program that runs until it is stopped, or until this process ends, however that happens. */
export class BackgroundProcess implements AsyncDisposable {
  /** Settles with the exit code, or with 128 + the number of the signal that ended it. */
  readonly ended: Promise<number>;
  readonly #child: Deno.ChildProcess;
  readonly #options: BackgroundOptions;
  #exitCode: number | null = null;

  constructor(options: BackgroundOptions) {
    const { program, args, logFile, env, clearEnv, cwd } = options;
    this.#options = options;
    // The shell opens the file and then becomes the program itself, so that signals reach the right process.
    this.#child = new Deno.Command("/bin/sh", {
      args: ["-c", 'exec "$@" >"$0" 2>&1', logFile, program, ...args],
      stdin: "null",
      stdout: "null",
      stderr: "null",
      clearEnv: clearEnv ?? false,
      ...(env === undefined ? {} : { env }),
      ...(cwd === undefined ? {} : { cwd }),
    }).spawn();
    const endGuard = killWithThisProcess(this.#child.pid);
    this.ended = this.#child.status.then(async ({ code }) => {
      this.#exitCode = code;
      await endGuard();
      return code;
    });
  }

  /** The end of what it has printed. */
  output(lines = TAIL_LINES): string {
    try {
      return tail(Deno.readTextFileSync(this.#options.logFile).trim(), lines);
    } catch (error) {
      return `(no output: ${error instanceof Error ? error.message : error})`;
    }
  }

  /**
   * Waits until `isReady` holds; a rejection counts as "not yet".
   *
   * @throws With its output, when the program ends or the time is over before.
   */
  async untilReady(isReady: (signal: AbortSignal) => Promise<boolean>, timeoutMs: number): Promise<void> {
    const { name } = this.#options;
    const deadline = AbortSignal.timeout(timeoutMs);
    let lastError = "";
    while (!deadline.aborted) {
      if (this.#exitCode !== null) {
        throw new Error(`Cannot start ${name}: it ended with exit code ${this.#exitCode}\n${this.output()}`);
      }
      try {
        if (await isReady(deadline)) return;
      } catch (error) {
        lastError = error instanceof Error ? error.message : String(error);
      }
      await sleep(POLL_MS);
    }
    throw new Error(`Cannot start ${name}: not ready after ${timeoutMs} ms (${lastError})\n${this.output()}`);
  }

  /** Asks it to end, and kills it when it has not after the grace. Gives the exit code; may be called again. */
  async stop({ signal = "SIGTERM", graceMs }: { signal?: Deno.Signal; graceMs: number }): Promise<number> {
    this.#signal(signal);
    const patience = new AbortController();
    const killed = sleep(graceMs, undefined, { signal: patience.signal })
      .then(() => this.#signal("SIGKILL"), () => {}); // the program ended in time
    const code = await this.ended;
    patience.abort();
    await killed;
    return code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop({ graceMs: 5000 });
  }

  #signal(signal: Deno.Signal): void {
    if (this.#exitCode !== null) return;
    try {
      this.#child.kill(signal);
    } catch (error) {
      // It ended by itself a moment ago.
      if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

// An interrupted or killed test run ends no child by itself, but it closes the pipe to a shell that waits for just that.
function killWithThisProcess(pid: number): () => Promise<void> {
  const guard = new Deno.Command("/bin/sh", {
    args: ["-c", 'trap "" HUP INT TERM; read -r _; kill -9 "$0"', String(pid)],
    stdin: "piped",
    stdout: "null",
    stderr: "null",
  }).spawn();
  return async () => {
    guard.kill("SIGKILL");
    await guard.status;
    await guard.stdin.close();
  };
}

function tail(text: string, lines = TAIL_LINES): string {
  return text.split("\n").slice(-lines).join("\n");
}
