// Many users of one homeserver at once, against Synapse's default limit of one call a second; and many jobs at once.

import assert from "node:assert/strict";
import type { StoredJob } from "../../lib/leave/store/store.ts";
import { SynapseLimiter } from "../../testing/scripted_homeserver.ts";
import { person, World } from "../simulation/world.ts";

const MINUTE = 60_000;

async function call(users: number, delayMs: number, apartMs: number) {
  const world = await World.create({ limiter: new SynapseLimiter(1, 5) });
  for (let n = 0; n < users; n++) {
    const one = person(n, 1, delayMs);
    world.sfu.join(one.room, one.identity);
    await world.delegate(one);
    await world.time.advance(apartMs);
  }
  const lost = () => [...world.homeserver.events.keys()].filter((id) => world.homeserver.look(id)?.end !== null).length;
  const limited = () => world.homeserver.calls.filter(({ status }) => status === 429).length;
  return { world, lost, limited };
}

for (const users of [1, 8]) {
  Deno.test(`${users} users at 10 s delay stay in their call for half an hour, reconnecting now and then`, async () => {
    for (const apartMs of [0, 700]) {
      const { world, lost, limited } = await call(users, 10_000, apartMs);
      for (let minute = 0; minute < 30; minute++) {
        const one = person(minute % users, 1, 10_000);
        world.sfu.join(one.room, one.identity);
        await world.time.advance(MINUTE);
      }
      assert.deepEqual([lost(), limited()], [0, 0]);
      world.assertNoViolations();
      await world.close();
    }
  });
}

Deno.test("at eight users of 10 s delay there is room for a leave", async () => {
  const { world, lost } = await call(8, 10_000, 700);
  const one = person(3, 1, 10_000);
  world.sfu.leave(one.room, one.identity, "CLIENT_INITIATED");
  await world.time.advance(10 * MINUTE);
  assert.equal(world.homeserver.look(one.delayId)?.end?.how, "sent");
  assert.equal(lost(), 1);
  await world.close();
});

Deno.test("twelve users of 10 s delay are too many: some events fire, most do not, and the log says what to do", async () => {
  const { world, lost } = await call(12, 10_000, 700);
  await world.time.advance(30 * MINUTE);
  assert.ok(lost() >= 3 && lost() <= 6, `${lost()} of 12 lost`);
  assert.match(world.log.text, /raise its rc_delayed_event_mgmt/);
  await world.close();
});

for (const users of [10, 30]) {
  Deno.test(`a leave waits twelve seconds at most, though ${users} users of 10 s delay are too many`, async () => {
    const { world } = await call(users, 10_000, 100);
    const leaver = person(100, 2, 60 * MINUTE);
    world.sfu.join(leaver.room, leaver.identity);
    await world.delegate(leaver);
    // Each client whose event has fired hands a new one over.
    for (let second = 0; second < 120; second++) {
      for (const { delayId, ...one } of [...world.delegations.values()]) {
        const nextId = `${delayId}+`;
        const isOver = world.homeserver.look(delayId)?.end !== null;
        if (isOver && !world.delegations.has(nextId)) await world.delegate({ ...one, delayId: nextId });
      }
      await world.time.advance(1000);
      if (second === 100) world.sfu.leave(leaver.room, leaver.identity, "CLIENT_INITIATED");
      if (second === 113) assert.equal(world.homeserver.look(leaver.delayId)?.end?.how, "sent");
    }
    await world.close();
  });
}

Deno.test("a thousand users of 1 h delay are kept up within Synapse's default limit", async () => {
  const { world, lost, limited } = await call(1000, 3_600_000, 20);
  await world.time.advance(100 * MINUTE);
  assert.deepEqual([lost(), limited()], [0, 0]);
  assert.ok(!world.log.text.includes("rc_delayed_event_mgmt"));
  await world.close();
});

Deno.test("a meeting of fifty that ends is sent off within a minute of the buckets it needs", async () => {
  const { world, lost } = await call(50, 3_600_000, 20);
  await world.time.advance(2 * MINUTE);
  for (let n = 0; n < 50; n++) world.sfu.leave(person(n, 1, 0).room, person(n, 1, 0).identity, "CLIENT_INITIATED");
  await world.time.advance(75_000);
  assert.equal(lost(), 50);
  await world.close();
});

Deno.test("10,000 stored jobs, 1,000 of them in one room, cost one list a room and no call more than needed", async () => {
  const world = await World.create();
  const start = world.time.now();
  world.sfu.webhooks = "lost";
  for (let n = 0; n < 10_000; n++) {
    const room = n < 1000 ? 0 : 1 + n % 1800;
    const delegation = person(n, room, 86_400_000);
    const job: StoredJob = {
      ...delegation,
      homeserver: `hs${n % 100}.test` as StoredJob["homeserver"],
      state: "connected",
      sessions: { [delegation.identity]: `PA_${n}` },
      timerStartedAt: start,
      delegatedAt: start,
      connectedAt: null,
      waitUntil: start,
      hint: "none",
      absentSince: null,
    };
    world.homeserver.schedule(delegation.delayId, delegation.delayMs);
    world.sfu.join(delegation.room, delegation.identity);
    world.store.jobs.set(delegation.delayId, job);
  }
  await world.restartService(100);
  await world.time.advance(12_000);
  assert.deepEqual(world.manager.counts, { waiting: 0, connected: 10_000, leaving: 0 });
  assert.equal(world.sfu.asked.lists, 1801);
  assert.equal(world.sfu.asked.participants, 0);
  assert.ok(world.homeserver.calls.length <= 100 * 25);
  await world.close();
});
