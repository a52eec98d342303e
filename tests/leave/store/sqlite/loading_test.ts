// The embedded store while its jobs are still being loaded: whoever comes first, it is as if all had been there already.

import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleepFor } from "node:timers/promises";
import type { Identity, RoomAlias } from "../../../../lib/livekit/identity.ts";
import { SqliteStore } from "../../../../lib/leave/store/sqlite/store.ts";
import type { StoredJob } from "../../../../lib/leave/store/store.ts";
import { ManualClock } from "../../../../testing/manual_clock.ts";
import { sampleJob } from "../../sample_jobs.ts";
import { StateDirectory, StoreBench, storedIds } from "./harness.ts";
import { inCall } from "../../../simulation/in_call.ts";
import { World } from "../../../simulation/world.ts";

const ROOM = "crowd" as RoomAlias;

/** The loader's turns, given one by one. */
class Turns {
  readonly #waiting: (() => void)[] = [];
  /** How long it wanted to pause before each, in ms. */
  readonly pauses: number[] = [];

  readonly sleep = (durationMs: number, signal: AbortSignal): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => reject(signal.reason));
    this.pauses.push(durationMs);
    this.#waiting.push(resolve);
    return promise;
  };

  /** Gives one turn to each who waits for one. */
  async next(): Promise<void> {
    for (const resolve of this.#waiting.splice(0)) resolve();
    await sleepFor(0);
  }

  /** Gives turns until nobody wants one. */
  async all(): Promise<void> {
    while (this.#waiting.length > 0) await this.next();
  }
}

const clock = new ManualClock();

function jobOf(n: number, changes: Partial<StoredJob> = {}): StoredJob {
  return sampleJob(n, { timerStartedAt: clock.now(), delegatedAt: clock.now(), waitUntil: clock.now(), ...changes });
}

/** A store on a directory with these jobs, open, none of them loaded. */
async function openWith(state: StateDirectory, jobs: readonly StoredJob[]) {
  const before = await StoreBench.open(state.directory, clock);
  await accept(before, ...jobs);
  await before.store.close();
  return await openOn(state);
}

async function openOn(state: StateDirectory) {
  const turns = new Turns();
  const bench = new StoreBench(state.directory, clock, { sleep: turns.sleep });
  await bench.store.open(bench.listener);
  const adopted = () => bench.listener.adopted.map(({ delayId }) => delayId);
  return { turns, bench, store: bench.store, adopted };
}

/** As {@link StoreBench.accept}, with as many commits as that takes. */
async function accept(bench: StoreBench, ...jobs: StoredJob[]): Promise<boolean[]> {
  const accepted = jobs.map((job) => bench.store.accept(job));
  while (bench.timers.delays.length > 0) bench.timers.fire();
  return (await Promise.all(accepted)).map(({ isDurable }) => isDurable);
}

function many(count: number, changes: Partial<StoredJob> = {}): StoredJob[] {
  return Array.from({ length: count }, (_, n) => jobOf(n, changes));
}

async function storedJobs(state: StateDirectory): Promise<StoredJob[]> {
  const { store, listener } = await StoreBench.open(state.directory, clock);
  await store.close();
  return listener.adopted;
}

function openedLines(bench: StoreBench) {
  return bench.log.of("info").filter(({ message }) => message.startsWith("Opened the store"));
}

Deno.test("a store is open before a job is loaded; they come page by page, and the log says when all are there", async () => {
  using state = new StateDirectory();
  const { turns, bench, adopted } = await openWith(state, many(450));
  const counts: number[] = [];
  for (let turn = 0; turn < 4; turn++) {
    assert.deepEqual(openedLines(bench), []);
    counts.push(adopted().length);
    clock.advance(250);
    await turns.next();
  }
  assert.deepEqual(counts, [0, 200, 400, 450]);
  assert.equal(new Set(adopted()).size, 450);
  assert.deepEqual(openedLines(bench).map(({ fields }) => fields), [
    { directory: state.directory, found: 450, seconds: 1 },
  ]);
  assert.deepEqual(turns.pauses, [0, 0, 0, 0]);
  await bench.store.close();
});

Deno.test("jobs that do not fit wait in the file until others are over", async () => {
  using state = new StateDirectory();
  const before = await StoreBench.open(state.directory, clock);
  await accept(before, ...many(900));
  await before.store.close();
  const turns = new Turns();
  const bench = new StoreBench(state.directory, clock, { sleep: turns.sleep });
  let fits = 400;
  const isFull = () => bench.listener.adopted.length >= fits;
  await bench.store.open({ ...bench.listener, isFull });
  for (let turn = 0; turn < 6; turn++) await turns.next();
  assert.deepEqual([bench.listener.adopted.length, turns.pauses], [400, [0, 0, 0, 1000, 1000, 1000, 1000]]);
  // Nobody waits for that.
  const accepted = bench.store.accept(jobOf(1000));
  await sleepFor(0);
  bench.timers.fire();
  assert.deepEqual(await accepted, { owner: "here", isDurable: true });
  fits = Infinity;
  await turns.all();
  assert.equal(new Set(bench.listener.adopted.map(({ delayId }) => delayId)).size, 901);
  await bench.store.close();
});

Deno.test("a new job waits until what it replaces has been handed out", async () => {
  using state = new StateDirectory();
  const { turns, bench, adopted } = await openWith(state, many(3));
  const accepted = bench.store.accept(jobOf(1, { delayId: "syd_next" }));
  await sleepFor(0);
  assert.deepEqual([adopted(), bench.timers.delays], [[], []]);
  await turns.all();
  assert.deepEqual(adopted(), ["syd_0", "syd_1", "syd_2"]);
  bench.timers.fire();
  assert.deepEqual(await accepted, { owner: "here", isDurable: true });
  await bench.store.close();
  assert.deepEqual(await storedIds(state.directory), ["syd_0", "syd_2", "syd_next"]);
});

Deno.test("the same event handed in again changes nothing of what is stored", async () => {
  using state = new StateDirectory();
  const jobs = [jobOf(1, { state: "leaving" })];
  const { turns, bench, adopted } = await openWith(state, jobs);
  const commits = bench.database?.commits;
  const accepted = bench.store.accept(jobOf(1, { state: "waiting", sessions: {} }));
  await turns.all();
  assert.deepEqual(await accepted, { owner: "here", isDurable: true });
  assert.deepEqual(adopted(), ["syd_1"]);
  assert.equal(bench.database?.commits, commits);
  await bench.store.close();
  assert.deepEqual(await storedJobs(state), jobs);
});

Deno.test("a new job that is removed before it is written leaves nothing of the one that it replaced", async () => {
  using state = new StateDirectory();
  const { turns, bench } = await openWith(state, many(2));
  const accepted = bench.store.accept(jobOf(1, { delayId: "syd_next" }));
  bench.store.remove(jobOf(1), "syd_next");
  await turns.all();
  bench.timers.fire();
  await accepted;
  await bench.store.close();
  assert.deepEqual(await storedIds(state.directory), ["syd_0"]);
});

Deno.test("changes and removals that come before their jobs are loaded hold, and late news of replaced ones do not", async () => {
  using state = new StateDirectory();
  const { turns, bench, adopted } = await openWith(state, many(4));
  bench.store.remove(jobOf(0), "syd_0");
  bench.store.remove(jobOf(1), "syd_before");
  bench.store.update(jobOf(2, { state: "leaving" }));
  bench.store.update(jobOf(3, { delayId: "syd_before" }));
  await turns.all();
  assert.equal(adopted().length, 4);
  await bench.store.close();
  assert.deepEqual(await storedJobs(state), [jobOf(1), jobOf(2, { state: "leaving" }), jobOf(3)]);
});

Deno.test("an event of a participant waits until all jobs have been handed out", async () => {
  using state = new StateDirectory();
  const { turns, store, adopted } = await openWith(state, many(900, { room: ROOM }));
  let isRouted = false;
  const event = { type: "left", room: ROOM, identity: "a", sid: "PA_a", reason: "" } as const;
  const routed = store.route(event).then((owner) => {
    isRouted = true;
    return owner;
  });
  await turns.next();
  assert.deepEqual([isRouted, adopted().length], [false, 200]);
  await turns.all();
  assert.deepEqual([await routed, adopted().length], ["here", 900]);
  await store.close();
});

Deno.test("a store that is closed before all is loaded hands nothing out any more, and loses nothing", async () => {
  using state = new StateDirectory();
  const { turns, bench, adopted } = await openWith(state, many(900));
  await turns.next();
  const routed = bench.store.route({ type: "joined", room: ROOM, identity: "a", sid: "PA_a" });
  bench.store.remove(jobOf(890), "syd_890");
  void bench.store.accept(jobOf(891, { delayId: "syd_next" }));
  const count = adopted().length;
  await bench.store.close();
  await routed;
  await turns.all();
  assert.equal(adopted().length, count);
  assert.deepEqual(openedLines(bench), []);
  assert.deepEqual(bench.log.of("error"), []);
  const expected = many(900).map(({ delayId }) => delayId).filter((id) => id !== "syd_890" && id !== "syd_891");
  assert.deepEqual(await storedIds(state.directory), [...expected, "syd_next"].sort());
});

Deno.test("entries that cannot be read are dropped wherever they stand, and counted together", async () => {
  using state = new StateDirectory();
  {
    const { bench } = await openWith(state, many(450));
    await bench.store.close();
    using database = new DatabaseSync(state.path);
    database.exec(`UPDATE jobs SET value = '{}' WHERE field LIKE '%identity-1__"]'`);
  }
  const { turns, bench, adopted } = await openOn(state);
  const accepted = bench.store.accept(jobOf(110, { delayId: "syd_next" }));
  await turns.all();
  bench.timers.fire();
  await accepted;
  assert.equal(adopted().length, 350);
  assert.deepEqual(bench.log.of("error").map(({ fields }) => fields.dropped), [100]);
  assert.equal(openedLines(bench)[0]?.fields.found, 350);
  await bench.store.close();
  assert.equal((await storedIds(state.directory)).length, 351);
});

Deno.test("jobs longer than any are dropped and counted, and so are those of a delay ID longer than any", async () => {
  using state = new StateDirectory();
  {
    const { bench } = await openWith(state, many(3));
    await bench.store.close();
    using database = new DatabaseSync(state.path);
    const longer = (n: number, from: string, to: string) =>
      database.prepare("UPDATE jobs SET value = replace(value, ?, ?) WHERE field LIKE ?").run(from, to, `%-${n}"]`);
    longer(1, '"syd_1"', JSON.stringify(`syd_1${"x".repeat(251)}`));
    longer(2, '"Hint"', `"Unknown":"${"x".repeat(10_000_000)}","Hint"`);
  }
  const { turns, bench, adopted } = await openOn(state);
  await turns.all();
  assert.deepEqual(adopted(), ["syd_0"]);
  assert.deepEqual(bench.log.of("error").map(({ fields }) => fields.dropped), [2]);
  await bench.store.close();
  assert.deepEqual(await storedIds(state.directory), ["syd_0"]);
});

// As the release before wrote them, byte for byte, into the same table.
const WRITTEN_BEFORE = [
  [
    '["room-1","identity-1"]',
    '{"Params":{"DelayId":"syd_1","DelayTimeout":10000000000,"ServerName":"example.com","LiveKitRoom":"room-1",' +
    '"LiveKitIdentity":"identity-1"},"RestartedAt":"0001-01-01T00:00:00Z","AcceptedAt":"2026-01-01T00:00:00.000Z",' +
    '"HandedInAt":"2025-12-31T23:59:55.000Z","State":"waiting","Watched":["identity-1"],"Sessions":{},' +
    '"WaitUntil":"2026-01-01T00:00:10.000Z","Hint":"none"}',
  ],
  [
    '["room-2","identity-2"]',
    '{"Params":{"DelayId":"syd_2","DelayTimeout":10000000000,"ServerName":"example.com","LiveKitRoom":"room-2",' +
    '"LiveKitIdentity":"identity-2"},"RestartedAt":"2026-01-01T00:00:00.000Z",' +
    '"HandedInAt":"2025-12-31T23:59:55.000Z","State":"connected","Watched":["identity-2","@bob:example.com:D<1>"],' +
    '"Sessions":{"identity-2":"PA_2"},"WaitUntil":"2026-01-01T00:00:10.000Z","Hint":"none",' +
    '"AbsentSince":"2025-12-31T23:59:59.000Z"}',
  ],
  [
    '["room-3","identity-3"]',
    '{"Params":{"DelayId":"syd_3","DelayTimeout":10000000000,"ServerName":"example.com","LiveKitRoom":"room-3",' +
    '"LiveKitIdentity":"identity-3"},"RestartedAt":"2026-01-01T00:00:00.000Z",' +
    '"HandedInAt":"2025-12-31T23:59:55.000Z","State":"leaving","Watched":["identity-3"],"Sessions":{},' +
    '"WaitUntil":"2026-01-01T00:00:10.000Z","Hint":"left"}',
  ],
] as const;

Deno.test("every job of a file that the release before wrote goes on", async () => {
  using state = new StateDirectory();
  {
    using database = new DatabaseSync(state.path);
    database.exec(`CREATE TABLE jobs (field TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT;
      PRAGMA application_id = 1280002647; PRAGMA user_version = 1; PRAGMA journal_mode = WAL`);
    for (const row of WRITTEN_BEFORE) database.prepare("INSERT INTO jobs VALUES (?, ?)").run(...row);
  }
  const start = Date.UTC(2026, 0, 1);
  const found = (await storedJobs(state)).map((job) => {
    const { delayId, delayMs, state, sessions, watched, hint, absentSince } = job;
    assert.deepEqual([job.timerStartedAt, job.waitUntil], [start, start + 10_000]);
    return [delayId, delayMs, state, sessions, watched, hint, absentSince];
  });
  assert.deepEqual(found, [
    ["syd_1", 10_000, "waiting", {}, ["identity-1"], "none", null],
    [
      "syd_2",
      10_000,
      "connected",
      { "identity-2": "PA_2" },
      ["identity-2", "@bob:example.com:D<1>"],
      "none",
      start - 1000,
    ],
    ["syd_3", 10_000, "leaving", {}, ["identity-3"], "left", null],
  ]);
});

Deno.test("a disk that gives nothing keeps nobody waiting, and what was accepted meanwhile is not undone", async () => {
  using state = new StateDirectory();
  const { turns, bench, adopted } = await openWith(state, many(500));
  await turns.next();
  bench.database?.exec("ALTER TABLE jobs RENAME TO away");
  const accepted = bench.store.accept(jobOf(450, { delayId: "syd_next" }));
  const routed = bench.store.route({ type: "joined", room: ROOM, identity: "a", sid: "PA_a" });
  await turns.next();
  bench.timers.fire();
  assert.deepEqual([await routed, await accepted], ["here", { owner: "here", isDurable: false }]);
  bench.database?.exec("ALTER TABLE away RENAME TO jobs");
  await turns.all();
  assert.equal(adopted().length, 499);
  assert.ok(!adopted().includes("syd_450"));
  await bench.store.close();
  assert.ok((await storedIds(state.directory)).includes("syd_next"));
});

Deno.test("a disk that gives nothing is asked again, ever more seldom, until it does", async () => {
  using state = new StateDirectory();
  const { turns, bench, adopted } = await openWith(state, many(500));
  await turns.next();
  bench.database?.exec("ALTER TABLE jobs RENAME TO away");
  for (let turn = 0; turn < 7; turn++) await turns.next();
  assert.deepEqual(turns.pauses, [0, 0, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
  const written = bench.log.written.filter(({ level }) => level === "error");
  assert.deepEqual(written.map(({ fields }) => fields.found), [200]);
  assert.match(written[0]?.message ?? "", /^Cannot read .*look after the health of its disk/);
  bench.database?.exec("ALTER TABLE away RENAME TO jobs");
  await turns.all();
  assert.equal(adopted().length, 500);
  assert.equal(openedLines(bench).length, 1);
  await bench.store.close();
});

/** A participant is in the call; then the service starts anew on a store with their job, not loaded yet. */
async function restarted(state: StateDirectory) {
  const first = await inCall();
  const [stored] = first.world.store.jobs.values();
  assert.ok(stored !== undefined);
  await first.world.close();
  const turns = new Turns();
  const { bench } = await openWith(state, [stored]);
  await bench.store.close();
  const world = await World.create({
    sabotage: (deps) => {
      const { clock, log } = deps;
      const store = new SqliteStore({ clock: { ...clock, sleep: turns.sleep }, log, directory: state.directory });
      return { ...deps, store };
    },
  });
  world.homeserver.schedule(stored.delayId, stored.delayMs);
  world.sfu.join(stored.room, stored.identity);
  const send = (delayId: string) => world.homeserver.look(delayId)?.end?.how;
  return { world, turns, alice: stored, send };
}

/** WakeTimers of the world as they come, and turns of the event loop for the store. */
async function pass(world: World, ms: number): Promise<void> {
  for (let passedMs = 0; passedMs < ms; passedMs += 100) {
    await world.time.advance(100);
    await sleepFor(0);
  }
}

Deno.test("a leave that is told before its job is loaded is sent as soon as it is", async () => {
  using state = new StateDirectory();
  const { world, turns, alice, send } = await restarted(state);
  assert.equal(world.manager.jobs.size, 0);
  world.sfu.leave(alice.room, alice.identity, "CLIENT_INITIATED");
  await pass(world, 1000);
  assert.equal(send(alice.delayId), undefined);
  await turns.all();
  await pass(world, 1000);
  assert.equal(send(alice.delayId), "sent");
  assert.equal(world.manager.jobs.size, 0);
  await world.close();
});

Deno.test("a new event that comes before the old one is loaded takes its place, and the session goes on", async () => {
  using state = new StateDirectory();
  const { world, turns, alice, send } = await restarted(state);
  const { room, identity, watched, delayMs } = alice;
  await world.delegate({ room, identity, watched, delayMs, delayId: "syd_next" });
  await pass(world, 1000);
  await turns.all();
  assert.deepEqual(world.manager.counts, { waiting: 0, connected: 1, leaving: 0 });
  await pass(world, 1000);
  world.sfu.leave(room, identity, "CLIENT_INITIATED");
  await pass(world, 1000);
  assert.deepEqual([send("syd_next"), send(alice.delayId)], ["sent", "canceled"]);
  assert.equal(world.manager.jobs.size, 0);
  await world.close();
});

Deno.test("an event that is handed in under another identity before its job is loaded has one job, the new one", async () => {
  using state = new StateDirectory();
  const { world, turns, alice } = await restarted(state);
  const identity = "@alice:hs.test:OTHER" as Identity;
  await world.delegate({ ...alice, identity, watched: [identity] });
  await turns.all();
  await pass(world, 1000);
  assert.equal(world.manager.jobs.size, 1);
  await world.close();
  assert.deepEqual((await storedJobs(state)).map(({ identity }) => identity), [identity]);
});

Deno.test("whoever left while the service was away is looked up when their job is loaded", async () => {
  using state = new StateDirectory();
  const { world, turns, alice, send } = await restarted(state);
  world.sfu.deliver = () => {};
  world.sfu.leave(alice.room, alice.identity, "CLIENT_INITIATED");
  await turns.all();
  assert.equal(world.sfu.asked.lists, 1);
  await pass(world, 80_000);
  assert.equal(send(alice.delayId), "sent");
  await world.close();
});
