// The scripts by themselves: what a replica may still do once its lease is over, before and after another one has taken
// its room up.

import assert from "node:assert/strict";
import { setTimeout as sleepFor } from "node:timers/promises";
import type { RoomAlias } from "../../lib/livekit/identity.ts";
import { RedisCommands, type Write } from "../../lib/leave/store/redis/commands.ts";
import { RedisConnection } from "../../lib/leave/store/redis/connection.ts";
import type { StoredJob } from "../../lib/leave/store/store.ts";
import { encodeJob } from "../../lib/leave/store/stored_job.ts";
import { RecordingLog } from "../../testing/recording_log.ts";
import { targetOf, until } from "./replica.ts";
import { RedisServer } from "../../testing/redis_server.ts";
import { sampleJob } from "../leave/sample_jobs.ts";

const LONG_MS = 60_000;
const SHORT_MS = 30;

interface Stage {
  readonly server: RedisServer;
  readonly one: RedisCommands;
  readonly two: RedisCommands;
}

async function onStage(test: (stage: Stage) => Promise<void>): Promise<void> {
  await using server = await RedisServer.start();
  const connections = ["one", "two"].map((replica) => {
    return new RedisConnection({
      target: targetOf(server.socketUrl),
      replica,
      monotonicNow: () => performance.now(),
      log: new RecordingLog(),
    });
  });
  try {
    for (const connection of connections) {
      connection.start({ connected() {}, woken() {}, roomsFreed() {} });
      await until(() => connection.client.status === "ready");
    }
    const [one, two] = connections.map((connection) => new RedisCommands(connection));
    if (one === undefined || two === undefined) throw new TypeError("two connections");
    await test({ server, one, two });
  } finally {
    await Promise.all(connections.map((connection) => connection.close()));
  }
}

const JOB = sampleJob(1);

/** One has accepted a job, and its lease is over; what it was told. */
async function lapse({ one, two }: Stage): Promise<string> {
  await two.beat(LONG_MS);
  await one.beat(SHORT_MS);
  const reply = await one.accept(JOB.room, encodeJob(JOB), false);
  if (reply.owner !== "here") throw new TypeError(reply.owner);
  await sleepFor(2 * SHORT_MS);
  return reply.token;
}

function write(action: Write["action"], job: StoredJob, token: string): Write {
  return { action, room: job.room, token, delayId: job.delayId, ...encodeJob(job) };
}

async function stored(server: RedisServer): Promise<string> {
  return await server.cli("HVALS", "lk-jwt:jobs");
}

Deno.test("once a room is another's, nothing that its old owner writes, removes or takes has any effect", () =>
  onStage(async (stage) => {
    const { server, one, two } = stage;
    const token = await lapse(stage);
    assert.equal((await two.beat(LONG_MS)).freeRooms, 1);
    const { rooms } = await two.claim(10);
    assert.deepEqual(rooms.map(({ room, jobs }) => [room, jobs.length]), [[JOB.room, 1]]);
    assert.notEqual(rooms[0]?.token, token);
    await two.write([write("put", { ...JOB, hint: "left" }, rooms[0]?.token ?? "")]);
    const before = await stored(server);
    assert.match(before, /"Hint":"left"/);

    // With a lease of its own again, but the old token.
    await one.beat(LONG_MS);
    const late = [write("put", { ...JOB, state: "leaving" }, token), write("remove", JOB, token)];
    assert.deepEqual((await one.write(late)).map(({ outcome }) => outcome), ["lost", "lost"]);
    assert.equal(await stored(server), before);
    const event = { type: "joined", room: JOB.room, identity: JOB.identity, sid: "PA_1" } as const;
    assert.equal(await one.route(event), "elsewhere");
    assert.deepEqual(await one.take([[JOB.room, token]]), []);
    assert.deepEqual((await one.reclaim([[JOB.room, token]])).map(({ token }) => token), [null]);
    const [taken] = await two.take([[JOB.room, rooms[0]?.token ?? ""]]);
    assert.deepEqual(taken?.arrivals, [{ type: "event", event }]);
  }));

Deno.test("a session lasts as long as the lease, and is never seen again after it", () =>
  onStage(async ({ one, two, server }) => {
    const { session } = await one.beat(SHORT_MS);
    assert.equal((await one.beat(SHORT_MS)).session, session);
    await sleepFor(2 * SHORT_MS);
    const next = await one.beat(SHORT_MS);
    assert.notEqual(next.session, session);
    await sleepFor(2 * SHORT_MS);
    await two.beat(SHORT_MS);
    assert.notEqual((await one.beat(LONG_MS)).session, next.session);
    await server.cli("FLUSHALL");
    const afterLoss = await one.beat(LONG_MS);
    assert.ok(![session, next.session].includes(afterLoss.session));
    assert.equal((await one.beat(LONG_MS)).session, afterLoss.session);
  }));

Deno.test("without a lease nothing is claimed", () =>
  onStage(async (stage) => {
    const token = await lapse(stage);
    const { one } = stage;
    const other = sampleJob(2);
    assert.deepEqual(await one.accept(other.room, encodeJob(other), false), { owner: "lapsed" });
    assert.deepEqual(await one.claim(10), { left: 0, rooms: [] });
    await assert.rejects(one.reclaim([[JOB.room, token]]), /lease/);
    assert.equal((await stored(stage.server)).split("\n").length, 1);
  }));

Deno.test("a room whose owner's lease is over can be taken up before anybody has noticed", () =>
  onStage(async (stage) => {
    await lapse(stage);
    const { two } = stage;
    const other = sampleJob(101);
    const reply = await two.accept(other.room, encodeJob(other), false);
    assert.ok(reply.owner === "here");
    assert.deepEqual(reply.jobs, [encodeJob(JOB)]);
  }));

Deno.test("an owner that comes back in time keeps its room, though it stood there for others", () =>
  onStage(async (stage) => {
    const token = await lapse(stage);
    const { one, two } = stage;
    await two.repair(); // which puts it there
    await one.beat(LONG_MS);
    assert.deepEqual(await two.claim(10), { left: 0, rooms: [] });
    assert.deepEqual((await one.reclaim([[JOB.room, token]])).map(({ token }) => token), [token]);
    assert.deepEqual(await one.mine(), [[JOB.room, token]]);
  }));

Deno.test("a write for another event than the stored one gives that one back", () =>
  onStage(async ({ one, server }) => {
    await one.beat(LONG_MS);
    const next = { ...JOB, delayId: "syd_next" };
    const reply = await one.accept(JOB.room, encodeJob(next), false);
    const token = "token" in reply ? reply.token : "";
    const results = await one.write([write("put", JOB, token), write("remove", JOB, token)]);
    assert.deepEqual(results, [{ outcome: "replaced", value: encodeJob(next).value }, { outcome: "done" }]);
    assert.match(await stored(server), /syd_next/);
  }));

Deno.test("free rooms are claimed in fair shares", () =>
  onStage(async ({ one, two }) => {
    await one.beat(SHORT_MS);
    for (let n = 0; n < 10; n++) await one.accept(`room-${n}` as RoomAlias, encodeJob(sampleJob(n)), false);
    await sleepFor(2 * SHORT_MS);
    await two.beat(LONG_MS);
    await one.beat(LONG_MS);
    assert.equal((await two.claim(100)).rooms.length, 5);
    assert.equal((await two.claim(1)).rooms.length, 1);
    assert.deepEqual((await one.claim(100)).left, 2);
  }));
