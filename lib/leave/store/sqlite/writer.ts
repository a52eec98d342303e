// What the embedded store's file should hold, and how it gets there. A commit waits for the disk and everybody else
// with it, so changes are written in groups, and of each job only the last one.

import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Log } from "../../../log/log.ts";
import type { JobKey } from "../../machine/job.ts";
import { encodeJob, fieldOf } from "../stored_job.ts";
import type { StoredJob } from "../store.ts";

/** What the writer needs from outside. */
export interface SqliteWriterDeps {
  readonly directory: string;
  readonly monotonicNow: () => number;
  readonly setTimer: (run: () => void, delayMs: number) => () => void;
  readonly log: Log;
}

// Whoever waits for a commit waits this long for company, or as long as the last commit took: half of the time at most
// goes into commits.
const MIN_GROUP_MS = 2;
const MAX_GROUP_MS = 50;
// Nobody waits for these, and what is lost with a crash costs one call to a homeserver.
const LAZY_GROUP_MS = 100;
// Some 20 ms of work: nothing else runs meanwhile.
const MAX_GROUP_ROWS = 500;

const FIRST_RETRY_MS = 1000;
const MAX_RETRY_MS = 30_000;

interface Row {
  /** Of the job that this row should hold. */
  delayId: string | null;
  /** What is to be written; null = the row is to go; undefined = nothing. */
  pending: string | null | undefined;
  isInFile: boolean;
  /** Told whether the row was written; null = nobody is. */
  waiting: ((isDurable: boolean) => void)[] | null;
}

/** Writes jobs; while the disk takes none it keeps the last change of each job in memory and tries again. */
export class SqliteWriter {
  readonly #deps: SqliteWriterDeps;
  readonly #database: DatabaseSync;
  readonly #put: StatementSync;
  readonly #delete: StatementSync;
  readonly #rows = new Map<string, Row>();
  readonly #dirty = new Set<string>();
  #timer: { readonly at: number; readonly cancel: () => void } | null = null;
  #lastCommitMs = 0;
  /** Commits that failed in a row. */
  #failures = 0;
  #isClosed = false;

  /** @param database Open, ours alone, and closed by {@link close}. */
  constructor(database: DatabaseSync, deps: SqliteWriterDeps) {
    this.#deps = deps;
    this.#database = database;
    this.#put = database.prepare(
      "INSERT INTO jobs (field, value) VALUES (?, ?) ON CONFLICT (field) DO UPDATE SET value = excluded.value",
    );
    this.#delete = database.prepare("DELETE FROM jobs WHERE field = ?");
  }

  /** Whether something was told about a row. One that is gone from the file as well is forgotten. */
  knows(field: string): boolean {
    return this.#rows.has(field);
  }

  /** Takes note of a job that the file holds. */
  found(field: string, job: StoredJob): void {
    this.#rows.set(field, { delayId: job.delayId, pending: undefined, isInFile: true, waiting: null });
  }

  /** Removes what the file holds and nobody can use. */
  discard(field: string): void {
    this.#rows.set(field, { delayId: null, pending: null, isInFile: true, waiting: null });
    this.#mark(field, LAZY_GROUP_MS);
  }

  /** Writes a job, whatever stands in its place; resolves with whether it is on the disk. */
  put(job: StoredJob): Promise<boolean> {
    if (this.#isClosed) return Promise.resolve(false);
    const { field, value } = encodeJob(job);
    const row = this.#rows.get(field) ?? { delayId: null, pending: null, isInFile: false, waiting: null };
    row.delayId = job.delayId;
    row.pending = value;
    this.#rows.set(field, row);
    this.#mark(field, this.#groupMs);
    // A disk that has just failed is not worth a wait.
    if (this.#failures > 0) return Promise.resolve(false);
    return new Promise((resolve) => (row.waiting ??= []).push(resolve));
  }

  /** Writes a job soon, unless it was removed or another event took its place. */
  change(job: StoredJob): void {
    const { field, value } = encodeJob(job);
    const row = this.#rows.get(field);
    if (row === undefined || row.delayId !== job.delayId || this.#isClosed) return;
    row.pending = value;
    this.#mark(field, LAZY_GROUP_MS);
  }

  /** Removes a job at once, unless another event took its place: who starts next must not send its leave again. */
  remove(key: JobKey, delayId: string): void {
    const field = fieldOf(key);
    const row = this.#rows.get(field);
    if (row === undefined || row.delayId !== delayId || this.#isClosed) return;
    if (row.isInFile) {
      row.delayId = null;
      row.pending = null;
      this.#mark(field, this.#groupMs);
    } else {
      // Else a disk that stays full would fill the memory with the removals of what it never held.
      this.#rows.delete(field);
      this.#dirty.delete(field);
      tell(row, true);
    }
  }

  /** Writes what is pending and lets go of the file. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stopTimer();
    let isWriting = true;
    while (isWriting && this.#dirty.size > 0) isWriting = this.#commit();
    const { directory, log } = this.#deps;
    if (this.#dirty.size > 0) {
      log.error(
        "Cannot write the last changes of delayed leave events to the state directory: they are lost. Free space on " +
          "its disk, or look after its health, before the next start",
        { directory, lost: this.#dirty.size },
      );
    }
    try {
      this.#database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    } catch (error) {
      // What is committed stays in the log file beside it, and is found there.
      log.warning("Cannot tidy up the state directory: look after the health of its disk", {
        directory,
        cause: messageOf(error),
      });
    }
    this.#database.close();
  }

  get #groupMs(): number {
    return Math.min(Math.max(this.#lastCommitMs, MIN_GROUP_MS), MAX_GROUP_MS);
  }

  #mark(field: string, groupMs: number): void {
    this.#dirty.add(field);
    if (this.#failures === 0) this.#commitWithin(groupMs);
  }

  #commitWithin(delayMs: number): void {
    if (this.#isClosed) return;
    const at = this.#deps.monotonicNow() + delayMs;
    if (this.#timer !== null && this.#timer.at <= at) return;
    this.#stopTimer();
    const onDue = () => {
      this.#timer = null;
      this.#commit();
    };
    this.#timer = { at, cancel: this.#deps.setTimer(onDue, delayMs) };
  }

  #stopTimer(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  /** @returns Whether the disk took a group of changes. */
  #commit(): boolean {
    const fields = this.#dirty.values().take(MAX_GROUP_ROWS).toArray();
    const startedAt = this.#deps.monotonicNow();
    try {
      this.#write(fields);
    } catch (error) {
      this.#onFailure(error);
      return false;
    }
    this.#lastCommitMs = this.#deps.monotonicNow() - startedAt;
    this.#onSuccess(fields);
    return true;
  }

  #write(fields: readonly string[]): void {
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      for (const field of fields) {
        const value = this.#rows.get(field)?.pending;
        if (value === null) this.#delete.run(field);
        else if (value !== undefined) this.#put.run(field, value);
      }
      this.#database.exec("COMMIT");
    } catch (error) {
      this.#rollBack();
      throw error;
    }
  }

  #rollBack(): void {
    try {
      this.#database.exec("ROLLBACK");
    } catch {
      // SQLite has done it already: it does after the graver errors.
    }
  }

  #onSuccess(fields: readonly string[]): void {
    for (const field of fields) {
      this.#dirty.delete(field);
      const row = this.#rows.get(field);
      if (row === undefined) continue;
      row.isInFile = row.pending !== null;
      row.pending = undefined;
      if (!row.isInFile) this.#rows.delete(field);
      tell(row, true);
    }
    // A group of nothing proves nothing: what was held has been removed meanwhile.
    if (this.#failures > 0 && fields.length > 0) {
      const { directory, log } = this.#deps;
      log.info("The state directory can be written again", { directory, throttle: true });
    }
    this.#failures = 0;
    // The next turn of the event loop is for others.
    if (this.#dirty.size > 0) this.#commitWithin(MIN_GROUP_MS);
  }

  #onFailure(error: unknown): void {
    const { directory, log } = this.#deps;
    for (const field of this.#dirty) {
      const row = this.#rows.get(field);
      if (row !== undefined) tell(row, false);
    }
    log.error(
      "Cannot write delayed leave events to the state directory: they are held in memory, and a restart loses them. " +
        "Free space on its disk, or look after its health",
      { directory, waiting: this.#dirty.size, cause: messageOf(error), throttle: true },
    );
    this.#commitWithin(Math.min(FIRST_RETRY_MS * 2 ** this.#failures, MAX_RETRY_MS));
    this.#failures++;
  }
}

function tell(row: Row, isDurable: boolean): void {
  const { waiting } = row;
  row.waiting = null;
  for (const resolve of waiting ?? []) resolve(isDurable);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
