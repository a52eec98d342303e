// The file of the embedded store: opened for this process alone, checked, and begun anew where it can't be used.

import { DatabaseSync } from "node:sqlite";
import type { Clock } from "../../../async/clock.ts";
import { errorText } from "../../../log/error_text.ts";
import type { Log } from "../../../log/log.ts";

/** What opening a file needs from outside. */
export interface SqliteFileDeps {
  /** Where the file is; made when it is missing. */
  readonly directory: string;
  readonly clock: Clock;
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
const READ_BY_OTHERS = 0o077;
const WRITTEN_BY_OTHERS = 0o022;
// SQLite opens these by name, whatever is there.
const SUFFIXES = ["", "-wal", "-shm", "-journal"];

// https://sqlite.org/rescode.html
const SQLITE_HELD = [5, 6]; // BUSY, LOCKED
const SQLITE_UNUSABLE = [11, 26]; // CORRUPT, NOTADB

class UnusableFile extends Error {}

/**
 * Opens the file, and has it to itself until it is closed.
 *
 * A file that is damaged or somebody else's is kept aside under a dated name.
 *
 * @param signal Ends the wait for another process.
 * @throws StateDirectoryError when another process keeps the file for 30 s, when a newer release wrote it, when one of
 * the files is a symbolic link, and when the directory can't be written.
 */
export async function openSqliteFile(deps: SqliteFileDeps, signal: AbortSignal): Promise<DatabaseSync> {
  const { clock, directory, log } = deps;
  const path = `${directory}/${FILE_NAME}`;
  const giveUpAt = clock.monotonicNow() + MAX_WAIT_MS;
  try {
    prepare(deps, path);
    for (let [isWaiting, isFresh] = [false, false];;) {
      try {
        return openOnce(deps, path);
      } catch (error) {
        const code = resultCode(error);
        if (!isFresh && (error instanceof UnusableFile || SQLITE_UNUSABLE.includes(code))) {
          keepAside(deps, path, error);
          prepare(deps, path);
          isFresh = true;
          continue;
        }
        if (!SQLITE_HELD.includes(code)) throw error;
      }
      if (clock.monotonicNow() >= giveUpAt) {
        throw new StateDirectoryError(
          `another process has held it for ${MAX_WAIT_MS / 1000} s, expected to be alone. Stop that process, or set ` +
            "another LIVEKIT_STATE_DIR",
        );
      }
      if (!isWaiting) log.info("Waiting for another process to leave the state directory", { path });
      isWaiting = true;
      await clock.sleep(POLL_MS, signal);
    }
  } catch (error) {
    if (signal.aborted) throw error;
    const advice = error instanceof StateDirectoryError ? "" : ", expected a directory with free space to write in";
    const message = `Cannot open the state directory "${directory}": ${errorText(error)}${advice}`;
    throw new StateDirectoryError(message, { cause: error });
  }
}

function prepare({ directory, log }: SqliteFileDeps, path: string): void {
  Deno.mkdirSync(directory, { recursive: true, mode: 0o700 });
  if (((Deno.statSync(directory).mode ?? 0) & WRITTEN_BY_OTHERS) !== 0) {
    const message = "Others on this host may write to the state directory: give it the mode 0700";
    log.warning(message, { directory });
  }
  for (const suffix of SUFFIXES) refuseLink(path + suffix);
  // A delay ID is all one needs to send or cancel an event: nobody else may read the file. SQLite gives its mode to the
  // files beside it.
  const mode = createOrStat(path)?.mode ?? FILE_MODE;
  if ((mode & READ_BY_OTHERS) === 0) return;
  try {
    Deno.chmodSync(path, FILE_MODE);
  } catch (error) {
    const message = "Others on this host may read the store of delayed leave events: give it the mode 0600";
    log.warning(message, { path, cause: errorText(error) });
  }
}

// Whoever can put a link there would have us write to, or change the mode of, a file of their choice.
function refuseLink(path: string): void {
  if (ifThere(() => Deno.lstatSync(path))?.isSymlink !== true) return;
  throw new StateDirectoryError(`"${path}" is a symbolic link, expected a file. Remove it`);
}

/** @returns null for a file that was missing. */
function createOrStat(path: string): Deno.FileInfo | null {
  try {
    Deno.openSync(path, { createNew: true, write: true, mode: FILE_MODE }).close();
    return null;
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
    return Deno.lstatSync(path);
  }
}

function openOnce(deps: SqliteFileDeps, path: string): DatabaseSync {
  const database = deps.openDatabase?.(path) ?? new DatabaseSync(path, { timeout: 0 });
  try {
    // The lock comes first: it is kept for life, and makes WAL do without shared memory. Nothing is changed before it
    // is clear whose file this is.
    run(database, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE", "COMMIT");
    const isNew = check(database);
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

/** @returns Whether nothing is in the file yet. */
function check(database: DatabaseSync): boolean {
  const pragma = (name: string) => database.prepare(`PRAGMA ${name}`).get()?.[name];
  const tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all();
  const [owner, version] = [Number(pragma("application_id")), Number(pragma("user_version"))];
  const isNew = owner === 0 && version === 0 && tables.length === 0;
  if (!isNew && owner !== APPLICATION_ID) throw new UnusableFile("It is the database of another program");
  if (version > SCHEMA_VERSION) {
    throw new StateDirectoryError(
      `it was written by a newer release (form ${version}), expected form ${SCHEMA_VERSION} at most. Run that release, ` +
        "or set another LIVEKIT_STATE_DIR",
    );
  }
  const columns = database.prepare("PRAGMA table_info(jobs)").all().map(({ name }) => name).join();
  if (!isNew && columns !== "field,value") throw new UnusableFile("It has no jobs table of the expected form");
  const damage = database.prepare("PRAGMA quick_check(1)").get()?.quick_check;
  if (damage !== "ok") throw new UnusableFile(`It is damaged: ${damage}`);
  return isNew;
}

function keepAside({ clock, log }: SqliteFileDeps, path: string, cause: unknown): void {
  const date = new Date(clock.now()).toISOString().replaceAll(/[-:.]/g, "");
  const kept = `${path}.kept-${date}`;
  for (const suffix of SUFFIXES) ifThere(() => Deno.renameSync(path + suffix, kept + suffix));
  log.error(
    "The store of delayed leave events cannot be read: it is kept aside and a new one begun. The events in it are " +
      "lost, and their users may be shown in calls for a while; restore the file from a backup if there is one",
    { path, kept, cause: errorText(cause) },
  );
}

function ifThere<T>(act: () => T): T | null {
  try {
    return act();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/** SQLite's primary result code; 0 for an error that is not SQLite's. */
function resultCode(error: unknown): number {
  if (!(error instanceof Error) || !("errcode" in error)) return 0;
  return typeof error.errcode === "number" ? error.errcode & 0xff : 0;
}
