// A disk that takes nothing more, or fails: the service goes on, says so, and writes what it held as soon as there is room.

import assert from "node:assert/strict";
import type { Identity } from "../../../../lib/livekit/identity.ts";
import type { StoredJob } from "../../../../lib/leave/store/store.ts";
import { ManualClock } from "../../../../testing/manual_clock.ts";
import { sampleJob } from "../../sample_jobs.ts";
import { StateDirectory, StoreBench, storedIds } from "./harness.ts";

// As stored, some 6,000 bytes: each character of the other identities is escaped.
function large(n: number, clock: ManualClock): StoredJob {
  const others = ["a", "b", "c"].map((name) => `${name}${"\u0001".repeat(255)}` as Identity);
  const watched = [...sampleJob(n).watched, ...others];
  return sampleJob(n, { timerStartedAt: clock.now(), delayId: `syd_${n}_${"x".repeat(200)}`, watched });
}

async function openFull(state: StateDirectory, clock = new ManualClock()): Promise<StoreBench> {
  const bench = await StoreBench.open(state.directory, clock);
  assert.deepEqual(await bench.accept(large(0, clock)), [true]);
  bench.database?.fill();
  return bench;
}

Deno.test("a job that the disk does not take is not called durable, and is written when there is room", async () => {
  using state = new StateDirectory();
  const bench = await openFull(state);
  const jobs = [1, 2, 3].map((n) => large(n, bench.clock));
  assert.deepEqual(await bench.accept(...jobs), [false, false, false]);
  assert.equal(bench.log.of("error").length, 1);
  assert.match(bench.log.of("error")[0]?.message ?? "", /held in memory.*Free space on its disk/);
  assert.equal(bench.log.of("error")[0]?.fields.waiting, 3);

  bench.database?.free();
  bench.timers.fire();
  assert.equal(bench.log.of("info").at(-1)?.message, "The state directory can be written again");
  assert.deepEqual(await bench.accept(large(4, bench.clock)), [true]);
  await bench.store.close();
  assert.deepEqual(
    (await storedIds(state.directory)).map((id) => id.slice(0, 5)),
    [0, 1, 2, 3, 4].map((n) => `syd_${n}`),
  );
});

Deno.test("while the disk takes nothing nobody waits for it, and the pauses between attempts grow to 30 s", async () => {
  using state = new StateDirectory();
  const bench = await openFull(state);
  await bench.accept(large(1, bench.clock));
  const commits = bench.database?.commits;
  const pauses: number[] = [];
  for (let n = 2; n < 9; n++) {
    const accepted = bench.store.accept(large(n, bench.clock));
    assert.equal((await accepted).isDurable, false);
    pauses.push(...bench.timers.delays);
    bench.timers.fire();
  }
  assert.deepEqual(pauses, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
  assert.equal(bench.database?.commits, commits);
  bench.database?.free();
  await bench.store.close();
  assert.equal((await storedIds(state.directory)).length, 9);
});

Deno.test("a commit that fails half-way is taken back, and done again when the disk has recovered", async () => {
  using state = new StateDirectory();
  const bench = await StoreBench.open(state.directory);
  assert.ok(bench.database !== undefined);
  bench.database.hasFaults = true;
  assert.deepEqual(await bench.accept(large(1, bench.clock)), [false]);
  assert.equal(bench.log.of("error")[0]?.fields.cause, "disk I/O error");
  bench.database.hasFaults = false;
  bench.timers.fire();
  assert.deepEqual(await bench.accept(large(2, bench.clock)), [true]);
  await bench.store.close();
  assert.equal((await storedIds(state.directory)).length, 2);
});

Deno.test("a disk that stays full is said once a minute", async () => {
  using state = new StateDirectory();
  const bench = await openFull(state);
  await bench.accept(large(1, bench.clock));
  for (let second = 0; second < 180; second += 10) {
    bench.clock.advance(10_000);
    bench.timers.fire();
  }
  assert.ok(bench.log.of("error").length > 1);
  assert.equal(bench.log.written.filter(({ level }) => level === "error").length, 1);
  bench.database?.free();
  await bench.store.close();
});

Deno.test("changes, replacements and removals made while the disk is full hold when there is room", async () => {
  using state = new StateDirectory();
  const bench = await openFull(state);
  const [first, second] = [large(1, bench.clock), large(2, bench.clock)];
  await bench.accept(first, second);
  bench.store.update({ ...second, state: "leaving" });
  await bench.store.accept({ ...first, delayId: "syd_next" });
  bench.store.remove(first, first.delayId);
  bench.store.remove(large(0, bench.clock), large(0, bench.clock).delayId);
  bench.database?.free();
  bench.timers.fire();
  await bench.store.close();

  const again = await StoreBench.open(state.directory);
  await again.store.close();
  const found = again.listener.adopted.map(({ delayId, state }) => `${delayId.slice(0, 8)} ${state}`);
  assert.deepEqual(found.sort(), ["syd_2_xx leaving", "syd_next connected"]);
});

Deno.test("jobs that come and go while the disk is full leave nothing behind to be written", async () => {
  using state = new StateDirectory();
  const bench = await openFull(state);
  await bench.accept(large(1, bench.clock));
  for (let n = 2; n < 50; n++) {
    const job = large(n, bench.clock);
    await bench.store.accept(job);
    bench.store.remove(job, job.delayId);
  }
  await bench.store.close();
  assert.equal(bench.log.of("error").at(-1)?.fields.lost, 1);
});

Deno.test("what is lost at the end since the disk is still full is said", async () => {
  using state = new StateDirectory();
  const bench = await openFull(state);
  const accepted = [1, 2].map((n) => bench.store.accept(large(n, bench.clock)));
  await bench.store.close();
  assert.deepEqual((await Promise.all(accepted)).map(({ isDurable }) => isDurable), [false, false]);
  assert.match(bench.log.of("error").at(-1)?.message ?? "", /they are lost/);
  assert.equal(bench.log.of("error").at(-1)?.fields.lost, 2);
  assert.equal((await storedIds(state.directory)).length, 1);
});

Deno.test("a store opens and hands out its jobs without writing anything", async () => {
  using state = new StateDirectory();
  const first = await StoreBench.open(state.directory);
  await first.accept(large(1, first.clock));
  await first.store.close();
  const before = Deno.readFileSync(state.path);
  const second = await StoreBench.open(state.directory);
  assert.equal(second.listener.adopted.length, 1);
  assert.deepEqual(Deno.readFileSync(state.path), before);
  assert.equal(Deno.statSync(`${state.path}-wal`).size, 0);
  await second.store.close();
});
