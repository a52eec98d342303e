// The embedded store's file: one process has it, nobody else reads it, and a file that can't be used is never lost.

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleepFor } from "node:timers/promises";
import { FILE_NAME } from "../../../../lib/leave/store/sqlite/file.ts";
import { ManualClock } from "../../../../testing/manual_clock.ts";
import { sampleJob } from "../../sample_jobs.ts";
import { StateDirectory, StoreBench, storedIds } from "./harness.ts";

async function fillWith(directory: string, count: number): Promise<void> {
  const { store, timers, clock } = await StoreBench.open(directory);
  const accepted = Array.from(
    { length: count },
    (_, n) => store.accept(sampleJob(n, { timerStartedAt: clock.now() })),
  );
  timers.fire();
  await Promise.all(accepted);
  await store.close();
}

Deno.test("a second store waits for the directory, and has it when the first one closes", async () => {
  using state = new StateDirectory();
  const first = await StoreBench.open(state.directory);
  await first.accept(sampleJob(1));
  let waits = 0;
  const second = await StoreBench.open(state.directory, first.clock, {
    sleep: async (durationMs) => {
      first.clock.advance(durationMs);
      if (durationMs > 0 && ++waits === 3) await first.store.close();
    },
  });
  assert.equal(waits, 3);
  assert.equal(second.listener.adopted.length, 1);
  assert.deepEqual(second.log.of("info").filter(({ message }) => message.startsWith("Waiting")).length, 1);
  await second.store.close();
});

Deno.test("a store that finds the directory held for 30 s gives up and names it", async () => {
  using state = new StateDirectory();
  const first = await StoreBench.open(state.directory);
  const second = new StoreBench(state.directory);
  await assert.rejects(second.store.open(second.listener), ({ name, message }: Error) => {
    assert.equal(name, "StateDirectoryError");
    assert.match(message, /^Cannot open the state directory ".+": another process has held it for 30 s, expected/);
    return message.includes(`"${state.directory}"`);
  });
  assert.equal(second.clock.monotonicNow(), 30_000);
  await first.accept(sampleJob(1));
  await first.store.close();
  assert.deepEqual(await storedIds(state.directory), ["syd_1"]);
});

Deno.test("a store that is closed while it waits stops waiting", async () => {
  using state = new StateDirectory();
  const first = await StoreBench.open(state.directory);
  const clock = new ManualClock();
  const second = new StoreBench(state.directory, clock, {
    sleep: async (durationMs, signal) => {
      await sleepFor(1, undefined, { signal });
      clock.advance(durationMs);
    },
  });
  const opening = assert.rejects(second.store.open(second.listener), { name: "AbortError" });
  await second.store.close();
  await opening;
  await first.store.close();
});

Deno.test("nobody else may read the files, also those that were readable before", async () => {
  using state = new StateDirectory();
  await fillWith(state.directory, 1);
  Deno.chmodSync(state.path, 0o644);
  const bench = await StoreBench.open(state.directory);
  await bench.accept(sampleJob(2));
  assert.deepEqual(state.names, [FILE_NAME, `${FILE_NAME}-wal`]);
  for (const name of state.names) {
    assert.equal((Deno.statSync(`${state.directory}/${name}`).mode ?? 0) & 0o777, 0o600, name);
  }
  await bench.store.close();
  assert.deepEqual(state.names, [FILE_NAME]);
});

Deno.test("each commit waits for the disk, and the file is held as long as the store is open", async () => {
  using state = new StateDirectory();
  const { database, store } = await StoreBench.open(state.directory);
  const read = (name: string) => database?.prepare(`PRAGMA ${name}`).get()?.[name];
  assert.deepEqual(["journal_mode", "synchronous", "locking_mode"].map(read), ["wal", 2, "exclusive"]);
  await store.close();
});

Deno.test("a directory that is missing is made, for its owner alone", async () => {
  using state = new StateDirectory();
  const directory = `${state.directory}/a/b`;
  const { store } = await StoreBench.open(directory);
  await store.close();
  assert.equal((Deno.statSync(directory).mode ?? 0) & 0o777, 0o700);
});

Deno.test("a directory that cannot be used is an error that names it and says what is expected", async () => {
  using state = new StateDirectory();
  Deno.mkdirSync(`${state.directory}/taken/${FILE_NAME}`, { recursive: true });
  Deno.writeTextFileSync(`${state.directory}/file`, "");
  for (const directory of [`${state.directory}/file`, `${state.directory}/file/x`, `${state.directory}/taken`]) {
    const bench = new StoreBench(directory);
    await assert.rejects(bench.store.open(bench.listener), ({ name, message }: Error) => {
      assert.equal(name, "StateDirectoryError");
      assert.match(message, /^Cannot open the state directory ".+": .+, expected a directory/);
      return message.includes(`"${directory}"`);
    });
  }
});

for (const suffix of ["", "-wal", "-shm", "-journal"]) {
  for (const isThere of [true, false]) {
    Deno.test(`a link at ${FILE_NAME}${suffix} is refused by name, and ${isThere ? "its target" : "nothing"} is touched`, async () => {
      using state = new StateDirectory();
      const directory = `${state.directory}/store`;
      await fillWith(directory, 1);
      const [link, target] = [`${directory}/${FILE_NAME}${suffix}`, `${state.directory}/target`];
      if (suffix === "") Deno.removeSync(link);
      if (isThere) Deno.writeTextFileSync(target, "", { mode: 0o644 });
      Deno.symlinkSync(target, link);
      const bench = new StoreBench(directory);
      await assert.rejects(bench.store.open(bench.listener), ({ name, message }: Error) => {
        assert.equal(name, "StateDirectoryError");
        return message ===
          `Cannot open the state directory "${directory}": "${link}" is a symbolic link, expected a file. Remove it`;
      });
      assert.equal([...Deno.readDirSync(state.directory)].length, isThere ? 2 : 1);
      if (isThere) {
        assert.deepEqual([(Deno.statSync(target).mode ?? 0) & 0o777, Deno.statSync(target).size], [0o644, 0]);
      }
    });
  }
}

Deno.test("a directory may be a link: systemd makes one for a dynamic user", async () => {
  using state = new StateDirectory();
  Deno.mkdirSync(`${state.directory}/private`, { mode: 0o700 });
  Deno.symlinkSync(`${state.directory}/private`, `${state.directory}/public`);
  await fillWith(`${state.directory}/public`, 1);
  assert.deepEqual(await storedIds(`${state.directory}/private`), ["syd_0"]);
});

for (const [mode, isSafe] of [[0o700, true], [0o755, true], [0o770, false], [0o702, false], [0o1777, false]] as const) {
  Deno.test(`a directory of mode ${mode.toString(8)} ${isSafe ? "is taken as it is" : "is warned about"}`, async () => {
    using state = new StateDirectory();
    Deno.chmodSync(state.directory, mode);
    const { store, log } = await StoreBench.open(state.directory);
    await store.close();
    const warnings = log.of("warning").map(({ message, fields }) => [message.slice(0, 24), fields.directory]);
    assert.deepEqual(warnings, isSafe ? [] : [["Others on this host may ", state.directory]]);
  });
}

const PAGE = 4096;
const UNUSABLE: Readonly<Record<string, (path: string) => void>> = {
  "text": (path) => Deno.writeTextFileSync(path, "precious text ".repeat(1000)),
  "a store whose first bytes are gone": (path) => overwrite(path, 0, 20),
  "a store with pages overwritten in its middle": (path) => overwrite(path, 3 * PAGE, 4 * PAGE),
  "a store that is cut off": (path) => Deno.truncateSync(path, 2 * PAGE),
  "another program's database": (path) => rewrite(path, "CREATE TABLE jobs (field TEXT, value TEXT)"),
  "a store whose table has another form": (path) => {
    using database = new DatabaseSync(path);
    database.exec("ALTER TABLE jobs RENAME COLUMN value TO content");
  },
  "a store without its table": (path) => {
    using database = new DatabaseSync(path);
    database.exec("DROP TABLE jobs");
  },
};

function overwrite(path: string, from: number, length: number): void {
  const bytes = Deno.readFileSync(path);
  bytes.fill(0xff, from, from + length);
  Deno.writeFileSync(path, bytes);
}

function rewrite(path: string, sql: string): void {
  Deno.removeSync(path);
  using database = new DatabaseSync(path);
  database.exec(sql);
}

for (const [name, spoil] of Object.entries(UNUSABLE)) {
  Deno.test(`${name} is kept aside unchanged, an error in the log says so, and a new store is begun`, async () => {
    using state = new StateDirectory();
    await fillWith(state.directory, 100);
    spoil(state.path);
    const before = Deno.readFileSync(state.path);

    const bench = await StoreBench.open(state.directory);
    assert.deepEqual(bench.listener.adopted, []);
    assert.deepEqual(await bench.accept(sampleJob(1)), [true]);
    await bench.store.close();

    const kept = state.names.filter((each) => each !== FILE_NAME);
    assert.deepEqual(kept, [`${FILE_NAME}.kept-20260101T000000000Z`]);
    assert.deepEqual(Deno.readFileSync(`${state.directory}/${kept[0]}`), before);
    assert.deepEqual(bench.log.of("error").map(({ fields }) => fields.kept), [`${state.directory}/${kept[0]}`]);
    assert.deepEqual(await storedIds(state.directory), ["syd_1"]);
  });
}

Deno.test("what a killed process left beside a file that is kept aside goes with it", async () => {
  using state = new StateDirectory();
  Deno.writeTextFileSync(state.path, "precious text ".repeat(1000));
  Deno.writeTextFileSync(`${state.path}-shm`, "shared");
  const { store } = await StoreBench.open(state.directory);
  await store.close();
  const kept = `${FILE_NAME}.kept-20260101T000000000Z`;
  assert.deepEqual(state.names, [FILE_NAME, kept, `${kept}-shm`]);
});

Deno.test("an empty file is a new store", async () => {
  using state = new StateDirectory();
  Deno.writeTextFileSync(state.path, "");
  const bench = await StoreBench.open(state.directory);
  assert.deepEqual(await bench.accept(sampleJob(1)), [true]);
  await bench.store.close();
  assert.deepEqual(state.names, [FILE_NAME]);
});

Deno.test("a store of a newer release is refused and left as it is", async () => {
  using state = new StateDirectory();
  await fillWith(state.directory, 1);
  {
    using database = new DatabaseSync(state.path);
    database.exec("PRAGMA user_version = 2");
  }
  const before = Deno.readFileSync(state.path);
  const bench = new StoreBench(state.directory);
  await assert.rejects(bench.store.open(bench.listener), ({ message }: Error) => {
    assert.match(message, /written by a newer release \(form 2\), expected form 1 at most/);
    return message.includes(`"${state.directory}"`);
  });
  assert.deepEqual(state.names, [FILE_NAME]);
  assert.deepEqual(Deno.readFileSync(state.path), before);
});
