// The manager with a scripted SFU, homeserver and store around it: one story per rule.

import assert from "node:assert/strict";
import type { Identity } from "../../lib/livekit/identity.ts";
import { FAILED_IS_GONE, UNRECOGNIZED_IS_GONE } from "../simulation/sabotage.ts";
import { inCall } from "../simulation/in_call.ts";
import { person, World } from "../simulation/world.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

const nobody = { waiting: 0, connected: 0, leaving: 0 };

Deno.test("a job is stored before it is accepted", async () => {
  const { world } = await inCall();
  assert.equal(world.store.jobs.size, 1);
  await world.close();
});

Deno.test("a participant who is there already is found at once, and their event restarted", async () => {
  const { world, calls } = await inCall();
  assert.deepEqual(world.manager.counts, { ...nobody, connected: 1 });
  assert.equal(calls("restart"), 1);
  await world.close();
});

Deno.test("whoever leaves is checked once, and then their leave is sent", async () => {
  const { world, alice, end } = await inCall();
  world.sfu.leave(alice.room, alice.identity, "CLIENT_INITIATED");
  await world.time.advance(100);
  assert.equal(end(), "sent");
  assert.deepEqual(world.manager.counts, nobody);
  assert.equal(world.store.jobs.size, 0);
  await world.close();
});

Deno.test("the same event delegated again changes nothing", async () => {
  const { world, alice, calls } = await inCall();
  const asked = world.sfu.asked.participants;
  await world.manager.accept({ ...alice, homeserver: [...world.delegations.values()][0]!.homeserver });
  await world.time.advance(1000);
  assert.deepEqual([calls("restart"), world.sfu.asked.participants], [1, asked]);
  await world.close();
});

Deno.test("a new event takes the place of the old one, which is canceled, and the session goes on", async () => {
  const { world, alice, end, calls } = await inCall({}, 10_000);
  await world.delegate({ ...alice, delayId: "syd_new" });
  assert.deepEqual(world.manager.counts, { ...nobody, connected: 1 });
  await world.time.advance(MINUTE);
  assert.deepEqual([calls("restart", "syd_new") >= 7, calls("restart"), end("syd_new")], [true, 1, undefined]);
  assert.equal(end(), "canceled");
  world.sfu.leave(alice.room, alice.identity, "CLIENT_INITIATED");
  await world.time.advance(100);
  assert.equal(end("syd_new"), "sent");
  await world.close();
});

Deno.test("the same event under another identity is one job, and both identities stay watched", async () => {
  const { world, alice } = await inCall();
  const legacy = alice.watched[1] as Identity;
  await world.delegate({ ...alice, identity: legacy, watched: [legacy] });
  assert.deepEqual(world.manager.counts, { ...nobody, connected: 1 });
  assert.equal(world.store.jobs.size, 1);
  await world.time.advance(10 * MINUTE);
  assert.equal(world.homeserver.look(alice.delayId)?.end, null);
  world.sfu.leave(alice.room, alice.identity, "CLIENT_INITIATED");
  await world.time.advance(100);
  assert.equal(world.homeserver.look(alice.delayId)?.end?.how, "sent");
  await world.close();
});

Deno.test("whoever is connected by either identity has not left", async () => {
  const { world, alice, end } = await inCall();
  const legacy = alice.watched[1] as Identity;
  world.sfu.join(alice.room, legacy);
  await world.time.advance(100);
  world.sfu.leave(alice.room, alice.identity, "CLIENT_INITIATED");
  await world.time.advance(5 * MINUTE);
  assert.equal(end(), undefined);
  world.sfu.leave(alice.room, legacy, "CLIENT_INITIATED");
  await world.time.advance(1000);
  assert.equal(end(), "sent");
  await world.close();
});

Deno.test("a reconnect is not a leave, even while the SFU cannot be asked", async () => {
  const { world, alice, end } = await inCall();
  world.sfu.api = "refusing";
  for (let count = 0; count < 5; count++) {
    world.sfu.join(alice.room, alice.identity);
    await world.time.advance(30_000);
  }
  assert.deepEqual([end(), world.manager.counts.connected], [undefined, 1]);
  await world.close();
});

Deno.test("a leave webhook is enough when the SFU cannot be asked", async () => {
  const { world, alice, end } = await inCall();
  world.sfu.api = "refusing";
  world.sfu.leave(alice.room, alice.identity, "CLIENT_INITIATED");
  await world.time.advance(1500);
  assert.equal(end(), "sent");
  world.assertNoViolations();
  await world.close();
});

Deno.test("a job that comes after its participant has left waits a minute for them, not an hour", async () => {
  const world = await World.create();
  const alice = person(1, 1, HOUR);
  world.sfu.join(alice.room, alice.identity);
  await world.time.advance(1000);
  world.sfu.leave(alice.room, alice.identity, "CLIENT_INITIATED");
  await world.time.advance(2 * MINUTE);
  await world.delegate(alice);
  await world.time.advance(59_000);
  assert.equal(world.homeserver.look(alice.delayId)?.end, null);
  await world.time.advance(2000);
  assert.equal(world.homeserver.look(alice.delayId)?.end?.how, "sent");
  await world.close();
});

Deno.test("somebody who never comes is sent off after five minutes at the latest", async () => {
  const world = await World.create();
  const alice = person(1, 1, 24 * HOUR);
  await world.delegate(alice);
  await world.time.advance(5 * MINUTE - 1000);
  assert.equal(world.homeserver.look(alice.delayId)?.end, null);
  await world.time.advance(2000);
  assert.equal(world.homeserver.look(alice.delayId)?.end?.how, "sent");
  await world.close();
});

Deno.test("a client that gave its connection up by itself keeps its event", async () => {
  const world = await World.create();
  const alice = person(1, 1, HOUR);
  await world.delegate(alice);
  world.sfu.abort(alice.room, alice.identity, "CLIENT_INITIATED");
  await world.time.advance(61_000);
  assert.deepEqual([world.manager.counts, world.endsOf(alice.delayId)], [nobody, ["aborted"]]);
  assert.equal(world.homeserver.calls.length, 0);
  await world.close();
});

Deno.test("a client that gives one attempt up and makes another within a minute is in the call", async () => {
  const world = await World.create();
  const alice = person(1, 1, HOUR);
  await world.delegate(alice);
  world.sfu.abort(alice.room, alice.identity, "CLIENT_INITIATED");
  await world.time.advance(50_000);
  world.sfu.join(alice.room, alice.identity);
  await world.time.advance(10 * MINUTE);
  assert.deepEqual(world.manager.counts, { ...nobody, connected: 1 });
  await world.close();
});

Deno.test("after a crash of the SFU, whoever does not come back is gone within 130 s, and nobody else", async () => {
  const { world, alice, end } = await inCall({}, 10_000);
  const bob = person(2, 1, 10_000);
  world.sfu.join(bob.room, bob.identity);
  await world.delegate(bob);
  await world.time.advance(MINUTE);
  world.sfu.crash();
  await world.time.advance(50_000);
  world.sfu.join(bob.room, bob.identity);
  await world.time.advance(80_000);
  assert.deepEqual([end(alice.delayId), end(bob.delayId)], ["sent", undefined]);
  await world.close();
});

Deno.test("without any webhook a leave is noticed within 80 s, and the operator is told", async () => {
  const world = await World.create({ pollIntervalMs: 0 });
  world.sfu.webhooks = "lost";
  const alice = person(1, 1, 10_000);
  world.sfu.join(alice.room, alice.identity);
  await world.delegate(alice);
  await world.time.advance(5 * MINUTE);
  world.sfu.leave(alice.room, alice.identity, "CLIENT_INITIATED");
  await world.time.advance(80_000);
  assert.equal(world.homeserver.look(alice.delayId)?.end?.how, "sent");
  assert.match(world.log.text, /No webhook of LiveKit has ever arrived/);
  await world.close();
});

Deno.test("a leave outlasts a homeserver that is down for half an hour", async () => {
  const { world, alice, end } = await inCall();
  world.homeserver.mode = "away";
  world.sfu.leave(alice.room, alice.identity, "CLIENT_INITIATED");
  await world.time.advance(30 * MINUTE);
  world.homeserver.mode = "up";
  await world.time.advance(MINUTE);
  assert.equal(end(), "sent");
  await world.close();
});

Deno.test("whoever came back, unnoticed, while their leave waited in the queue is checked before it is sent", async () => {
  const { world, alice, end } = await inCall();
  const others = Array.from({ length: 30 }, (_, index) => person(10 + index, 2, HOUR));
  for (const other of others) {
    world.sfu.join(other.room, other.identity);
    await world.delegate(other);
  }
  await world.time.advance(MINUTE);
  world.homeserver.mode = "away";
  for (const other of others) world.sfu.leave(other.room, other.identity, "CLIENT_INITIATED");
  await world.time.advance(1000);
  world.sfu.leave(alice.room, alice.identity, "CLIENT_INITIATED");
  await world.time.advance(1000);
  world.sfu.webhooks = "lost";
  world.sfu.join(alice.room, alice.identity);
  await world.time.advance(2 * MINUTE);
  world.homeserver.mode = "up";
  await world.time.advance(2 * MINUTE);
  assert.ok(others.every(({ delayId }) => end(delayId) === "sent"));
  assert.deepEqual([end(), world.manager.counts], [undefined, { ...nobody, connected: 1 }]);
  world.assertNoViolations();
  await world.close();
});

Deno.test("a homeserver that stays down is asked until an hour past the deadline, and the loss is an error", async () => {
  const { world, alice } = await inCall({}, 10_000);
  world.homeserver.mode = "away";
  await world.time.advance(55 * MINUTE);
  assert.equal(world.manager.counts.connected, 1);
  await world.time.advance(10 * MINUTE);
  assert.deepEqual([world.manager.counts, world.endsOf(alice.delayId)], [nobody, ["expired"]]);
  assert.equal(world.log.of("error").length, 1);
  await world.close();
});

Deno.test("a blip is not an end", async () => {
  for (const [options, count] of [[{}, 1], [FAILED_IS_GONE, 0]] as const) {
    const { world } = await inCall(options, 10_000);
    world.homeserver.mode = "broken";
    await world.time.advance(7500);
    world.homeserver.mode = "up";
    await world.time.advance(MINUTE);
    assert.equal(world.manager.counts.connected, count);
    await world.close();
  }
});

Deno.test("a route that is missing for some seconds ends nothing", async () => {
  const { world, end } = await inCall({}, 10_000);
  await world.time.advance(6500);
  world.homeserver.mode = "misrouted";
  await world.time.advance(2000);
  world.homeserver.mode = "up";
  await world.time.advance(10 * MINUTE);
  assert.deepEqual([end(), world.manager.counts.connected], [undefined, 1]);
  await world.close();
});

Deno.test("a route that stays away ends a job as refused when its event has fired, with advice, and not as gone", async () => {
  for (const [options, end] of [[{}, "refused"], [UNRECOGNIZED_IS_GONE, "gone"]] as const) {
    const { world, alice } = await inCall(options, 10_000);
    world.homeserver.mode = "misrouted";
    await world.time.advance(MINUTE);
    assert.deepEqual(world.endsOf(alice.delayId), [end]);
    const advice = world.log.of("error").map(({ fields }) => fields.advice);
    assert.equal(advice.length > 0, end === "refused");
    if (end === "refused") assert.match(String(advice[0]), /org\.matrix\.msc4140/);
    await world.close();
  }
});

Deno.test("jobs outlive the service: those who stayed stay, those who left meanwhile are sent off", async () => {
  const { world, alice, end } = await inCall();
  const bob = person(2, 1, HOUR);
  world.sfu.join(bob.room, bob.identity);
  await world.delegate(bob);
  await world.time.advance(1000);
  world.sfu.webhooks = "lost";
  world.sfu.leave(bob.room, bob.identity, "CLIENT_INITIATED");
  await world.restartService(20_000);
  await world.time.advance(65_000);
  assert.deepEqual([end(alice.delayId), end(bob.delayId)], [undefined, "sent"]);
  assert.deepEqual(world.manager.counts, { ...nobody, connected: 1 });
  await world.close();
});

Deno.test("when the store was away everybody is checked, one list a room", async () => {
  const { world } = await inCall();
  const { lists } = world.sfu.asked;
  for (let n = 10; n < 30; n++) await world.delegate(person(n, n % 2, HOUR));
  world.store.gap();
  await world.time.advance(1000);
  assert.equal(world.sfu.asked.lists, lists + 2);
  world.store.gap();
  await world.time.advance(1000);
  assert.equal(world.sfu.asked.lists, lists + 4);
  await world.close();
});

Deno.test("one poll asks once a room, however many are in it", async () => {
  const world = await World.create();
  for (let n = 0; n < 40; n++) {
    const one = person(n, n % 4, HOUR);
    world.sfu.join(one.room, one.identity);
    await world.delegate(one);
  }
  await world.time.advance(66_000);
  assert.equal(world.sfu.asked.lists, 4);
  await world.close();
});

Deno.test("closing leaves the jobs stored, and does nothing more", async () => {
  const { world, alice, end } = await inCall();
  await world.close();
  const calls = world.homeserver.calls.length;
  world.sfu.leave(alice.room, alice.identity, "CLIENT_INITIATED");
  await world.time.advance(10 * MINUTE);
  assert.deepEqual([world.homeserver.calls.length, world.store.jobs.size, end()], [calls, 1, undefined]);
});

Deno.test("what is being asked when the service closes is waited for, and its outcome stored", async () => {
  const { world, alice, end } = await inCall();
  world.sfu.leave(alice.room, alice.identity, "CLIENT_INITIATED");
  for (let ms = 0; ms < 1000 && end() === undefined; ms++) await world.time.advance(1);
  // Sent, and not answered yet.
  assert.deepEqual([end(), world.endsOf(alice.delayId), world.store.jobs.size], ["sent", [], 1]);
  let isClosed = false;
  const closing = world.manager.close().then(() => isClosed = true);
  await world.time.advance(1);
  assert.equal(isClosed, false);
  await world.time.advance(100);
  await closing;
  assert.deepEqual([world.endsOf(alice.delayId), world.store.jobs.size], [["sent"], 0]);
  await world.close();
});

Deno.test("a job of a room that another replica works on is stored, and left to it", async () => {
  const { world, alice, end } = await inCall({
    sabotage: (deps) => {
      const accept: typeof deps.store.accept = async (job) => {
        await deps.store.accept(job);
        return { owner: "elsewhere", isDurable: true };
      };
      return { ...deps, store: { ...deps.store, accept } };
    },
  });
  assert.deepEqual([world.manager.counts, world.store.jobs.size], [nobody, 1]);
  world.sfu.leave(alice.room, alice.identity, "CLIENT_INITIATED");
  await world.time.advance(1000);
  assert.equal(end(), undefined);
  await world.close();
});
