// The embedded store: delayed leave events in one SQLite file, which outlives the process however that ends, and which
// one process has to itself.

import type { DatabaseSync } from "node:sqlite";
import type { JobKey } from "./job.ts";
import { openSqliteFile, type SqliteFileDeps } from "./sqlite_file.ts";
import { SqliteWriter, type SqliteWriterDeps } from "./sqlite_writer.ts";
import { decodeJob, isPastGivingUp } from "./stored_job.ts";
import type { LeaveStore, Saved, StoredJob, StoreListener } from "./store.ts";

/** What the store needs from outside. */
export type SqliteStoreDeps = SqliteFileDeps & SqliteWriterDeps;

/** Keeps jobs in a directory. */
export class SqliteStore implements LeaveStore {
  readonly description: string;
  readonly #deps: SqliteStoreDeps;
  readonly #opening = new AbortController();
  #writer: SqliteWriter | null = null;

  constructor(deps: SqliteStoreDeps) {
    this.#deps = deps;
    this.description = `SQLite in ${deps.directory}`;
  }

  /**
   * Opens the file; from then on no permission to write files is needed.
   *
   * @throws StateDirectoryError when another process keeps the directory for 30 s, and when it can't be used.
   */
  async open(listener: StoreListener): Promise<void> {
    const database = await openSqliteFile(this.#deps, this.#opening.signal);
    this.#writer = new SqliteWriter(database, this.#deps);
    listener.adopt(this.#load(database, this.#writer));
  }

  async accept(job: StoredJob): Promise<Saved> {
    return { owner: "here", isDurable: await this.#writer?.put(job) ?? false };
  }

  update(job: StoredJob): void {
    this.#writer?.change(job);
  }

  remove(key: JobKey, delayId: string): void {
    this.#writer?.remove(key, delayId);
  }

  route(): Promise<"here"> {
    return Promise.resolve("here");
  }

  leaseMs(): number {
    return Infinity;
  }

  close(): Promise<void> {
    this.#opening.abort();
    this.#writer?.close();
    return Promise.resolve();
  }

  #load(database: DatabaseSync, writer: SqliteWriter): StoredJob[] {
    const now = this.#deps.now();
    const jobs: StoredJob[] = [];
    let over = 0;
    let unreadable = 0;
    for (const { field, value } of database.prepare("SELECT field, value FROM jobs").all()) {
      if (typeof field !== "string" || typeof value !== "string") continue;
      const job = decodeJob({ field, value }, now);
      if (job !== null && !isPastGivingUp(job, now)) {
        writer.found(field, job);
        jobs.push(job);
        continue;
      }
      writer.discard(field);
      if (job === null) unreadable++;
      else over++;
    }
    this.#report(jobs.length, over, unreadable);
    return jobs;
  }

  #report(adopted: number, over: number, unreadable: number): void {
    const { directory, log } = this.#deps;
    if (over > 0) {
      log.info("Dropped delayed leave events: they must have been sent over an hour ago", { directory, dropped: over });
    }
    if (unreadable > 0) {
      log.error(
        "Dropped delayed leave events that cannot be read: their users may be shown in calls for a while. Look after " +
          "the health of the disk",
        { directory, dropped: unreadable },
      );
    }
    log.info("Opened the store of delayed leave events", { directory, adopted });
  }
}
