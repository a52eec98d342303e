// The embedded store: the contract of all stores, and how it groups its writes.

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleepFor } from "node:timers/promises";
import { SqliteStore } from "../../../../lib/leave/store/sqlite/store.ts";
import { MemoryStore } from "../../../../lib/leave/store/store.ts";
import { systemClock } from "../../../../lib/platform.ts";
import { RecordingLog } from "../../../../testing/recording_log.ts";
import { ManualClock } from "../../../../testing/manual_clock.ts";
import { sampleJob } from "../../sample_jobs.ts";
import { StateDirectory, StoreBench, storedIds } from "./harness.ts";
import { testStoreContract } from "../store_contract.ts";

testStoreContract({
  name: "SQLite",
  keepsJobs: true,
  openMedium(clock) {
    const state = new StateDirectory();
    return Promise.resolve({
      createStore: () =>
        new SqliteStore({
          log: new RecordingLog(),
          directory: state.directory,
          clock: { ...systemClock, now: clock.now },
        }),
      [Symbol.asyncDispose]: () => Promise.resolve(state[Symbol.dispose]()),
    });
  },
});

testStoreContract({
  name: "memory",
  keepsJobs: false,
  openMedium: () =>
    Promise.resolve({ createStore: () => new MemoryStore(), [Symbol.asyncDispose]: () => Promise.resolve() }),
});

function jobOf(n: number, clock: ManualClock) {
  return sampleJob(n, { timerStartedAt: clock.now() });
}

Deno.test("what arrives in one turn is one commit, and is acknowledged after it", async () => {
  using state = new StateDirectory();
  const bench = await StoreBench.open(state.directory);
  const before = bench.database?.commits ?? 0;
  let acknowledged = 0;
  const accepted = Array.from({ length: 300 }, async (_, n) => {
    await bench.store.accept(jobOf(n, bench.clock));
    acknowledged++;
  });
  bench.store.update(sampleJob(7, { timerStartedAt: bench.clock.now(), state: "leaving" }));
  bench.store.remove(sampleJob(8), "syd_8");
  await sleepFor(1);
  assert.equal(acknowledged, 1, "the removed one alone has nothing to wait for");
  bench.timers.fire();
  await Promise.all(accepted);
  assert.equal(bench.database?.commits, before + 1);
  await bench.store.close();
});

Deno.test("a large backlog is written in groups, with turns for others in between", async () => {
  using state = new StateDirectory();
  const bench = await StoreBench.open(state.directory);
  const before = bench.database?.commits ?? 0;
  const accepted = Array.from({ length: 1200 }, (_, n) => bench.store.accept(jobOf(n, bench.clock)));
  for (const commits of [1, 2, 3]) {
    bench.timers.fire();
    assert.equal(bench.database?.commits, before + commits);
  }
  assert.deepEqual(bench.timers.delays, []);
  assert.ok((await Promise.all(accepted)).every(({ isDurable }) => isDurable));
  await bench.store.close();
});

Deno.test("a removal does not wait for company longer than a job that somebody waits for", async () => {
  using state = new StateDirectory();
  const bench = await StoreBench.open(state.directory);
  await bench.accept(jobOf(1, bench.clock));
  bench.store.remove(sampleJob(1), "syd_1");
  assert.deepEqual(bench.timers.delays, [2]);
  await bench.store.close();
});

Deno.test("a change waits for company longer than a job that somebody waits for", async () => {
  using state = new StateDirectory();
  const bench = await StoreBench.open(state.directory);
  await bench.accept(jobOf(1, bench.clock));
  bench.store.update(sampleJob(1, { timerStartedAt: bench.clock.now(), state: "leaving" }));
  assert.deepEqual(bench.timers.delays, [100]);
  const accepted = bench.store.accept(jobOf(2, bench.clock));
  assert.deepEqual(bench.timers.delays, [2]);
  bench.timers.fire();
  await accepted;
  assert.deepEqual(bench.timers.delays, [], "both went into the same group");
  await bench.store.close();
});

Deno.test("entries that cannot be read are dropped with an error in the log, and the others are there", async () => {
  using state = new StateDirectory();
  const first = await StoreBench.open(state.directory);
  await first.accept(jobOf(1, first.clock), jobOf(2, first.clock));
  await first.store.close();
  {
    using database = new DatabaseSync(state.path);
    database.exec(`UPDATE jobs SET value = '{"Params":{}}' WHERE field = '["room-1","identity-1"]'`);
  }
  const second = await StoreBench.open(state.directory);
  await second.store.close();
  assert.deepEqual(second.log.of("error").map(({ fields }) => fields.dropped), [1]);
  assert.deepEqual(await storedIds(state.directory), ["syd_2"]);
});
