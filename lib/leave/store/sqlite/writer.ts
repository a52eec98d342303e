// What the embedded store's file should hold, and how it gets there. A commit waits for the disk and everybody else
// with it, so changes are written in groups, and of each job only the last one.

import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { Clock } from "../../../async/clock.ts";
import { errorText } from "../../../log/error_text.ts";
import type { Log } from "../../../log/log.ts";
import type { JobKey } from "../../machine/job.ts";
import { encodeJob, fieldOf } from "../stored_job.ts";
import type { StoredJob } from "../store.ts";

/** What the writer needs from outside. */
export interface SqliteWriterDeps {
  readonly directory: string;
  readonly clock: Clock;
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

interface Change {
  /** The job that the row is to hold, whose text is made when it is written; null = it is to go. */
  readonly job: StoredJob | null;
  /** Told whether that is on the disk. */
  readonly waiting: ((isDurable: boolean) => void)[];
}

/** Writes jobs; while the disk takes none it keeps the last change of each job in memory and tries again. */
export class SqliteWriter {
  readonly #deps: SqliteWriterDeps;
  readonly #database: DatabaseSync;
  readonly #put: StatementSync;
  readonly #delete: StatementSync;
  readonly #select: StatementSync;
  /** By field, the oldest first. */
  readonly #changes = new Map<string, Change>();
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
    this.#select = database.prepare(
      "SELECT iif(json_valid(value), value ->> '$.Params.DelayId', '') AS delayId FROM jobs WHERE field = ?",
    );
  }

  /** Whether a row is about to be written or removed. */
  isChanging(field: string): boolean {
    return this.#changes.has(field);
  }

  /** Whether a job of the same event stands in the place of this one. */
  holds(job: StoredJob): boolean {
    return this.#delayIdAt(fieldOf(job)) === job.delayId;
  }

  /** Writes a job, whatever stands in its place; resolves with whether it is on the disk. */
  put(job: StoredJob): Promise<boolean> {
    if (this.#isClosed) return Promise.resolve(false);
    const { waiting } = this.#set(fieldOf(job), job, this.#groupMs);
    // A disk that has just failed is not worth a wait.
    return this.#failures > 0 ? Promise.resolve(false) : new Promise((resolve) => waiting.push(resolve));
  }

  /** Writes a job soon, unless it was removed or another event took its place. */
  change(job: StoredJob): void {
    const field = fieldOf(job);
    if (this.#delayIdAt(field) === job.delayId) this.#set(field, job, LAZY_GROUP_MS);
  }

  /** Removes a job at once, unless another event took its place: who starts next must not send its leave again. */
  remove(key: JobKey, delayId: string): void {
    const field = fieldOf(key);
    const inFile = this.#delayIdInFile(field);
    if (this.#delayIdAt(field, inFile) !== delayId) return;
    if (inFile !== null) return void this.#set(field, null, this.#groupMs);
    // Else a disk that stays full would fill the memory with the removals of what it never held.
    tell(this.#changes.get(field), true);
    this.#changes.delete(field);
  }

  /** Removes what the file holds and nobody can use. */
  discard(field: string): void {
    this.#set(field, null, LAZY_GROUP_MS);
  }

  /** Writes what is pending and lets go of the file. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stopTimer();
    let isWriting = true;
    while (isWriting && this.#changes.size > 0) isWriting = this.#commit();
    const { directory, log } = this.#deps;
    if (this.#changes.size > 0) {
      log.error(
        "Cannot write the last changes of delayed leave events to the state directory: they are lost. Free space on " +
          "its disk, or look after its health, before the next start",
        { directory, lost: this.#changes.size },
      );
    }
    try {
      this.#database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    } catch (error) {
      // What is committed stays in the log file beside it, and is found there.
      const cause = errorText(error);
      log.warning("Cannot tidy up the state directory: look after the health of its disk", { directory, cause });
    }
    this.#database.close();
  }

  /** Of the job that a row holds, or is about to hold; null for none. */
  #delayIdAt(field: string, inFile?: string | null): string | null {
    if (this.#isClosed) return null;
    const change = this.#changes.get(field);
    if (change !== undefined) return change.job?.delayId ?? null;
    return inFile === undefined ? this.#delayIdInFile(field) : inFile;
  }

  /** "" for what is no job; null for nothing, and when the disk does not give it. */
  #delayIdInFile(field: string): string | null {
    try {
      const row = this.#select.get(field);
      return row === undefined ? null : String(row.delayId ?? "");
    } catch {
      return null;
    }
  }

  #set(field: string, job: Change["job"], groupMs: number): Change {
    // Whoever waits for what stood here waits for what takes its place.
    const change = { job, waiting: this.#changes.get(field)?.waiting ?? [] };
    this.#changes.set(field, change);
    if (this.#failures === 0) this.#commitWithin(groupMs);
    return change;
  }

  get #groupMs(): number {
    return Math.min(Math.max(this.#lastCommitMs, MIN_GROUP_MS), MAX_GROUP_MS);
  }

  #commitWithin(delayMs: number): void {
    if (this.#isClosed) return;
    const { clock } = this.#deps;
    const at = clock.monotonicNow() + delayMs;
    if (this.#timer !== null && this.#timer.at <= at) return;
    this.#stopTimer();
    const onDue = () => {
      this.#timer = null;
      this.#commit();
    };
    this.#timer = { at, cancel: clock.setTimer(onDue, delayMs) };
  }

  #stopTimer(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  /** @returns Whether the disk took a group of changes. */
  #commit(): boolean {
    const group = this.#changes.entries().take(MAX_GROUP_ROWS).toArray();
    const startedAt = this.#deps.clock.monotonicNow();
    try {
      this.#write(group);
    } catch (error) {
      this.#onFailure(error);
      return false;
    }
    this.#lastCommitMs = this.#deps.clock.monotonicNow() - startedAt;
    for (const [field, change] of group) {
      this.#changes.delete(field);
      tell(change, true);
    }
    // A group of nothing proves nothing: what was held has been removed meanwhile.
    if (this.#failures > 0 && group.length > 0) {
      const { directory, log } = this.#deps;
      log.info("The state directory can be written again", { directory, throttle: true });
    }
    this.#failures = 0;
    // The next turn of the event loop is for others.
    if (this.#changes.size > 0) this.#commitWithin(MIN_GROUP_MS);
    return true;
  }

  #write(group: readonly (readonly [field: string, change: Change])[]): void {
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      for (const [field, { job }] of group) {
        if (job === null) this.#delete.run(field);
        else this.#put.run(field, encodeJob(job).value);
      }
      this.#database.exec("COMMIT");
    } catch (error) {
      // SQLite has done it already after the graver errors.
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw error;
    }
  }

  #onFailure(error: unknown): void {
    const { directory, log } = this.#deps;
    for (const change of this.#changes.values()) tell(change, false);
    log.error(
      "Cannot write delayed leave events to the state directory: they are held in memory, and a restart loses them. " +
        "Free space on its disk, or look after its health",
      { directory, waiting: this.#changes.size, cause: errorText(error), throttle: true },
    );
    this.#commitWithin(Math.min(FIRST_RETRY_MS * 2 ** this.#failures, MAX_RETRY_MS));
    this.#failures++;
  }
}

function tell(change: Change | undefined, isDurable: boolean): void {
  for (const resolve of change?.waiting.splice(0) ?? []) resolve(isDurable);
}
