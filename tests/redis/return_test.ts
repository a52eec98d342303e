// Redis is back, and each replica has something that the others do not know: events handed over meanwhile, the older after
// the newer; participants who came and went.

import assert from "node:assert/strict";
import { keyText } from "../../lib/leave/machine/job.ts";
import type { StoreScript } from "../../lib/leave/store/redis/scripts.ts";
import type { ParticipantEvent } from "../../lib/leave/store/store.ts";
import { CutLine } from "./cut_line.ts";
import { Replica, until } from "./replica.ts";
import { RedisServer } from "../../testing/redis_server.ts";
import { sampleJob } from "../leave/sample_jobs.ts";

const ROOM = sampleJob(1).room;
const EVENT: ParticipantEvent = { type: "joined", room: ROOM, identity: "identity-1", sid: "PA_1", createdAt: 5 };

async function storedIds(server: RedisServer): Promise<string[]> {
  return (await server.cli("HVALS", "lk-jwt:jobs")).match(/syd_\w+/g)?.sort() ?? [];
}

/** Holds a script of a replica back, before it is sent or when it is answered, until the gate is opened. */
function gate({ connection }: Replica, held: StoreScript, when: "sent" | "answered") {
  const run = connection.run.bind(connection);
  const [opened, reached] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const hold = (script: StoreScript) => {
    if (script !== held) return;
    reached.resolve();
    return opened.promise;
  };
  connection.run = async (script, ...args) => {
    if (when === "sent") await hold(script);
    const reply = await run(script, ...args);
    if (when === "answered") await hold(script);
    return reply;
  };
  return { open: () => opened.resolve(), reached: reached.promise };
}

const OLD = sampleJob(1, { delayId: "syd_old", delegatedAt: 10_000 });
const NEW = sampleJob(1, { delayId: "syd_new", delegatedAt: 10_001 });

Deno.test("of two events that a participant handed over elsewhere while Redis was away, the later one counts", async () => {
  await using server = await RedisServer.start();
  await using line = new CutLine(server.port);
  await using near = await Replica.open(server.url);
  await using far = await Replica.open(`redis://127.0.0.1:${line.port}`);
  line.cut();
  await server.kill();
  await Promise.all([far.accept(OLD), near.accept(NEW)]);
  await server.run();
  await until(async () => (await storedIds(server)).join() === "syd_new");
  line.mend();
  await until(() => far.released.includes(ROOM));
  assert.deepEqual(await storedIds(server), ["syd_new"]);
  assert.equal(far.jobs.size, 0);
  // The owner has been told to look, and looks.
  await until(async () => await server.cli("EXISTS", `{lk-jwt:jobs}:events:"${ROOM}"`) === "0");
  assert.equal(near.jobs.get(keyText(NEW))?.delayId, "syd_new");
});

Deno.test("the owner of a room takes up the later event of a participant, though it comes back with the earlier", async () => {
  await using server = await RedisServer.start();
  await using owner = await Replica.open(server.url);
  await using other = await Replica.open(server.url);
  await owner.accept(sampleJob(101));
  const [ofOwner, ofOther] = [gate(owner, "leaveAccept", "sent"), gate(other, "leaveAccept", "sent")];
  await server.kill();
  await Promise.all([owner.accept(OLD), other.accept(NEW)]);
  await server.run();
  await until(async () => (await server.cli("HGET", "{lk-jwt:jobs}:owners", `"${ROOM}"`)).length > 0);
  ofOther.open();
  await until(async () => (await storedIds(server)).includes("syd_new"));
  ofOwner.open();
  await until(() => owner.jobs.get(keyText(NEW))?.delayId === "syd_new");
  assert.deepEqual(await storedIds(server), ["syd_101", "syd_new"]);
  assert.ok(owner.jobs.has(keyText(sampleJob(101))));
});

Deno.test("an event handed over right now takes the place of another one, whatever the clocks of the replicas say", async () => {
  await using server = await RedisServer.start();
  await using one = await Replica.open(server.url);
  await using two = await Replica.open(server.url);
  for (const replica of [one, two]) {
    const next = sampleJob(1, {
      delayId: `syd_next_${replica.jobs.size}_${replica.connection.replica[0]}`,
      delegatedAt: 1,
    });
    await two.accept(NEW);
    await replica.accept(next);
    assert.deepEqual(await storedIds(server), [next.delayId]);
  }
});

Deno.test("who takes a room over hears from the one before who came and went while Redis was out of its reach", async () => {
  await using server = await RedisServer.start();
  await using line = new CutLine(server.port);
  await using near = await Replica.open(server.url);
  await using far = await Replica.open(`redis://127.0.0.1:${line.port}`);
  const [come, gone, same] = [1, 101, 201].map((n) => sampleJob(n, { state: "waiting", sessions: {} }));
  assert.ok(come !== undefined && gone !== undefined && same !== undefined);
  for (const job of [come, gone, same]) await far.accept(job);
  line.cut();
  far.store.update({ ...come, state: "connected", sessions: { [come.identity]: "PA_9" } });
  far.store.update({ ...gone, state: "leaving" });
  await until(() => near.jobs.size === 3);
  line.mend();
  await until(() => near.events.length === 2);
  assert.deepEqual(near.events.map(({ createdAt: _, ...event }) => event), [
    { type: "joined", room: ROOM, identity: come.identity, sid: "PA_9" },
    { type: "left", room: ROOM, identity: gone.identity, sid: "", reason: "" },
  ]);
  assert.equal(far.jobs.size, 0);
});

Deno.test("what was told while Redis was away is told again once it is back: the job may have come since", async () => {
  await using server = await RedisServer.start();
  await using replica = await Replica.open(server.url);
  await server.kill();
  assert.equal(await replica.store.route(EVENT), "here");
  assert.deepEqual(replica.events, []);
  await server.run();
  await until(() => replica.events.length > 0);
  assert.deepEqual(replica.events, [EVENT]);
});

Deno.test("a Redis without data gets the jobs of a room also when another one is handed in there meanwhile", async () => {
  await using server = await RedisServer.start();
  await using replica = await Replica.open(server.url);
  // Lest the room's token be the same again by chance.
  for (const n of [2, 1]) await replica.accept(sampleJob(n));
  replica.store.remove(sampleJob(2), "syd_2");
  await until(async () => (await storedIds(server)).join() === "syd_1");
  const { open, reached } = gate(replica, "leaveReclaim", "answered");
  await server.kill();
  await server.run();
  await reached;
  assert.deepEqual(await replica.accept(sampleJob(101)), { owner: "here", isDurable: true });
  open();
  await until(async () => (await storedIds(server)).join() === "syd_1,syd_101");
});
