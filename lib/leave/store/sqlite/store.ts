// The embedded store: delayed leave events in one SQLite file, which outlives the process however that ends, and which
// one process has to itself.

import type { JobKey } from "../../machine/job.ts";
import { openSqliteFile, type SqliteFileDeps } from "./file.ts";
import { SqliteLoader, type SqliteLoaderDeps } from "./loader.ts";
import { SqliteWriter, type SqliteWriterDeps } from "./writer.ts";
import type { LeaveStore, ParticipantEvent, Saved, StoredJob, StoreListener } from "../store.ts";

/** What the store needs from outside. */
export type SqliteStoreDeps = SqliteFileDeps & SqliteLoaderDeps & SqliteWriterDeps;

/** Keeps jobs in a directory. */
export class SqliteStore implements LeaveStore {
  readonly description: string;
  readonly #deps: SqliteStoreDeps;
  readonly #opening = new AbortController();
  #writer: SqliteWriter | null = null;
  /** While there are jobs that were not handed out. */
  #loader: SqliteLoader | null = null;
  #loading: Promise<void> | undefined;

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
    const database = await openSqliteFile(this.#deps, this.#opening.signal);
    const writer = new SqliteWriter(database, this.#deps);
    const loader = new SqliteLoader({ database, writer, listener, signal: this.#opening.signal }, this.#deps);
    this.#writer = writer;
    this.#loader = loader;
    this.#loading = loader.run().finally(() => this.#loader = null);
  }

  async accept(job: StoredJob): Promise<Saved> {
    if (this.#loader?.replace(job)) return { owner: "here", isDurable: true };
    return { owner: "here", isDurable: await this.#writer?.put(job) ?? false };
  }

  update(job: StoredJob): void {
    this.#loader?.skip(job, job.delayId);
    this.#writer?.change(job);
  }

  remove(key: JobKey, delayId: string): void {
    this.#loader?.skip(key, delayId);
    this.#writer?.remove(key, delayId);
  }

  async route({ room }: ParticipantEvent): Promise<"here"> {
    await this.#loader?.handOutRoom(room);
    return "here";
  }

  leaseMs(): number {
    return Infinity;
  }

  async close(): Promise<void> {
    this.#opening.abort();
    this.#loader = null;
    this.#writer?.close();
    await this.#loading;
  }
}
