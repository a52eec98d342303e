// One service that dies and comes back: each of its lives is a process of its own, run from source with the service's
// permissions, and has a name by which the homeservers tell its calls from those of the lives before.

import { ServiceProcess, type Variables } from "../../testing/service_process.ts";

/** One process. All times are ms of the monotonic clock. */
export interface Life {
  readonly name: string;
  readonly process: ServiceProcess;
  readonly startedAt: number;
  /** When it was killed; null while it runs, and for one that ended by itself. */
  killedAt: number | null;
}

/** A service through all its lives; the last one ends at the end of its scope. */
export class Replica implements AsyncDisposable {
  readonly name: string;
  readonly lives: Life[] = [];
  readonly #variables: (life: string) => Variables;
  #url: string | null = null;

  /** @param variables Of one life. */
  constructor(name: string, variables: (life: string) => Variables) {
    this.name = name;
    this.#variables = variables;
  }

  /** Base URL; null while it does not listen. */
  get url(): string | null {
    return this.#url;
  }

  get life(): Life | undefined {
    return this.lives.at(-1);
  }

  /** Begins a process, and does not wait until it listens. */
  spawn(): Life {
    const name = `${this.name}-${this.lives.length}`;
    const process = ServiceProcess.spawn({ LIVEKIT_JWT_BIND: "127.0.0.1:0", ...this.#variables(name) });
    const life = { name, process, startedAt: performance.now(), killedAt: null };
    this.lives.push(life);
    return life;
  }

  /** Waits until the last process listens; false when it is killed before. */
  async listens(): Promise<boolean> {
    const { life } = this;
    if (life === undefined) return false;
    try {
      await life.process.waitFor(/Listening on \S+\n/);
    } catch (error) {
      if (life.killedAt !== null) return false;
      throw error;
    }
    if (life !== this.life || life.killedAt !== null) return false;
    this.#url = life.process.url;
    return true;
  }

  async start(): Promise<void> {
    this.spawn();
    await this.listens();
  }

  /** kill -9. */
  async kill(): Promise<void> {
    const { life } = this;
    if (life === undefined || life.killedAt !== null) return;
    this.#url = null;
    life.process.kill("SIGKILL");
    life.killedAt = performance.now();
    await life.process.exitCode();
  }

  /** SIGTERM; gives the exit code. */
  async stop(): Promise<number> {
    this.#url = null;
    this.life?.process.kill("SIGTERM");
    return await this.life?.process.exitCode() ?? 0;
  }

  /** What was printed about something, by all lives. */
  linesAbout(text: string): string[] {
    return this.lives.flatMap(({ name, process }) =>
      process.output.split("\n").filter((line) => line.includes(text)).map((line) => `${name} ${line}`)
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.life?.process[Symbol.asyncDispose]();
  }
}
