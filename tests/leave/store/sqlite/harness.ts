// Embedded stores for tests: a directory of their own, timers that fire when a test says so, a log to look into, and the
// database itself, to count what is written and to fill the disk.

import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleepFor } from "node:timers/promises";
import { FILE_NAME } from "../../../../lib/leave/store/sqlite/file.ts";
import { SqliteStore } from "../../../../lib/leave/store/sqlite/store.ts";
import type { Clock } from "../../../../lib/async/clock.ts";
import type { StoredJob } from "../../../../lib/leave/store/store.ts";
import { RecordingLog } from "../../../../testing/recording_log.ts";
import { ManualClock } from "../../../../testing/manual_clock.ts";
import { recordingListener } from "../../sample_jobs.ts";

/** A directory that goes with its scope. */
export class StateDirectory implements Disposable {
  readonly directory = Deno.makeTempDirSync();
  readonly path = `${this.directory}/${FILE_NAME}`;

  /** Names of the files in it. */
  get names(): string[] {
    return [...Deno.readDirSync(this.directory)].map(({ name }) => name).sort();
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.directory, { recursive: true });
  }
}

/** WakeTimers that wait to be fired. */
export class ManualTimers {
  readonly #pending = new Set<{ readonly run: () => void; readonly delayMs: number }>();

  readonly setTimer = (run: () => void, delayMs: number): () => void => {
    const timer = { run, delayMs };
    this.#pending.add(timer);
    return () => this.#pending.delete(timer);
  };

  /** How long each pending timer was to wait, in ms. */
  get delays(): number[] {
    return [...this.#pending].map(({ delayMs }) => delayMs);
  }

  /** Fires what is pending now. */
  fire(): void {
    for (const timer of [...this.#pending]) {
      if (this.#pending.delete(timer)) timer.run();
    }
  }
}

/** The runtime's database, its commits counted. */
export class CountingDatabase extends DatabaseSync {
  commits = 0;
  /** Commits fail, as on a disk with faults; the transaction is left to whoever began it. */
  hasFaults = false;

  override exec(sql: string): void {
    if (sql === "COMMIT" && this.hasFaults) throw new Error("disk I/O error");
    super.exec(sql);
    if (sql === "COMMIT") this.commits++;
  }

  /** Lets the file grow by no page any more: as good as a full disk. */
  fill(): void {
    this.exec("PRAGMA max_page_count = 1");
  }

  /** Ends what {@link fill} began. */
  free(): void {
    this.exec("PRAGMA max_page_count = 1000000");
  }
}

/** A store and all that a test wants to see of it. */
export class StoreBench {
  readonly log = new RecordingLog();
  readonly listener = recordingListener();
  readonly store: SqliteStore;
  readonly timers = new ManualTimers();
  readonly clock: ManualClock;
  /** Opened last; there is none before the store opens. */
  database: CountingDatabase | undefined;

  /** @param changes How to wait; by default that takes no time. Timers are manual ones. */
  constructor(directory: string, clock = new ManualClock(), changes: Partial<Pick<Clock, "sleep">> = {}) {
    this.clock = clock;
    const sleep: Clock["sleep"] = (durationMs) => {
      clock.advance(durationMs);
      return Promise.resolve();
    };
    this.store = new SqliteStore({
      directory,
      clock: { ...clock, sleep, setTimer: this.timers.setTimer, ...changes },
      log: this.log,
      openDatabase: (path) => this.database = new CountingDatabase(path, { timeout: 0 }),
    });
  }

  /** A bench whose store is open, its jobs loaded. */
  static async open(...args: ConstructorParameters<typeof StoreBench>): Promise<StoreBench> {
    const bench = new StoreBench(...args);
    await bench.store.open(bench.listener);
    await sleepFor(0); // its pauses are none
    return bench;
  }

  /** Accepts jobs in one turn of the event loop and fires the timer that writes them. */
  async accept(...jobs: StoredJob[]): Promise<boolean[]> {
    const accepted = jobs.map((job) => this.store.accept(job));
    this.timers.fire();
    return (await Promise.all(accepted)).map(({ isDurable }) => isDurable);
  }
}

/** Delay IDs that are stored in a directory, sorted. */
export async function storedIds(directory: string): Promise<string[]> {
  const { store, listener } = await StoreBench.open(directory);
  await store.close();
  return listener.adopted.map(({ delayId }) => delayId).sort();
}
