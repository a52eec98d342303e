// Redis is back, and each replica has something that the others do not know: events delegated meanwhile, the older after
// the newer; participants who came and went.

import assert from "node:assert/strict";
import { keyText } from "../../lib/leave/machine/job.ts";
import { shardOf } from "../../lib/leave/store/redis/commands.ts";
import { RedisError } from "../../lib/leave/store/redis/connection.ts";
import type { ParticipantEvent, StoredJob } from "../../lib/leave/store/store.ts";
import { CutLine } from "./cut_line.ts";
import { gate, numberOf, Replica, shared, until } from "./replica.ts";
import { RedisServer } from "../../testing/redis_server.ts";
import { sampleJob } from "../leave/sample_jobs.ts";

const ROOM = sampleJob(1).room;
const EVENT: ParticipantEvent = { type: "joined", room: ROOM, identity: "identity-1", sid: "PA_1", createdAt: 5 };

async function storedIds(server: RedisServer): Promise<string[]> {
  return (await server.cli("HVALS", "lk-jwt:jobs")).match(/syd_\w+/g)?.sort() ?? [];
}

function oldAndNew(n: number): [StoredJob, StoredJob] {
  const [old, next] = [10_000, 10_001].map((delegatedAt) =>
    sampleJob(n, { delayId: `syd_${delegatedAt}`, delegatedAt })
  );
  assert.ok(old !== undefined && next !== undefined);
  return [old, next];
}

Deno.test("of two events that a participant delegated elsewhere while Redis was away, the later one counts", async () => {
  await using server = await RedisServer.start();
  await using line = new CutLine(server.port);
  await using near = await Replica.open(server.url);
  await using far = await Replica.open(`redis://127.0.0.1:${line.port}`);
  await shared(near, far);
  const [old, next] = oldAndNew(numberOf(near));
  line.cut();
  await server.kill();
  await Promise.all([far.accept(old), near.accept(next)]);
  await server.run();
  await until(async () => (await storedIds(server)).join() === next.delayId);
  line.mend();
  await until(() => far.released.includes(old.room));
  assert.deepEqual(await storedIds(server), [next.delayId]);
  assert.equal(far.jobs.size, 0);
  assert.equal(near.jobs.get(keyText(next))?.delayId, next.delayId);
});

// Whoever is the first in a Redis without data is given the numbers that were given there before.
for (const isOwnerFirst of [true, false]) {
  const order = `the ${isOwnerFirst ? "first" : "second"} replica to find Redis`;
  Deno.test(`the owner of a room, ${order}, takes up the later event of a participant, though it has the earlier`, async () => {
    await using server = await RedisServer.start();
    await using owner = await Replica.open(server.url);
    await using other = await Replica.open(server.url);
    await shared(owner, other);
    const n = numberOf(owner);
    const [old, next] = oldAndNew(n);
    await owner.accept(sampleJob(n + 100));
    const [ofOwner, ofOther] = [gate(owner, "leaveAccept", "sent"), gate(other, "leaveAccept", "sent")];
    const ofSecond = gate(isOwnerFirst ? other : owner, "leaveBeat", "sent");
    await server.kill();
    await Promise.all([owner.accept(old), other.accept(next)]);
    await server.run();
    await until(async () => (await server.cli("HLEN", "{lk-jwt:jobs}:leases")) === "1");
    ofSecond.open();
    await until(async () => (await server.cli("HLEN", "{lk-jwt:jobs}:leases")) === "2");
    ofOther.open();
    await until(async () => (await storedIds(server)).includes(next.delayId));
    ofOwner.open();
    await until(() => owner.jobs.get(keyText(next))?.delayId === next.delayId);
    await until(async () => (await storedIds(server)).length === 2);
    assert.ok(owner.jobs.has(keyText(sampleJob(n + 100))));
  });
}

Deno.test("an event delegated right now takes the place of another one, whatever the clocks of the replicas say", async () => {
  await using server = await RedisServer.start();
  await using one = await Replica.open(server.url);
  await using two = await Replica.open(server.url);
  for (const replica of [one, two]) {
    const next = sampleJob(1, {
      delayId: `syd_next_${replica.jobs.size}_${replica.connection.replica[0]}`,
      delegatedAt: 1,
    });
    await two.accept(oldAndNew(1)[1]);
    await replica.accept(next);
    assert.deepEqual(await storedIds(server), [next.delayId]);
  }
});

Deno.test("who takes a room over hears from the one before who came and went while Redis was out of its reach", async () => {
  await using server = await RedisServer.start();
  await using line = new CutLine(server.port);
  await using near = await Replica.open(server.url);
  await using far = await Replica.open(`redis://127.0.0.1:${line.port}`);
  await shared(near, far);
  const [come, gone, same] = [0, 100, 200].map((n) => sampleJob(n + numberOf(far), { state: "waiting", sessions: {} }));
  assert.ok(come !== undefined && gone !== undefined && same !== undefined);
  for (const job of [come, gone, same]) await far.accept(job);
  // It comes back to find its rooms another's, and they stay so.
  far.fits = 0;
  line.cut();
  far.store.update({ ...come, state: "connected", sessions: { [come.identity]: "PA_9" } });
  far.store.update({ ...gone, state: "leaving" });
  await until(() => near.jobs.size === 3);
  line.mend();
  await until(() => near.events.length >= 2);
  // Told twice, if telling took too long.
  assert.deepEqual(near.events.slice(0, 2).map(({ createdAt: _, ...event }) => event), [
    { type: "joined", room: come.room, identity: come.identity, sid: "PA_9" },
    { type: "left", room: gone.room, identity: gone.identity, sid: "", reason: "" },
  ]);
  assert.ok(far.released.includes(come.room));
});

Deno.test("a replica that is given its rooms back before it heard that they were another's takes in what came there", async () => {
  await using server = await RedisServer.start();
  await using line = new CutLine(server.port);
  await using near = await Replica.open(server.url);
  await using far = await Replica.open(`redis://127.0.0.1:${line.port}`);
  await shared(near, far);
  const [job, late] = [0, 100].map((n) => sampleJob(n + numberOf(far)));
  assert.ok(job !== undefined && late !== undefined);
  await far.accept(job);
  // The first heartbeat after that is heard, and the answer lost.
  const run = far.connection.run.bind(far.connection);
  let isAnswered = true;
  far.connection.run = async (script, ...args) => {
    const reply = await run(script, ...args);
    if (script !== "leaveBeat" || isAnswered) return reply;
    const owner = () => server.cli("HGET", "{lk-jwt:jobs}:shards", `${shardOf(job.room)}`);
    await until(async () => !(await owner()).startsWith(near.connection.replica));
    isAnswered = true;
    throw new RedisError("no answer");
  };
  line.cut();
  await until(() => near.jobs.has(keyText(job)) && near.store.leaseMs(job.room) > 0);
  assert.deepEqual(await near.accept(late), { owner: "here", isDurable: true });
  isAnswered = false;
  line.mend();
  await until(() => far.jobs.has(keyText(late)) && near.jobs.size === 0);
  assert.ok(far.jobs.has(keyText(job)) && far.gaps > 0);
  assert.deepEqual(far.released, []);
});

Deno.test("what was told while Redis was away is told again once it is back: the job may have come since", async () => {
  await using server = await RedisServer.start();
  await using replica = await Replica.open(server.url);
  await server.kill();
  await until(() => replica.store.leaseMs(ROOM) === 0);
  assert.equal(await replica.store.route(EVENT), "here");
  assert.deepEqual(replica.events, []);
  await server.run();
  await until(() => replica.events.length > 0);
  assert.deepEqual(replica.events, [EVENT]);
});

Deno.test("a Redis without data gets the jobs of a room also when another one is delegated there meanwhile", async () => {
  await using server = await RedisServer.start();
  await using replica = await Replica.open(server.url);
  await replica.accept(sampleJob(1));
  const { open, reached } = gate(replica, "leaveScan", "answered");
  await server.kill();
  await server.run();
  await reached;
  assert.deepEqual(await replica.accept(sampleJob(101)), { owner: "here", isDurable: true });
  open();
  await until(async () => (await storedIds(server)).join() === "syd_1,syd_101");
});

Deno.test("a job that was passed on, and lost by Redis before its owner had read of it, is passed on again", async () => {
  await using server = await RedisServer.start();
  await using owner = await Replica.open(server.url);
  await using other = await Replica.open(server.url);
  await shared(owner, other);
  const job = sampleJob(numberOf(owner));
  const reads = gate(owner, "leaveRead", "sent");
  assert.deepEqual(await other.accept(job), { owner: "elsewhere", isDurable: true });
  await reads.reached;
  await server.kill();
  await server.run();
  reads.open();
  await until(async () => (await storedIds(server)).join() === job.delayId);
  await until(() => owner.jobs.has(keyText(job)) !== other.jobs.has(keyText(job)));
});
