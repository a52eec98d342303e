// Hands the jobs of the embedded store's file out, page by page, while the service is at work already. What somebody asks
// about before its page has come is handed out first: to them it is as if all had been loaded at the start.

import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { RoomAlias } from "../../../livekit/identity.ts";
import type { Log } from "../../../log/log.ts";
import type { JobKey } from "../../machine/job.ts";
import type { SqliteWriter } from "./writer.ts";
import { decodeJob, fieldOf, fieldsOfRoom } from "../stored_job.ts";
import { isSameEvent, type StoredJob, type StoreListener } from "../store.ts";

/** What the loader needs from outside. */
export interface SqliteLoaderDeps {
  readonly directory: string;
  /** Wall clock, ms since the epoch. */
  readonly now: () => number;
  readonly monotonicNow: () => number;
  readonly sleep: (durationMs: number, signal: AbortSignal) => Promise<void>;
  readonly log: Log;
}

/** Where the jobs come from and go to. */
export interface SqliteLoaderParts {
  /** Open. */
  readonly database: DatabaseSync;
  /** Of the same database. A row that it knows is loaded, or something newer stands in its place. */
  readonly writer: SqliteWriter;
  readonly listener: StoreListener;
  /** Ends the loading; the database may be closed then. */
  readonly signal: AbortSignal;
}

// Some 20 ms of work, that of the listener included: nothing else runs meanwhile.
const PAGE_ROWS = 400;
const FIRST_RETRY_MS = 1000;
const FULL_PAUSE_MS = 1000;
const MAX_RETRY_MS = 30_000;

interface Row {
  readonly rowid: number;
  readonly field: string;
  readonly value: string;
}

/** Loads a file, once. */
export class SqliteLoader {
  readonly #deps: SqliteLoaderDeps;
  readonly #parts: SqliteLoaderParts;
  readonly #page: StatementSync;
  readonly #pageOfRoom: StatementSync;
  readonly #row: StatementSync;
  readonly #rooms = new Set<RoomAlias>();
  /** Events that were handed in meanwhile: what the file has of them under other keys is older. */
  readonly #handedIn = new Set<string>();
  #found = 0;
  #unreadable = 0;

  constructor(parts: SqliteLoaderParts, deps: SqliteLoaderDeps) {
    this.#deps = deps;
    this.#parts = parts;
    const select = "SELECT rowid, field, value FROM jobs WHERE";
    // In the order in which they lie there. A row that is written meanwhile may come, and is known.
    this.#page = parts.database.prepare(`${select} rowid > ? ORDER BY rowid LIMIT ${PAGE_ROWS}`);
    this.#pageOfRoom = parts.database.prepare(`${select} field > ? AND field < ? ORDER BY field LIMIT ${PAGE_ROWS}`);
    this.#row = parts.database.prepare(`${select} field = ?`);
  }

  /** Hands all jobs out, with turns for others in between; resolves when that is done, or was ended. */
  async run(): Promise<void> {
    const startedAt = this.#deps.monotonicNow();
    let after = 0;
    let failures = 0;
    let pauseMs = 0;
    while (await this.#pause(pauseMs)) {
      if (this.#parts.listener.isFull()) {
        pauseMs = FULL_PAUSE_MS;
        continue;
      }
      const rows = this.#read(this.#page, after);
      if (rows === null) {
        pauseMs = Math.min(FIRST_RETRY_MS * 2 ** failures++, MAX_RETRY_MS);
        continue;
      }
      [failures, pauseMs] = [0, 0];
      const last = rows.at(-1);
      if (last === undefined) return this.#report(this.#deps.monotonicNow() - startedAt);
      after = last.rowid;
      this.#handOut(rows);
    }
  }

  /**
   * Makes place for a job that is handed in: what stands there is handed out, and then it can be replaced.
   *
   * @returns Whether that is the same event: what is stored knows more about it.
   */
  replace(job: StoredJob): boolean {
    const stored = this.#handOut(this.#read(this.#row, fieldOf(job)) ?? []);
    this.#handedIn.add(eventText(job));
    return stored.some((each) => isSameEvent(each, job));
  }

  /** A job is about to be changed or removed: whoever does that need not be given it. */
  skip(key: JobKey, delayId: string): void {
    const { writer } = this.#parts;
    const field = fieldOf(key);
    if (writer.knows(field)) return;
    for (const row of this.#read(this.#row, field) ?? []) {
      const job = decodeJob(row, this.#deps.now());
      if (job?.delayId === delayId) writer.found(field, job);
    }
  }

  /** Hands the jobs of a room out: something happened there. */
  async handOutRoom(room: RoomAlias): Promise<void> {
    let [after, before] = fieldsOfRoom(room);
    while (!this.#rooms.has(room)) {
      const rows = this.#read(this.#pageOfRoom, after, before) ?? [];
      this.#handOut(rows);
      const last = rows.at(-1);
      if (rows.length < PAGE_ROWS || last === undefined) this.#rooms.add(room);
      else if (await this.#pause(0)) after = last.field;
      else return;
    }
  }

  #handOut(rows: readonly Row[]): StoredJob[] {
    const { writer, listener } = this.#parts;
    const now = this.#deps.now();
    const jobs: StoredJob[] = [];
    for (const row of rows) {
      if (writer.knows(row.field)) continue;
      const job = decodeJob(row, now);
      if (job === null) this.#unreadable++;
      if (job === null || this.#isHandedIn(job)) {
        writer.discard(row.field);
      } else {
        writer.found(row.field, job);
        jobs.push(job);
      }
    }
    this.#found += jobs.length;
    if (jobs.length > 0) listener.adopt(jobs);
    return jobs;
  }

  #isHandedIn(job: StoredJob): boolean {
    return this.#handedIn.size > 0 && this.#handedIn.has(eventText(job));
  }

  /** @returns Whether to go on. */
  async #pause(durationMs: number): Promise<boolean> {
    const { signal } = this.#parts;
    await this.#deps.sleep(durationMs, signal).catch(() => {}); // it was ended
    return !signal.aborted;
  }

  /** @returns null when the disk gives nothing. */
  #read(statement: StatementSync, ...values: (string | number)[]): Row[] | null {
    try {
      return statement.all(...values).flatMap(({ rowid, field, value }) => {
        const isRow = typeof rowid === "number" && typeof field === "string" && typeof value === "string";
        return isRow ? [{ rowid, field, value }] : [];
      });
    } catch (error) {
      const cause = error instanceof Error ? error.message : String(error);
      this.#deps.log.error(
        "Cannot read delayed leave events from the state directory, trying on: look after the health of its disk",
        { directory: this.#deps.directory, found: this.#found, cause, throttle: true },
      );
      return null;
    }
  }

  #report(durationMs: number): void {
    const { directory, log } = this.#deps;
    if (this.#unreadable > 0) {
      log.error(
        "Dropped delayed leave events that cannot be read: their users may be shown in calls for a while. Look after " +
          "the health of the disk",
        { directory, dropped: this.#unreadable },
      );
    }
    const seconds = Math.round(durationMs) / 1000;
    log.info("Opened the store of delayed leave events", { directory, found: this.#found, seconds });
  }
}

function eventText({ homeserver, delayId }: StoredJob): string {
  return `${homeserver} ${delayId}`;
}
