// The file of the embedded store: opened for this process alone, checked, and begun anew where it can't be used.

import { DatabaseSync } from "node:sqlite";
import type { Log } from "../../../log/log.ts";

/** What opening a file needs from outside. */
export interface SqliteFileDeps {
  /** Where the file is; made when it is missing. */
  readonly directory: string;
  /** Wall clock, ms since the epoch: it dates what is kept aside. */
  readonly now: () => number;
  readonly monotonicNow: () => number;
  readonly sleep: (durationMs: number, signal: AbortSignal) => Promise<void>;
  readonly log: Log;
  /** Opens a database; by default that of the runtime, which waits for nobody. */
  readonly openDatabase?: (path: string) => DatabaseSync;
}

/** The directory can't be used as it is; the message says what to do. */
export class StateDirectoryError extends Error {
  override name = "StateDirectoryError";
}

/** Name of the file in its directory. */
export const FILE_NAME = "lk-jwt-service.sqlite";
/** Of the form below; a file with a higher number is of a newer release. */
export const SCHEMA_VERSION = 1;

// "LKJW": whose file it is, in SQLite's own header.
const APPLICATION_ID = 0x4c4b4a57;
// A rolling restart begins the new process before the old one has ended.
const MAX_WAIT_MS = 30_000;
const POLL_MS = 250;

const FILE_MODE = 0o600;
const OTHERS = 0o077;

// https://sqlite.org/rescode.html
const SQLITE_BUSY = 5;
const SQLITE_LOCKED = 6;
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

class UnusableFile extends Error {}

/**
 * Opens the file, and has it to itself until it is closed.
 *
 * A file that is damaged or somebody else's is kept aside under a dated name.
 *
 * @param signal Ends the wait for another process.
 * @throws StateDirectoryError when another process keeps the file for 30 s, when a newer release wrote it, and when the
 * directory can't be written.
 */
export async function openSqliteFile(deps: SqliteFileDeps, signal: AbortSignal): Promise<DatabaseSync> {
  const path = `${deps.directory}/${FILE_NAME}`;
  const giveUpAt = deps.monotonicNow() + MAX_WAIT_MS;
  let isWaiting = false;
  let isFresh = false;
  prepare(deps, path);
  for (;;) {
    try {
      return openOnce(deps, path);
    } catch (error) {
      if (isUnusable(error) && !isFresh) {
        keepAside(deps, path, error);
        prepare(deps, path);
        isFresh = true;
        continue;
      }
      if (!isHeld(error)) throw explain(deps.directory, error);
    }
    if (deps.monotonicNow() >= giveUpAt) {
      throw new StateDirectoryError(
        `Cannot open the state directory "${deps.directory}": another process has held it for ` +
          `${MAX_WAIT_MS / 1000} s, expected to be alone. Stop that process, or set another LIVEKIT_STATE_DIR`,
      );
    }
    if (!isWaiting) deps.log.info("Waiting for another process to leave the state directory", { path });
    isWaiting = true;
    await deps.sleep(POLL_MS, signal);
  }
}

function prepare({ directory, log }: SqliteFileDeps, path: string): void {
  try {
    Deno.mkdirSync(directory, { recursive: true, mode: 0o700 });
    createPrivately(path, log);
  } catch (error) {
    throw explain(directory, error);
  }
}

function openOnce(deps: SqliteFileDeps, path: string): DatabaseSync {
  const database = deps.openDatabase?.(path) ?? new DatabaseSync(path, { timeout: 0 });
  try {
    // The lock comes first: it is kept for life, and makes WAL do without shared memory. Nothing is changed before it
    // is clear whose file this is.
    run(database, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE", "COMMIT");
    const isNew = checkOwner(database);
    checkIntegrity(database);
    run(database, "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL");
    // Written only where it is missing: a full disk must not keep the service from its jobs.
    if (isNew) {
      run(
        database,
        "BEGIN IMMEDIATE",
        "CREATE TABLE jobs (field TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT",
        `PRAGMA application_id = ${APPLICATION_ID}`,
        `PRAGMA user_version = ${SCHEMA_VERSION}`,
        "COMMIT",
      );
    }
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

// The runtime tells SQLite's result code for prepared statements only.
function run(database: DatabaseSync, ...statements: readonly string[]): void {
  for (const statement of statements) database.prepare(statement).run();
}

// A delay ID is all one needs to send or cancel an event: nobody else may read the file. SQLite gives its mode to the
// files beside it.
function createPrivately(path: string, log: Log): void {
  try {
    Deno.openSync(path, { createNew: true, write: true, mode: FILE_MODE }).close();
    return;
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
  const mode = Deno.statSync(path).mode ?? FILE_MODE;
  if ((mode & OTHERS) === 0) return;
  try {
    Deno.chmodSync(path, FILE_MODE);
  } catch (error) {
    log.warning("Others on this host may read the store of delayed leave events: give it the mode 0600", {
      path,
      cause: messageOf(error),
    });
  }
}

/** @returns Whether nothing is in the file yet. */
function checkOwner(database: DatabaseSync): boolean {
  const owner = pragma(database, "application_id");
  const version = pragma(database, "user_version");
  const tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all();
  if (owner === 0 && version === 0 && tables.length === 0) return true;
  if (owner !== APPLICATION_ID) throw new UnusableFile("It is the database of another program");
  if (version > SCHEMA_VERSION) {
    throw new StateDirectoryError(
      `it was written by a newer release (form ${version}), expected form ${SCHEMA_VERSION} at most. Run that release, ` +
        "or set another LIVEKIT_STATE_DIR",
    );
  }
  const columns = database.prepare("PRAGMA table_info(jobs)").all().map(({ name }) => name);
  if (columns.join() !== "field,value") throw new UnusableFile("It has no jobs table of the expected form");
  return false;
}

function checkIntegrity(database: DatabaseSync): void {
  const found = database.prepare("PRAGMA quick_check(1)").get()?.quick_check;
  if (found !== "ok") throw new UnusableFile(`It is damaged: ${found}`);
}

function pragma(database: DatabaseSync, name: string): number {
  return Number(database.prepare(`PRAGMA ${name}`).get()?.[name]);
}

function keepAside({ now, log, directory }: SqliteFileDeps, path: string, cause: unknown): void {
  const date = new Date(now()).toISOString().replaceAll(/[-:.]/g, "");
  const kept = `${path}.kept-${date}`;
  try {
    for (const suffix of ["", "-wal", "-shm"]) renameIfThere(path + suffix, kept + suffix);
  } catch (error) {
    throw explain(directory, error);
  }
  log.error(
    "The store of delayed leave events cannot be read: it is kept aside and a new one begun. The events in it are " +
      "lost, and their users may be shown in calls for a while; restore the file from a backup if there is one",
    { path, kept, cause: messageOf(cause) },
  );
}

function renameIfThere(from: string, to: string): void {
  try {
    Deno.renameSync(from, to);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function explain(directory: string, error: unknown): StateDirectoryError {
  const message = messageOf(error);
  const advice = error instanceof StateDirectoryError
    ? ""
    : ", expected a directory with free space that can be written";
  return new StateDirectoryError(`Cannot open the state directory "${directory}": ${message}${advice}`, {
    cause: error,
  });
}

function isHeld(error: unknown): boolean {
  return [SQLITE_BUSY, SQLITE_LOCKED].includes(resultCode(error));
}

function isUnusable(error: unknown): boolean {
  return error instanceof UnusableFile || [SQLITE_CORRUPT, SQLITE_NOTADB].includes(resultCode(error));
}

/** SQLite's primary result code; 0 for an error that is not SQLite's. */
function resultCode(error: unknown): number {
  if (!(error instanceof Error) || !("errcode" in error)) return 0;
  return typeof error.errcode === "number" ? error.errcode & 0xff : 0;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
