// The embedded store: delayed leave events in one SQLite file, which outlives the process however that ends, and which
// one process has to itself.

import type { JobKey } from "../../machine/job.ts";
import { openSqliteFile, type SqliteFileDeps } from "./file.ts";
import { loadJobs } from "./loader.ts";
import { SqliteWriter, type SqliteWriterDeps } from "./writer.ts";
import type { LeaveStore, ParticipantEvent, Saved, StoredJob, StoreListener } from "../store.ts";

/** What the store needs from outside. */
export type SqliteStoreDeps = SqliteFileDeps & SqliteWriterDeps;

/** Keeps jobs in a directory. */
export class SqliteStore implements LeaveStore {
  readonly description: string;
  readonly #deps: SqliteStoreDeps;
  readonly #closing = new AbortController();
  #writer: SqliteWriter | null = null;
  /** What comes meanwhile waits for it, so that it finds all jobs there; null once they are, or loading is halted. */
  #loading: Promise<void> | null = null;
  /** Goes on after a halt. */
  #loader = Promise.resolve();

  constructor(deps: SqliteStoreDeps) {
    this.#deps = deps;
    this.description = `SQLite in ${deps.directory}`;
  }

  /**
   * Opens the file; from then on no permission to write files is needed. The jobs in it follow in the background.
   *
   * @throws StateDirectoryError when another process keeps the directory for 30 s, and when it can't be used.
   */
  async open(listener: StoreListener): Promise<void> {
    const { signal } = this.#closing;
    const database = await openSqliteFile(this.#deps, signal);
    const writer = this.#writer = new SqliteWriter(database, this.#deps);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#loading = promise.then(() => {
      this.#loading = null;
    });
    // A disk that gives nothing keeps nobody waiting, nor do jobs for which there is no room.
    this.#loader = loadJobs({ ...this.#deps, database, writer, listener, signal, onHalt: resolve }).finally(resolve);
  }

  accept(job: StoredJob): Promise<Saved> {
    const accept = async (): Promise<Saved> => ({ owner: "here", isDurable: await this.#writer?.put(job) ?? false });
    return this.#loading?.then(async () => {
      // What is stored of the same event knows more about it.
      return this.#writer?.holds(job) ? { owner: "here", isDurable: true } : await accept();
    }) ?? accept();
  }

  update(job: StoredJob): void {
    this.#whenLoaded(() => this.#writer?.change(job));
  }

  remove(key: JobKey, delayId: string): void {
    this.#whenLoaded(() => this.#writer?.remove(key, delayId));
  }

  async route(_event: ParticipantEvent): Promise<"here"> {
    await this.#loading;
    return "here";
  }

  leaseMs(): number {
    return Infinity;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    await this.#loader;
    await this.#loading;
    this.#writer?.close();
  }

  #whenLoaded(run: () => void): void {
    if (this.#loading === null) run();
    else void this.#loading.then(run);
  }
}
