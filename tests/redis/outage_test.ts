// Redis away: frozen, killed, empty after a restart, failing over, never there, out of reach for one replica alone. Nobody
// waits for it, nothing that was accepted is lost while the process lives, and work goes on.

import assert from "node:assert/strict";
import { setImmediate } from "node:timers";
import { setTimeout as sleepFor } from "node:timers/promises";
import type { RoomAlias } from "../../lib/livekit/identity.ts";
import { keyText } from "../../lib/leave/machine/job.ts";
import { encodeJob } from "../../lib/leave/store/stored_job.ts";
import { CutLine } from "./cut_line.ts";
import { numberOf, Replica, shared, until } from "./replica.ts";
import { RedisServer } from "../../testing/redis_server.ts";
import { sampleJob } from "../leave/sample_jobs.ts";

const PATIENCE_MS = 2000;

async function timed<Result>(work: Promise<Result>): Promise<{ result: Result; tookMs: number }> {
  const startedAt = performance.now();
  return { result: await work, tookMs: performance.now() - startedAt };
}

async function storedIds(server: RedisServer): Promise<string[]> {
  return (await server.cli("HVALS", "lk-jwt:jobs")).match(/syd_\w+/g)?.sort() ?? [];
}

Deno.test("a Redis that is frozen holds nobody up, and gets later what it missed", async () => {
  await using server = await RedisServer.start();
  await using replica = await Replica.open(server.url);
  const [before, during, over] = [sampleJob(1), sampleJob(2), sampleJob(3)];
  await replica.accept(before);
  await replica.accept(over);

  let hasReconnected = false;
  replica.connection.client.once("reconnecting", () => hasReconnected = true);

  server.freeze();
  const frozenAt = performance.now();
  const first = await timed(replica.accept(during));
  assert.deepEqual(first.result, { owner: "here", isDurable: false });
  assert.ok(first.tookMs < PATIENCE_MS, `${first.tookMs}`);
  // From then on nobody waits at all.
  const later = await timed(replica.accept(sampleJob(4)));
  assert.deepEqual(later.result, { owner: "here", isDurable: false });
  assert.ok(later.tookMs < 200, `${later.tookMs}`);
  const event = { type: "joined", room: "elsewhere" as RoomAlias, identity: "x", sid: "PA_1" } as const;
  const routed = await timed(replica.store.route(event));
  assert.equal(routed.result, "here");
  assert.ok(routed.tookMs < 200, `${routed.tookMs}`);
  replica.store.update({ ...before, state: "leaving" });
  replica.store.update({ ...during, state: "leaving" });
  replica.store.remove(over, over.delayId);

  // A server that took the connection and says nothing may have a successor: long before the socket's own time-out.
  await until(() => hasReconnected, 4700 - (performance.now() - frozenAt));

  // Nobody can take the rooms over: work on them goes on, for new rooms too.
  await until(() => replica.store.leaseMs(before.room) > 0 && replica.store.leaseMs(during.room) > 0);
  assert.match(replica.log.text, /Redis is away/);

  server.thaw();
  await until(async () => (await storedIds(server)).join() === "syd_1,syd_2,syd_4");
  const values = await server.cli("HVALS", "lk-jwt:jobs");
  await until(async () => (await server.cli("HVALS", "lk-jwt:jobs")).match(/"leaving"/g)?.length === 2);
  assert.ok(!values.includes("syd_3"));
  assert.ok(replica.gaps > 0);
  assert.ok(replica.store.leaseMs(during.room) > 0);
  assert.deepEqual(replica.released, []);
});

Deno.test("a job accepted without Redis takes the place of an older one that stands there", async () => {
  await using server = await RedisServer.start();
  const { field, value } = encodeJob(sampleJob(1));
  await server.cli("HSET", "lk-jwt:jobs", field, value);
  server.freeze();
  await using replica = await Replica.open(server.url);
  const next = sampleJob(1, { delayId: "syd_next" });
  assert.equal((await replica.accept(next)).isDurable, false);
  server.thaw();
  await until(async () => (await storedIds(server)).join() === "syd_next");
  assert.equal(replica.jobs.get(keyText(next))?.delayId, "syd_next");
  await until(() => replica.store.leaseMs(next.room) > 0);
});

Deno.test("a Redis that comes back without its data gets all jobs again", async () => {
  await using server = await RedisServer.start();
  await using one = await Replica.open(server.url);
  await using two = await Replica.open(server.url);
  await shared(one, two);
  for (let n = 0; n < 300; n++) await (n % 2 === 0 ? one : two).accept(sampleJob(n));
  await until(() => one.jobs.size + two.jobs.size === 300);
  const leaving = sampleJob(numberOf(one));
  one.store.update({ ...leaving, state: "leaving" });
  await sleepFor(100);

  await server.kill();
  assert.equal((await one.accept(sampleJob(1000))).isDurable, false);
  await server.run();
  await until(async () => (await storedIds(server)).length === 301);
  assert.match(await server.cli("HVALS", "lk-jwt:jobs"), /"leaving"/);
  await until(() => one.gaps > 0 && two.gaps > 0);
  await until(() => one.jobs.size + two.jobs.size === 301);
  for (const job of one.jobs.values()) assert.equal(two.store.leaseMs(job.room), 0);
  await until(() => [...one.jobs.values()].every(({ room }) => one.store.leaseMs(room) > 0));
});

Deno.test("a room that another replica took up in a Redis without data gets all its jobs again", async () => {
  await using server = await RedisServer.start();
  await using line = new CutLine(server.port);
  await using near = await Replica.open(server.url);
  await using far = await Replica.open(`redis://127.0.0.1:${line.port}`);
  await shared(near, far);
  const n = numberOf(far);
  await far.accept(sampleJob(n));
  line.cut();
  await server.kill();
  assert.equal((await near.accept(sampleJob(n + 100))).isDurable, false);
  await server.run();
  await until(() => near.jobs.has(keyText(sampleJob(n + 100))) && near.store.leaseMs(sampleJob(n).room) > 0);
  assert.deepEqual(await storedIds(server), [`syd_${n + 100}`]);
  // No share of the rooms goes back to it.
  far.fits = 0;
  line.mend();
  await until(() => near.jobs.size === 2 && far.jobs.size === 0);
  assert.ok([n, n + 100].every((n) => near.jobs.has(keyText(sampleJob(n)))));
  assert.deepEqual(await storedIds(server), [`syd_${n}`, `syd_${n + 100}`].sort());
  assert.ok(far.released.includes(sampleJob(n).room));
});

Deno.test("a start without Redis takes two seconds at most, and Redis is found as soon as it is there", async () => {
  await using server = await RedisServer.start();
  await server.kill();
  const replica = new Replica(server.url);
  await using _ = replica;
  assert.ok((await timed(replica.open())).tookMs < PATIENCE_MS);
  assert.deepEqual(await replica.accept(sampleJob(1)), { owner: "here", isDurable: false });
  await until(() => replica.store.leaseMs(sampleJob(1).room) > 0);
  replica.store.update(sampleJob(1, { state: "leaving" }));
  await replica.accept(sampleJob(2));
  replica.store.remove(sampleJob(2), "syd_2");
  await server.run();
  await until(async () => (await storedIds(server)).join() === "syd_1");
  assert.match(await server.cli("HVALS", "lk-jwt:jobs"), /"leaving"/);
  await until(() => replica.store.leaseMs(sampleJob(1).room) > 0);
  assert.equal(replica.gaps, 0);
});

Deno.test("a client that gave up is made to connect again", async () => {
  await using server = await RedisServer.start();
  await using replica = await Replica.open(server.url);
  await replica.accept(sampleJob(1));
  replica.connection.client.disconnect();
  await until(() => replica.connection.client.status === "end");
  assert.equal((await replica.accept(sampleJob(2))).isDurable, false);
  await until(async () => (await storedIds(server)).join() === "syd_1,syd_2");
  assert.equal((await replica.accept(sampleJob(3))).isDurable, true);
});

Deno.test("a close without Redis takes two seconds at most", async () => {
  await using server = await RedisServer.start();
  await using replica = await Replica.open(server.url);
  await replica.accept(sampleJob(1));
  server.freeze();
  replica.store.update(sampleJob(1, { state: "leaving" }));
  const { tookMs } = await timed(replica.store.close());
  server.thaw();
  assert.ok(tookMs < PATIENCE_MS + 500, `${tookMs}`);
  assert.match(replica.log.text, /are lost/);
});

Deno.test("a replica that alone cannot reach Redis works on, and lets go of what was taken over", async () => {
  await using server = await RedisServer.start();
  await using line = new CutLine(server.port);
  await using near = await Replica.open(server.url);
  await using far = await Replica.open(`redis://127.0.0.1:${line.port}`);
  await shared(near, far);
  const [n, other] = [numberOf(far), numberOf(near)];
  const job = sampleJob(n);
  await far.accept(job);
  line.cut();
  await until(() => near.jobs.has(keyText(job)));
  await until(() => far.store.leaseMs(job.room) > 0);
  // Delegated at the replica that is cut off, for a room that is the other one's by now.
  const late = sampleJob(n + 100);
  assert.equal(late.room, job.room);
  assert.deepEqual(await far.accept(late), { owner: "here", isDurable: false });
  // And for one that never was this one's.
  await near.accept(sampleJob(other));
  assert.deepEqual(await far.accept(sampleJob(other + 100)), { owner: "here", isDurable: false });
  const eventOf = (n: number) => {
    return { type: "joined", room: job.room, identity: job.identity, sid: `PA_${n}` } as const;
  };
  for (const n of [1, 2]) assert.equal(await far.store.route(eventOf(n)), "here");
  far.store.update({ ...job, state: "leaving", sessions: {} });

  // No share of the rooms goes back to it.
  far.fits = 0;
  line.mend();
  // As early as can be, those before it not sent yet.
  while (!far.connection.isUp) await new Promise((resolve) => setImmediate(resolve));
  await far.store.route(eventOf(3));
  await until(() => far.released.includes(job.room) && far.released.includes(sampleJob(other).room));
  // One whose passing on took too long is passed on again.
  const heard = (type: string) => {
    return [...new Set(near.events.filter((event) => event.type === type).map(({ sid }) => sid))];
  };
  await until(() => near.jobs.has(keyText(late)) && heard("joined").length === 3 && heard("left").length > 0);
  assert.deepEqual(heard("joined"), ["PA_1", "PA_2", "PA_3"]);
  // What the other one has seen of a participant whose job is here: of which session, its job does not tell.
  assert.deepEqual(heard("left"), [""]);
  await until(() => near.jobs.size === 4 && far.jobs.size === 0);
  assert.doesNotMatch(await server.cli("HVALS", "lk-jwt:jobs"), /"leaving"/);
});

Deno.test("a failover by Sentinel is followed, and jobs go on at the new master", async () => {
  await using master = await RedisServer.start();
  await using heir = await RedisServer.start(["--replicaof", "127.0.0.1", `${master.port}`]);
  await using sentinel = await RedisServer.startSentinel(master, "mymaster");
  await until(async () => (await sentinel.cli("SENTINEL", "replicas", "mymaster")).includes(`${heir.port}`));
  await until(async () => (await heir.cli("INFO", "replication")).includes("master_link_status:up"));

  const url = `redis+sentinel://127.0.0.1:${sentinel.port}/mymaster/0`;
  await using one = await Replica.open(url);
  await using two = await Replica.open(url);
  for (let n = 0; n < 20; n++) assert.equal((await (n % 2 === 0 ? one : two).accept(sampleJob(n))).isDurable, true);

  master.freeze();
  assert.equal((await one.accept(sampleJob(50))).isDurable, false);
  await until(async () => (await heir.cli("INFO", "replication")).includes("role:master"));
  await until(async () => (await storedIds(heir)).length === 21);
  await until(async () => (await two.accept(sampleJob(60))).isDurable);
  await until(() => [...one.jobs.values()].every(({ room }) => one.store.leaseMs(room) > 0));
  // Who came back second hears at its own pace what the first one took over.
  await until(() => one.jobs.size + two.jobs.size === 22);
  master.thaw();
});
