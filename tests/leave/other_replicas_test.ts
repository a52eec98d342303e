// Jobs of events that clients delegated at another replica, as the one that works on the room takes them over.

import assert from "node:assert/strict";
import type { Identity } from "../../lib/livekit/identity.ts";
import type { StoredJob } from "../../lib/leave/store/store.ts";
import { parseServerName } from "../../lib/matrix/server_name.ts";
import { person, World } from "../simulation/world.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

const homeserver = parseServerName("hs.test");
assert.ok(homeserver !== null);

/** A job as another replica stores it. */
function storedJob(world: World, n: number, changes: Partial<StoredJob> = {}): StoredJob {
  const job: StoredJob = {
    ...person(n, 1, HOUR, `syd_elsewhere_${n}`),
    homeserver: homeserver!,
    state: "waiting",
    sessions: {},
    timerStartedAt: world.time.now(),
    delegatedAt: world.time.now(),
    connectedAt: null,
    waitUntil: world.time.now() + HOUR,
    hint: "none",
    absentSince: null,
    ...changes,
  };
  world.homeserver.schedule(job.delayId, job.delayMs);
  return job;
}

Deno.test("a session that the other replica saw is not forgotten: who has left does not keep their event for an hour", async () => {
  const world = await World.create();
  await world.delegate(person(1, 1, HOUR));
  const job = storedJob(world, 1, { state: "connected", sessions: { "hash-1": "PA_elsewhere" } });
  world.store.handIn(job);
  await world.time.advance(2 * MINUTE);
  assert.equal(world.homeserver.look(job.delayId)?.end?.how, "sent");
  await world.close();
});

for (const [what, hasOld] of [["first", false], ["next", true]] as const) {
  Deno.test(`the ${what} event of somebody who was told here to have left waits a minute for them, not an hour`, async () => {
    const world = await World.create();
    const bob = person(2, 1, HOUR);
    world.sfu.join(bob.room, bob.identity);
    await world.time.advance(1000);
    world.sfu.leave(bob.room, bob.identity, "CLIENT_INITIATED");
    await world.time.advance(1000);
    if (hasOld) await world.delegate(bob);
    const job = storedJob(world, 2);
    world.store.handIn(job);
    await world.time.advance(58_000);
    assert.equal(world.homeserver.look(job.delayId)?.end, null);
    await world.time.advance(4000);
    assert.equal(world.homeserver.look(job.delayId)?.end?.how, "sent");
    await world.close();
  });
}

Deno.test("identities that an earlier event was watched by stay watched", async () => {
  const world = await World.create();
  const alice = person(1, 1, HOUR);
  await world.delegate(alice);
  const job = storedJob(world, 1, { watched: [alice.identity] });
  world.store.handIn(job);
  world.sfu.join(alice.room, alice.watched[1] as Identity);
  await world.time.advance(1000);
  assert.equal(world.manager.counts.connected, 1);
  world.sfu.leave(alice.room, alice.watched[1] as Identity, "CLIENT_INITIATED");
  await world.time.advance(1000);
  assert.equal(world.homeserver.look(job.delayId)?.end?.how, "sent");
  await world.close();
});

for (const types of [["left"], ["joined", "left"], ["aborted"]] as const) {
  Deno.test(`what was told before a job was accepted, and comes after that, ends nothing: ${types.join(", ")}`, async () => {
    const world = await World.create();
    const bob = person(2, 1, HOUR);
    const createdAt = world.time.now();
    await world.time.advance(1000);
    await world.delegate(bob);
    await world.time.advance(100);
    const { room, identity } = bob;
    for (const type of types) {
      world.store.deliver({ type, room, identity, sid: "PA_before", reason: "CLIENT_INITIATED", createdAt });
      await world.time.advance(50);
    }
    await world.time.advance(57_000);
    assert.deepEqual([world.homeserver.look(bob.delayId)?.end, world.manager.counts.waiting], [null, 1]);
    await world.time.advance(5000);
    assert.equal(world.homeserver.look(bob.delayId)?.end?.how, "sent");
    await world.close();
  });
}

for (const isStarted of ["anew", "before"] as const) {
  Deno.test(`a leave that was signed before a job was accepted ends nothing in a process that began ${isStarted}`, async () => {
    const world = await World.create();
    const bob = person(2, 1, HOUR);
    const createdAt = world.time.now();
    await world.time.advance(1000);
    await world.delegate(bob);
    if (isStarted === "anew") await world.restartService(1000);
    const { room, identity } = bob;
    const left = { type: "left", room, identity, sid: "PA_before", reason: "CLIENT_INITIATED" } as const;
    // As somebody sends it again who has seen it.
    await world.manager.receive({ ...left, createdAt });
    await world.time.advance(57_000);
    assert.deepEqual([world.homeserver.look(bob.delayId)?.end, world.manager.counts.waiting], [null, 1]);
    await world.manager.receive({ ...left, createdAt: world.time.now() });
    await world.time.advance(1000);
    assert.equal(world.homeserver.look(bob.delayId)?.end?.how, "sent");
    await world.close();
  });
}

Deno.test("a leave of the session before that comes late sends no event that was delegated after it", async () => {
  const world = await World.create();
  const bob = person(2, 1, HOUR);
  const { room, identity } = bob;
  world.sfu.join(room, identity);
  await world.delegate(bob);
  await world.time.advance(5000);
  const deliver = world.sfu.deliver;
  // Told to a replica that cannot pass it on, until the next event has been delegated.
  const late: Parameters<typeof deliver>[0][] = [];
  world.sfu.deliver = (event) => void late.push(event);
  world.sfu.leave(room, identity, "CLIENT_INITIATED");
  const createdAt = world.time.now();
  await world.time.advance(1000);
  world.sfu.deliver = deliver;
  await world.delegate({ ...bob, delayId: "syd_next" });
  for (const event of late) world.store.deliver({ ...event, createdAt });
  await world.time.advance(1000);
  assert.equal(late.length, 1);
  assert.equal(world.homeserver.look("syd_next")?.end, null);

  world.sfu.join(room, identity);
  await world.time.advance(2 * MINUTE);
  assert.equal(world.homeserver.look("syd_next")?.end, null);
  assert.equal(world.manager.counts.connected, 1);
  await world.close();
});
