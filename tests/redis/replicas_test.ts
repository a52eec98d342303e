// Several replicas on one Redis: a room is worked on by one of them at any time, whatever happens to the others, and what
// any of them is told reaches that one.

import assert from "node:assert/strict";
import { setImmediate } from "node:timers";
import { setTimeout as sleepFor } from "node:timers/promises";
import type { Identity, RoomAlias } from "../../lib/livekit/identity.ts";
import { keyText } from "../../lib/leave/machine/job.ts";
import { MAX_ENTRIES, shardOf } from "../../lib/leave/store/redis/commands.ts";
import { encodeJob } from "../../lib/leave/store/stored_job.ts";
import { gate, numberOf, Replica, shared, until } from "./replica.ts";
import { RedisServer } from "../../testing/redis_server.ts";
import { sampleJob } from "../leave/sample_jobs.ts";

const ROOMS = 30;
const TAKEOVER_MS = 5000;

function jobIn(room: number, n: number) {
  return sampleJob(n, { room: `room-${room}` as RoomAlias, identity: `@u${n}:example.com:D` as Identity });
}

/** PresenceChecks again and again whether two replicas work on one room; `stop` tells how often it looked. */
function watchOwners(replicas: readonly Replica[]) {
  const conflicts: string[] = [];
  let looks = 0;
  const timer = setInterval(() => {
    looks++;
    for (let n = 0; n < ROOMS; n++) {
      const room = `room-${n}` as RoomAlias;
      const owners = replicas.filter((replica) => replica.worksOn(room)).length;
      if (owners > 1) conflicts.push(`${room}: ${owners}`);
    }
  }, 5);
  return {
    conflicts,
    stop() {
      clearInterval(timer);
      return looks;
    },
  };
}

Deno.test("each room has one owner at a time, and those of a replica that dies have another within 5 s", async () => {
  await using server = await RedisServer.start();
  await using one = await Replica.open(server.url);
  await using two = await Replica.open(server.url);
  await using three = await Replica.open(server.url);
  const replicas = [one, two, three];
  await shared(...replicas);
  const watch = watchOwners(replicas);

  // Everybody hands in jobs for the same rooms at once.
  const jobs = Array.from({ length: 6 * ROOMS }, (_, n) => jobIn(n % ROOMS, n));
  const saved = await Promise.all(jobs.map((job, n) => replicas[n % 7 % 3]?.accept(job)));
  assert.ok(saved.every((each) => each?.isDurable));
  await until(() => replicas.reduce((sum, { jobs }) => sum + jobs.size, 0) === jobs.length);
  for (let n = 0; n < ROOMS; n++) {
    const room = `room-${n}` as RoomAlias;
    assert.equal(replicas.filter((replica) => replica.worksOn(room)).length, 1, room);
  }
  const lost = one.jobs.size;
  assert.ok(lost > 0);

  one.jobs.clear();
  await one.die();
  await until(() => two.jobs.size + three.jobs.size === jobs.length, TAKEOVER_MS);
  const looks = watch.stop();
  assert.ok(looks > 100);
  assert.deepEqual(watch.conflicts, []);
  const keys = new Set([...two.jobs.keys(), ...three.jobs.keys()]);
  assert.equal(keys.size, jobs.length);
});

Deno.test("a replica takes no rooms over for whose jobs it has no place, and another that has takes them", async () => {
  await using server = await RedisServer.start();
  await using one = await Replica.open(server.url);
  await Promise.all(Array.from({ length: ROOMS }, (_, n) => one.accept(jobIn(n, n))));
  const full = new Replica(server.url);
  full.fits = 0;
  await using two = full;
  await two.open();
  await one.store.close();
  await using three = await Replica.open(server.url);
  await until(() => three.jobs.size === ROOMS);
  assert.equal(two.jobs.size, 0);
});

Deno.test("a replica that is full asks for no jobs, and takes in what it missed when they fit again", async () => {
  await using server = await RedisServer.start();
  await using replica = await Replica.open(server.url);
  for (let n = 0; n < 5; n++) await replica.accept(jobIn(n, n));
  replica.fits = 1;
  const asked = { leaveBeat: 0, leaveScan: 0 };
  const run = replica.connection.run.bind(replica.connection);
  replica.connection.run = (script, ...args) => {
    if (script === "leaveBeat" || script === "leaveScan") asked[script]++;
    return run(script, ...args);
  };
  const { field, value } = encodeJob(jobIn(5, 5));
  await server.cli("HSET", "lk-jwt:jobs", field, value);
  await until(() => asked.leaveBeat >= 4);
  assert.equal(asked.leaveScan, 0);
  replica.fits = Infinity;
  await until(() => replica.jobs.has(keyText(jobIn(5, 5))));
});

Deno.test("a replica that is stopped gives its rooms back at once, in fair shares", async () => {
  await using server = await RedisServer.start();
  const one = await Replica.open(server.url);
  await using two = await Replica.open(server.url);
  await using three = await Replica.open(server.url);
  await shared(one, two, three);
  for (let n = 0; n < 3 * ROOMS; n++) await one.accept(jobIn(n, n));
  await until(() => one.jobs.size + two.jobs.size + three.jobs.size === 3 * ROOMS);
  one.jobs.clear();
  await one.store.close();
  await until(() => two.jobs.size + three.jobs.size === 3 * ROOMS, 600);
  assert.ok(Math.min(two.jobs.size, three.jobs.size) > 0);
});

Deno.test("a replica that was held up may not act at once, hears whose its rooms are, and writes nothing", async () => {
  await using server = await RedisServer.start();
  let offsetMs = 0;
  await using one = await Replica.open(server.url, { monotonicNow: () => performance.now() + offsetMs });
  await using two = await Replica.open(server.url);
  await shared(one, two);
  const job = jobIn(numberOf(one), 1);
  await one.accept(job);
  await one.accept(jobIn(numberOf(one), 2));
  one.stall();
  assert.ok(one.store.leaseMs(job.room) > 0);
  offsetMs = 10_000;
  assert.equal(one.store.leaseMs(job.room), 0);
  offsetMs = 0;
  await until(() => two.jobs.has(keyText(job)), TAKEOVER_MS);
  assert.equal(one.store.leaseMs(job.room), 0);

  // What it had decided before it was held up comes too late.
  const taken = await server.cli("HGET", "lk-jwt:jobs", JSON.stringify([job.room, job.identity]));
  one.resume();
  one.store.update({ ...job, state: "leaving" });
  one.store.remove(job, job.delayId);
  while (!one.released.includes(job.room)) {
    assert.equal(one.store.leaseMs(job.room), 0);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await until(() => one.gaps > 0);
  await sleepFor(100);
  assert.equal(await server.cli("HGET", "lk-jwt:jobs", JSON.stringify([job.room, job.identity])), taken);
  // It may be among those that it is given back.
  await until(() => one.worksOn(job.room) !== two.worksOn(job.room));
});

Deno.test("a replica that was held up keeps the rooms that nobody has taken", async () => {
  await using server = await RedisServer.start();
  await using one = await Replica.open(server.url);
  const job = jobIn(1, 1);
  await one.accept(job);
  one.stall();
  await until(() => one.store.leaseMs(job.room) === 0);
  await sleepFor(500);
  one.resume();
  await until(() => one.store.leaseMs(job.room) > 0);
  assert.deepEqual([one.released, one.gaps], [[], 1]);
  one.store.update({ ...job, state: "leaving" });
  await until(async () => (await server.cli("HVALS", "lk-jwt:jobs")).includes('"leaving"'));
});

Deno.test("events reach the owner of their room, in order, whichever replica receives them", async () => {
  await using server = await RedisServer.start();
  await using owner = await Replica.open(server.url);
  await using other = await Replica.open(server.url);
  await shared(owner, other);
  const { room, identity } = jobIn(numberOf(owner), 1);
  await owner.accept(jobIn(numberOf(owner), 1));
  const events = Array.from({ length: 200 }, (_, n) => ({ type: "joined", room, identity, sid: `PA_${n}` }) as const);
  for (const event of events) assert.equal(await other.store.route(event), "elsewhere");
  const last = { type: "left", room, identity, sid: "PA_x", reason: "CLIENT_INITIATED" } as const;
  assert.equal(await other.store.route(last), "elsewhere");
  assert.equal(await owner.store.route(last), "here");
  await until(() => owner.events.length === 201);
  assert.deepEqual(owner.events, [...events, last]);
  assert.deepEqual(other.events, []);
});

Deno.test("a job delegated elsewhere reaches the owner of its room, and takes the place of the one before", async () => {
  await using server = await RedisServer.start();
  await using owner = await Replica.open(server.url);
  await using other = await Replica.open(server.url);
  await shared(owner, other);
  const room = numberOf(owner);
  const job = jobIn(room, 1);
  await owner.accept(job);
  owner.store.update({ ...job, hint: "left" });

  assert.deepEqual(await other.accept(jobIn(room, 2)), { owner: "elsewhere", isDurable: true });
  await until(() => owner.jobs.has(keyText(jobIn(room, 2))));

  const next = { ...job, delayId: "syd_next" };
  assert.deepEqual(await other.accept(next), { owner: "elsewhere", isDurable: true });
  await until(() => owner.jobs.get(keyText(job))?.delayId === "syd_next");
  owner.store.update({ ...job, state: "leaving" });
  owner.store.remove(job, job.delayId);
  await sleepFor(100);
  assert.match(await server.cli("HVALS", "lk-jwt:jobs"), /syd_next/);
});

Deno.test("a job delegated elsewhere is not missed by an owner that is still loading its shard", async () => {
  await using server = await RedisServer.start();
  const one = new Replica(server.url);
  await using _ = one;
  const scans = gate(one, "leaveScan", "answered");
  const opening = one.open();
  await scans.reached;
  await using other = await Replica.open(server.url);
  const late = jobIn(1, 2);
  assert.equal((await other.accept(late)).owner, "elsewhere");
  scans.open();
  await opening;
  await until(() => one.jobs.has(keyText(late)) || other.jobs.has(keyText(late)));
  assert.notEqual(one.jobs.has(keyText(late)), other.jobs.has(keyText(late)));
});

Deno.test("a job delegated elsewhere is found, though a flood of events has pushed the word of it out", async () => {
  await using server = await RedisServer.start();
  await using one = await Replica.open(server.url);
  await using other = await Replica.open(server.url);
  await shared(one, other);
  const room = numberOf(one);
  const job = jobIn(room, 1);
  await one.accept(job);
  // It is busy with a first job that was passed on.
  const reads = gate(one, "leaveRead", "sent");
  assert.equal((await other.accept(jobIn(room, 2))).owner, "elsewhere");
  await reads.reached;
  const late = jobIn(room, 3);
  assert.equal((await other.accept(late)).owner, "elsewhere");
  const event = { type: "joined", room: job.room, identity: job.identity } as const;
  await Promise.all(Array.from({ length: MAX_ENTRIES }, (_, n) => other.store.route({ ...event, sid: `PA_${n}` })));
  reads.open();
  await until(() => one.jobs.has(keyText(late)) && one.gaps > 0);
});

Deno.test("the same event delegated again, elsewhere, leaves the job as its owner has it", async () => {
  await using server = await RedisServer.start();
  await using owner = await Replica.open(server.url);
  await using other = await Replica.open(server.url);
  await shared(owner, other);
  const job = jobIn(numberOf(owner), 1);
  await owner.accept(job);
  owner.store.update({ ...job, state: "leaving" });
  await until(async () => (await server.cli("HVALS", "lk-jwt:jobs")).includes('"leaving"'));
  assert.deepEqual(await other.accept({ ...job, state: "waiting" }), { owner: "elsewhere", isDurable: true });
  assert.match(await server.cli("HVALS", "lk-jwt:jobs"), /"leaving"/);

  // So does a replica that takes the room over by accepting the event once more.
  await owner.die();
  await until(() => other.jobs.has(keyText(job)), TAKEOVER_MS);
  assert.equal(other.jobs.get(keyText(job))?.state, "leaving");
});

Deno.test("who takes a shard over hears what was told when nobody worked on it, and hears it once", async () => {
  await using server = await RedisServer.start();
  await using owner = await Replica.open(server.url);
  await using other = await Replica.open(server.url);
  await shared(owner, other);
  const job = jobIn(numberOf(owner), 1);
  await owner.accept(job);
  await owner.die();
  const { room, identity } = job;
  const left = { type: "left", room, identity, sid: "PA_1", reason: "CLIENT_INITIATED" } as const;
  assert.equal(await other.store.route(left), "elsewhere");
  await until(() => other.jobs.has(keyText(job)) && other.events.length > 0, TAKEOVER_MS);
  assert.deepEqual(other.events, [left]);
  await until(async () => await server.cli("XLEN", `{lk-jwt:jobs}:stream:${shardOf(room)}`) === "0");
});

Deno.test("what was told more than five minutes ago is not told any more", async () => {
  await using server = await RedisServer.start();
  await using replica = await Replica.open(server.url);
  const { room, identity } = jobIn(1, 1);
  const stream = `{lk-jwt:jobs}:stream:${shardOf(room)}`;
  const event = { type: "joined", room, identity, sid: "PA_1" } as const;
  for (const createdAt of [Date.now() - 301_000, Date.now()]) {
    await server.cli("XADD", stream, "*", "event", JSON.stringify({ ...event, createdAt }));
  }
  await until(async () => await server.cli("XLEN", stream) === "0");
  assert.deepEqual(replica.events.length, 1);
});

Deno.test("a stream is bounded, and who takes the shard over hears that some are missing", async () => {
  await using server = await RedisServer.start();
  await using owner = await Replica.open(server.url);
  await using other = await Replica.open(server.url);
  await shared(owner, other);
  const job = jobIn(numberOf(owner), 1);
  const { room, identity } = job;
  await owner.accept(job);
  await owner.die();
  const sids = Array.from({ length: MAX_ENTRIES + 100 }, (_, n) => `PA_${n}`);
  await Promise.all(sids.map((sid) => other.store.route({ type: "joined", room, identity, sid })));
  assert.equal(await server.cli("XLEN", `{lk-jwt:jobs}:stream:${shardOf(room)}`), String(MAX_ENTRIES));
  await until(() => other.jobs.has(keyText(job)) && other.events.length === MAX_ENTRIES, TAKEOVER_MS);
  assert.deepEqual(other.events.map(({ sid }) => sid), sids.slice(100));
  await until(() => other.gaps > 0);
});

Deno.test("a replica that joins is given its share within 20 % of even, and calls under way end before", async () => {
  await using server = await RedisServer.start();
  await using one = await Replica.open(server.url);
  const jobs = Array.from({ length: 2000 }, (_, n) => jobIn(n, n));
  await Promise.all(jobs.map((job) => one.accept(job)));
  for (const { room } of jobs) one.busy.add(room);
  await using two = await Replica.open(server.url);
  await sleepFor(300);
  assert.deepEqual([one.released, two.jobs.size], [[], 0]);
  one.busy.clear();
  await until(() => two.jobs.size > 0 && one.jobs.size + two.jobs.size === jobs.length);
  for (const { jobs } of [one, two]) assert.ok(jobs.size > 800 && jobs.size < 1200, `${jobs.size} of 2000`);
  assert.deepEqual([one.gaps, two.gaps], [0, 0]);
  for (const { room } of jobs) assert.equal([one, two].filter((replica) => replica.worksOn(room)).length, 1);
});
