// The shared store on its own: the contract of all stores, the form of release 0.6.0, and what it leaves in Redis.

import assert from "node:assert/strict";
import type { Identity, RoomAlias } from "../../lib/livekit/identity.ts";
import { keyText } from "../../lib/leave/machine/job.ts";
import { RedisConnection } from "../../lib/leave/store/redis/connection.ts";
import { RedisStore } from "../../lib/leave/store/redis/store.ts";
import { encodeJob } from "../../lib/leave/store/stored_job.ts";
import { systemClock } from "../../lib/platform.ts";
import { RecordingLog } from "../../testing/recording_log.ts";
import { Replica, targetOf, until } from "./replica.ts";
import { RedisServer } from "../../testing/redis_server.ts";
import { sampleJob } from "../leave/sample_jobs.ts";
import { testStoreContract } from "../leave/store/store_contract.ts";

testStoreContract({
  name: "Redis",
  keepsJobs: true,
  async openMedium(clock) {
    const server = await RedisServer.start();
    return {
      createStore() {
        const log = new RecordingLog();
        const redis = new RedisConnection({ target: targetOf(server.socketUrl), replica: crypto.randomUUID(), log });
        return new RedisStore({ redis, clock: { ...systemClock, now: clock.now }, log });
      },
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  },
});

// As release 0.6.0 writes it: one job that was restarted, one that never was.
function entryOf060(room: string, identity: string, delayId: string, restartedAt: string): [string, string] {
  const params = {
    DelayId: delayId,
    DelayTimeout: 3_600_000_000_000,
    ServerName: "example.com",
    LiveKitRoom: room,
    LiveKitIdentity: identity,
  };
  return [JSON.stringify([room, identity]), JSON.stringify({ Params: params, RestartedAt: restartedAt })];
}

Deno.test("entries of release 0.6.0 are taken up at start, and those it writes meanwhile soon after", async () => {
  await using server = await RedisServer.start();
  const restartedAt = new Date(Date.now() - 60_000).toISOString();
  await server.cli("HSET", "lk-jwt:jobs", ...entryOf060("room/+", "@a:example.com:D", "syd_a", restartedAt));
  await server.cli("HSET", "lk-jwt:jobs", ...entryOf060("room/+", "@b:example.com:D", "syd_b", "0001-01-01T00:00:00Z"));
  let offsetMs = 0;
  await using replica = await Replica.open(server.url, { monotonicNow: () => performance.now() + offsetMs });
  const states = () => [...replica.jobs.values()].map(({ delayId, state }) => `${delayId} ${state}`).sort();
  assert.deepEqual(states(), ["syd_a connected", "syd_b waiting"]);
  assert.ok(replica.store.leaseMs("room/+" as RoomAlias) > 0);

  await server.cli("HSET", "lk-jwt:jobs", ...entryOf060("room/+", "@c:example.com:D", "syd_c", restartedAt));
  await server.cli("HSET", "lk-jwt:jobs", ...entryOf060("other", "@d:example.com:D", "syd_d", restartedAt));
  await server.cli("HDEL", "lk-jwt:jobs", '["room/+","@a:example.com:D"]');
  offsetMs = 5000;
  await until(() => replica.jobs.size === 4);
  await until(async () => await server.cli("GET", "{lk-jwt:jobs}:known") === "3", 7000);
});

Deno.test("jobs stand in the hash as release 0.6.0 reads them", async () => {
  await using server = await RedisServer.start();
  await using replica = await Replica.open(server.url);
  const job = sampleJob(1, { timerStartedAt: Date.UTC(2026, 0, 2), delayMs: 10_500 });
  await replica.accept(job);
  const value = JSON.parse(await server.cli("HGET", "lk-jwt:jobs", `["${job.room}","${job.identity}"]`));
  assert.deepEqual(value.Params, {
    DelayId: "syd_1",
    DelayTimeout: 10_500_000_000,
    ServerName: "example.com",
    LiveKitRoom: job.room,
    LiveKitIdentity: job.identity,
  });
  assert.equal(value.RestartedAt, "2026-01-02T00:00:00.000Z");
});

Deno.test("values that are no jobs are removed once a room is taken up, and foreign fields left alone", async () => {
  await using server = await RedisServer.start();
  await server.cli("HSET", "lk-jwt:jobs", '["room","@a:example.com:D"]', "not JSON", "a field of its own", "kept");
  await using replica = await Replica.open(server.url);
  await until(async () => await server.cli("HKEYS", "lk-jwt:jobs") === "a field of its own");
  assert.equal(replica.jobs.size, 0);
  await until(async () => await server.cli("HLEN", "{lk-jwt:jobs}:owners") === "0");
});

Deno.test("a field that only looks like that of a job stops nothing", async () => {
  await using server = await RedisServer.start();
  const { field, value } = encodeJob(sampleJob(1));
  await server.cli("HSET", "lk-jwt:jobs", '["no\\x","JSON"]', "{}", field, value);
  await using replica = await Replica.open(server.url);
  await until(() => replica.jobs.size === 1);
  assert.equal((await replica.accept(sampleJob(2))).isDurable, true);
  await until(() => replica.store.leaseMs(sampleJob(2).room) > 0);
  assert.doesNotMatch(replica.log.text, /away/);
});

Deno.test("when all jobs are over and all replicas gone, next to nothing is left in Redis", async () => {
  await using server = await RedisServer.start();
  const [one, other] = await Promise.all([Replica.open(server.url), Replica.open(server.url)]);
  const jobs = Array.from({ length: 50 }, (_, n) => sampleJob(n));
  for (const [n, job] of jobs.entries()) await (n % 3 === 0 ? other : one).accept(job);
  // Handed in where another replica works on the room: told to it.
  await other.accept({ ...sampleJob(1), identity: "late" as Identity, delayId: "syd_late" });
  await until(() => one.jobs.size + other.jobs.size === 51);
  for (const replica of [one, other]) {
    for (const job of replica.jobs.values()) replica.store.remove(job, job.delayId);
  }
  await until(async () => await server.cli("EXISTS", "lk-jwt:jobs") === "0");
  await Promise.all([one.store.close(), other.store.close()]);
  assert.equal(await server.cli("KEYS", "*"), "{lk-jwt:jobs}:fence");
});

Deno.test("a room keeps its owner when its last job is over, whichever replica is given the next", async () => {
  await using server = await RedisServer.start();
  await using one = await Replica.open(server.url);
  await using other = await Replica.open(server.url);
  const job = sampleJob(1);
  await until(() => one.store.leaseMs(job.room) > 0 !== other.store.leaseMs(job.room) > 0);
  const [owner, stranger] = one.store.leaseMs(job.room) > 0 ? [one, other] : [other, one];
  await owner.accept(job);
  owner.store.remove(job, job.delayId);
  await until(async () => await server.cli("EXISTS", "lk-jwt:jobs") === "0");
  assert.deepEqual(await stranger.accept(job), { owner: "elsewhere", isDurable: true });
  await until(() => owner.jobs.has(keyText(job)));
});

for (const password of ["p@ss:/#?% ", "plain"]) {
  Deno.test(`a password is used, and never shown (${password})`, async () => {
    await using server = await RedisServer.start(["--requirepass", password]);
    await using replica = await Replica.open(server.url, { password });
    assert.equal((await replica.accept(sampleJob(1))).isDurable, true);
    await using wrong = await Replica.open(`redis://user:${encodeURIComponent(password)}@127.0.0.1:${server.port}`);
    assert.equal((await wrong.accept(sampleJob(2))).isDurable, false);
    assert.match(wrong.log.text, /WRONGPASS/);
    assert.ok(!wrong.log.text.includes(password));
  });
}
