// The scripts by themselves: what a replica may still do once its lease is over, before and after another one has taken
// its shards up, and how shards are shared out.

import assert from "node:assert/strict";
import { setTimeout as sleepFor } from "node:timers/promises";
import {
  type Acceptance,
  type Beat,
  RedisCommands,
  SHARD_COUNT,
  shardOf,
  type Write,
} from "../../lib/leave/store/redis/commands.ts";
import { RedisConnection } from "../../lib/leave/store/redis/connection.ts";
import type { StoredJob } from "../../lib/leave/store/store.ts";
import { encodeJob } from "../../lib/leave/store/stored_job.ts";
import { RecordingLog } from "../../testing/recording_log.ts";
import { targetOf, until } from "./replica.ts";
import { RedisServer } from "../../testing/redis_server.ts";
import { sampleJob } from "../leave/sample_jobs.ts";

const LONG_MS = 60_000;
const SHORT_MS = 250;

interface Stage {
  readonly server: RedisServer;
  readonly one: RedisCommands;
  readonly two: RedisCommands;
}

async function onStage(test: (stage: Stage) => Promise<void>): Promise<void> {
  await using server = await RedisServer.start();
  const connections = ["one", "two"].map((replica) => {
    return new RedisConnection({ target: targetOf(server.socketUrl), replica, log: new RecordingLog() });
  });
  try {
    for (const connection of connections) {
      connection.start(() => {});
      await until(() => connection.client.status === "ready");
    }
    const [one, two] = connections.map((connection) => new RedisCommands(connection));
    assert.ok(one !== undefined && two !== undefined);
    await test({ server, one, two });
  } finally {
    await Promise.all(connections.map((connection) => connection.close()));
  }
}

const JOB = sampleJob(1);
const SHARD = shardOf(JOB.room);
const EVENT = { type: "joined", room: JOB.room, identity: JOB.identity, sid: "PA_1" } as const;

/** One owned all shards and has accepted a job, and its lease is over; its token of the job's shard. */
async function lapse({ one, two }: Stage): Promise<string> {
  const { tokens } = await one.beat(beatOf(SHORT_MS, true, []));
  await two.beat(beatOf(LONG_MS, false, []));
  const results = await one.accept([acceptance(JOB)]);
  assert.deepEqual(results, [{ outcome: "stored", owner: "here", value: null }]);
  await sleepFor(2 * SHORT_MS);
  return tokens.get(SHARD) ?? assert.fail();
}

function acceptance(job: StoredJob, kind: Acceptance["kind"] = "new"): Acceptance {
  return { ...encodeJob(job), shard: shardOf(job.room), kind };
}

function beatOf(leaseMs: number, claims: boolean, held: readonly number[]): Beat {
  return { leaseMs, isFull: false, claims: claims ? "free" : "none", held };
}

function write(action: Write["action"], job: StoredJob, token: string): Write {
  return { action, shard: shardOf(job.room), token, delayId: job.delayId, ...encodeJob(job) };
}

async function stored(server: RedisServer): Promise<string> {
  return await server.cli("HVALS", "lk-jwt:jobs");
}

async function scanned(commands: RedisCommands, shards: readonly number[]): Promise<string[]> {
  const fields: string[] = [];
  for await (const { jobs } of commands.scan(new Set(shards))) fields.push(...jobs.map(({ field }) => field));
  return fields;
}

async function passed(commands: RedisCommands): Promise<unknown[]> {
  const { shards } = await commands.next({ shards: new Map([[SHARD, "0"]]), ownership: "$" });
  return (shards.get(SHARD) ?? []).map(([, entry]) => entry);
}

Deno.test("once a shard is another's, nothing that its old owner writes, removes or takes has any effect", () =>
  onStage(async (stage) => {
    const { server, one, two } = stage;
    const token = await lapse(stage);
    const { tokens } = await two.beat(beatOf(LONG_MS, true, []));
    const next = tokens.get(SHARD) ?? assert.fail();
    assert.notEqual(next, token);
    assert.deepEqual(await scanned(two, [SHARD]), [encodeJob(JOB).field]);
    await two.write([write("put", { ...JOB, hint: "left" }, next)]);
    const before = await stored(server);
    assert.match(before, /"Hint":"left"/);

    // With a lease of its own again, but the old token.
    assert.equal((await one.beat(beatOf(LONG_MS, false, [SHARD]))).tokens.has(SHARD), false);
    const late = [write("put", { ...JOB, state: "leaving" }, token), write("remove", JOB, token)];
    assert.deepEqual((await one.write(late)).map(({ outcome }) => outcome), ["lost", "lost"]);
    assert.equal(await stored(server), before);
    await one.pass([EVENT]);
    const ids = [...(await two.next({ shards: new Map([[SHARD, "0"]]), ownership: "$" })).shards.values()];
    await one.trim([{ shard: SHARD, token, ids: ids.flat().map(([id]) => id) }]);
    await one.release([[SHARD, token]], false);
    assert.deepEqual(await passed(two), [{ type: "event", event: EVENT }]);
    assert.equal((await two.beat(beatOf(LONG_MS, true, []))).tokens.get(SHARD), next);
  }));

Deno.test("a session lasts as long as the lease, and is never seen again after it", () =>
  onStage(async ({ one, two }) => {
    const beat = async (leaseMs: number) => (await one.beat(beatOf(leaseMs, true, []))).session;
    const session = await beat(SHORT_MS);
    assert.equal(await beat(SHORT_MS), session);
    await sleepFor(2 * SHORT_MS);
    const next = await beat(SHORT_MS);
    assert.notEqual(next, session);
    await sleepFor(2 * SHORT_MS);
    await two.beat(beatOf(SHORT_MS, true, []));
    assert.notEqual(await beat(LONG_MS), next);
  }));

Deno.test("no session and no token is seen again in a Redis that has lost its data, or the last of it", () =>
  onStage(async ({ one, server }) => {
    const seen: string[] = [];
    for (const lose of [["SET", "{lk-jwt:jobs}:fence", "0"], ["FLUSHALL"], ["FLUSHALL"]]) {
      const { session, tokens } = await one.beat(beatOf(LONG_MS, true, []));
      seen.push(session, ...tokens.values());
      await server.cli("DEL", "{lk-jwt:jobs}:leases", "{lk-jwt:jobs}:shards");
      await server.cli(...lose);
    }
    assert.equal(new Set(seen).size, 3 * (1 + SHARD_COUNT));
  }));

Deno.test("without a lease nothing is stored", () =>
  onStage(async (stage) => {
    await lapse(stage);
    assert.equal(await stage.one.accept([acceptance(sampleJob(2))]), null);
    assert.equal((await stored(stage.server)).split("\n").length, 1);
  }));

Deno.test("a job for a shard whose owner's lease is over is stored, and found by the next", () =>
  onStage(async (stage) => {
    await lapse(stage);
    const { two } = stage;
    const other = sampleJob(101);
    assert.deepEqual(await two.accept([acceptance(other)]), [{ outcome: "stored", owner: "elsewhere", value: null }]);
    assert.equal((await two.beat(beatOf(LONG_MS, true, []))).tokens.size, SHARD_COUNT);
    assert.deepEqual((await scanned(two, [SHARD])).sort(), [JOB, other].map((job) => encodeJob(job).field).sort());
  }));

Deno.test("an owner that comes back before anybody else claimed its shards keeps them", () =>
  onStage(async (stage) => {
    const token = await lapse(stage);
    const { one } = stage;
    const { tokens } = await one.beat(beatOf(LONG_MS, false, [SHARD]));
    assert.equal(tokens.size, SHARD_COUNT);
    assert.equal(tokens.get(SHARD), token);
  }));

Deno.test("a write for another event than the stored one gives that one back", () =>
  onStage(async ({ one, server }) => {
    const { tokens } = await one.beat(beatOf(LONG_MS, true, []));
    const next = { ...JOB, delayId: "syd_next" };
    await one.accept([acceptance(next)]);
    const token = tokens.get(SHARD) ?? "";
    const results = await one.write([write("put", JOB, token), write("remove", JOB, token)]);
    assert.deepEqual(results, [{ outcome: "replaced", value: encodeJob(next).value }, { outcome: "done" }]);
    assert.match(await stored(server), /syd_next/);
  }));

Deno.test("what is stored already is given back, unless its owner knows better; a later event stays", () =>
  onStage(async ({ one, two }) => {
    await one.beat(beatOf(LONG_MS, true, []));
    await two.beat(beatOf(LONG_MS, true, []));
    await one.accept([acceptance(JOB)]);
    const { value } = encodeJob(JOB);
    const outcomesOf = async (commands: RedisCommands, job: StoredJob, kind: Acceptance["kind"]) => {
      const [result] = await commands.accept([acceptance(job, kind)]) ?? [];
      return [result?.outcome, result?.owner, result?.value];
    };
    const changed = { ...JOB, state: "leaving" } as const;
    assert.deepEqual(await outcomesOf(two, changed, "late"), ["known", "elsewhere", value]);
    assert.deepEqual(await outcomesOf(one, changed, "new"), ["known", "here", value]);
    const earlier = { ...JOB, delayId: "syd_earlier", delegatedAt: JOB.delegatedAt - 1 };
    assert.deepEqual(await outcomesOf(one, earlier, "late"), ["superseded", "here", value]);
    assert.deepEqual(await outcomesOf(one, changed, "late"), ["known", "here", null]);
    assert.deepEqual(await outcomesOf(one, changed, "loaded"), ["known", "here", null]);
    assert.deepEqual(await outcomesOf(two, earlier, "new"), ["stored", "elsewhere", null]);
  }));

Deno.test("each replica is told its share, and claims no more", () =>
  onStage(async ({ one, two }) => {
    await one.beat(beatOf(LONG_MS, false, []));
    const shares = [await two.beat(beatOf(LONG_MS, true, [])), await one.beat(beatOf(LONG_MS, true, []))];
    assert.deepEqual(shares.map(({ share, tokens }) => [share, tokens.size]), [[32, 32], [32, 32]]);
    await one.release(shares[1]?.tokens ?? [], true);
    const alone = await two.beat(beatOf(LONG_MS, true, []));
    assert.deepEqual([alone.replicas, alone.share, alone.tokens.size], [1, 64, 64]);
  }));

Deno.test("a replica whose lease was over leaves the shards of nobody to those who had them", () =>
  onStage(async ({ one }) => {
    const beat: Beat = { leaseMs: SHORT_MS, isFull: false, claims: "unless lapsed", held: [1, 2] };
    assert.deepEqual([...(await one.beat(beat)).tokens.keys()], [1, 2]);
    assert.equal((await one.beat(beat)).tokens.size, SHARD_COUNT);
  }));

Deno.test("a replica that is full keeps what it has, and its share is for the others", () =>
  onStage(async ({ one, two }) => {
    await one.beat({ leaseMs: LONG_MS, isFull: true, claims: "none", held: [1, 2, 3] });
    const rest = await two.beat(beatOf(LONG_MS, true, []));
    assert.deepEqual([rest.replicas, rest.share, rest.tokens.size], [2, 61, 61]);
    const full = await one.beat({ leaseMs: LONG_MS, isFull: true, claims: "none", held: [1, 2, 3] });
    assert.deepEqual([full.share, [...full.tokens.keys()]], [32, [1, 2, 3]]);
    assert.equal((await one.beat(beatOf(LONG_MS, true, [1, 2, 3]))).share, 32);
  }));

Deno.test("values too long to be jobs are removed page by page, and their number told", () =>
  onStage(async ({ one, server }) => {
    const fields = Array.from({ length: 30 }, (_, n) => encodeJob(sampleJob(n)));
    for (const { field, value } of fields.slice(0, 10)) await server.cli("HSET", "lk-jwt:jobs", field, value);
    for (const { field } of fields.slice(10)) await server.cli("HSET", "lk-jwt:jobs", field, "x".repeat(33_000));
    await server.cli("HSET", "lk-jwt:jobs", "a field of its own", "x".repeat(33_000));
    const all = new Set(Array.from({ length: SHARD_COUNT }, (_, shard) => shard));
    const counts = { jobs: 0, tooLong: 0 };
    for await (const { jobs, tooLong } of one.scan(all)) {
      counts.jobs += jobs.length;
      counts.tooLong += tooLong;
    }
    assert.deepEqual(counts, { jobs: 10, tooLong: 20 });
    assert.equal(await server.cli("HLEN", "lk-jwt:jobs"), "11");
    assert.deepEqual([...(await one.read([fields[0]?.field ?? "", "a field of its own"])).keys()], [fields[0]?.field]);
  }));

Deno.test("what the release before kept beside the hash is removed once its replicas are gone", () =>
  onStage(async ({ one, server }) => {
    for (const name of ["owners", "sessions"]) await server.cli("HSET", `{lk-jwt:jobs}:${name}`, "a", "b");
    await server.cli("ZADD", "{lk-jwt:jobs}:fields", "0", "a");
    await server.cli("SADD", "{lk-jwt:jobs}:free", "a");
    await server.cli("ZADD", "{lk-jwt:jobs}:replicas", String(Date.now() + LONG_MS), "alive");
    await scanned(one, [SHARD]);
    assert.equal((await server.cli("KEYS", "*")).split("\n").length, 5);
    await server.cli("ZADD", "{lk-jwt:jobs}:replicas", String(Date.now() - 1), "alive");
    await scanned(one, [SHARD]);
    assert.equal(await server.cli("KEYS", "*"), "");
  }));
