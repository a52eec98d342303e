// Hands the jobs of the embedded store's file out, page by page: the service answers requests meanwhile.

import type { DatabaseSync } from "node:sqlite";
import type { Clock } from "../../../async/clock.ts";
import { errorText } from "../../../log/error_text.ts";
import type { Log } from "../../../log/log.ts";
import { decodeJob, MAX_VALUE_LENGTH } from "../stored_job.ts";
import type { StoreListener } from "../store.ts";
import type { SqliteWriter } from "./writer.ts";

/** Where the jobs come from and go to. */
export interface Loading {
  readonly directory: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Open. */
  readonly database: DatabaseSync;
  /** Of the same database. */
  readonly writer: Pick<SqliteWriter, "isChanging" | "discard">;
  readonly listener: Pick<StoreListener, "adopt" | "isFull">;
  /** Ends the loading; the database may be closed then. */
  readonly signal: AbortSignal;
  /** Told when the disk gives nothing, or no more jobs fit: that is tried again until it works. */
  readonly onHalt: () => void;
}

// Some 10 ms of work, that of the listener included: nothing else runs meanwhile.
const PAGE_ROWS = 200;
const FIRST_RETRY_MS = 1000;
const FULL_PAUSE_MS = 1000;
const MAX_RETRY_MS = 30_000;

/** Hands all jobs out, with turns for others in between; resolves when that is done, or was ended. */
export async function loadJobs(loading: Loading): Promise<void> {
  const { clock, database, directory, listener, log, signal, writer } = loading;
  const startedAt = clock.monotonicNow();
  // In the order in which they lie there. Of a value that no job has the beginning is enough.
  const page = database.prepare(
    `SELECT rowid, field, substr(value, 1, ${MAX_VALUE_LENGTH + 1}) AS value FROM jobs WHERE rowid > ? ` +
      `ORDER BY rowid LIMIT ${PAGE_ROWS}`,
  );
  let [after, failures, pauseMs, found, dropped] = [0, 0, 0, 0, 0];
  for (;;) {
    await clock.sleep(pauseMs, signal).catch(() => {}); // it was ended
    if (signal.aborted) return;
    if (listener.isFull()) {
      pauseMs = FULL_PAUSE_MS;
      loading.onHalt();
      continue;
    }
    let rows: ReturnType<typeof page.all>;
    try {
      rows = page.all(after);
    } catch (error) {
      const fields = { directory, found, cause: errorText(error), throttle: true } as const;
      log.error(
        "Cannot read delayed leave events from the state directory, trying on: look after the health of its disk",
        fields,
      );
      pauseMs = Math.min(FIRST_RETRY_MS * 2 ** failures++, MAX_RETRY_MS);
      loading.onHalt();
      continue;
    }
    const last = rows.at(-1);
    if (last === undefined) break;
    [after, failures, pauseMs] = [Number(last.rowid), 0, 0];
    const now = clock.now();
    const jobs = rows.flatMap((row) => {
      // Texts, by the table's own rule.
      const [field, value] = [String(row.field), String(row.value)];
      // Something newer is about to take its place.
      if (writer.isChanging(field)) return [];
      const job = decodeJob({ field, value }, now);
      if (job !== null) return [job];
      writer.discard(field);
      dropped++;
      return [];
    });
    found += jobs.length;
    if (jobs.length > 0) listener.adopt(jobs);
  }
  if (dropped > 0) {
    log.error(
      "Dropped delayed leave events that cannot be read: their users may be shown in calls for a while. Look after " +
        "the health of the disk",
      { directory, dropped },
    );
  }
  const seconds = Math.round(clock.monotonicNow() - startedAt) / 1000;
  log.info("Opened the store of delayed leave events", { directory, found, seconds });
}
