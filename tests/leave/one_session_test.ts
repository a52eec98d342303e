// One participant, several jobs: events delegated twice at once, under another identity, or at another replica, while
// the session goes on; and jobs that were due long before the service started.

import assert from "node:assert/strict";
import type { Identity } from "../../lib/livekit/identity.ts";
import type { StoredJob } from "../../lib/leave/store/store.ts";
import { inCall } from "../simulation/in_call.ts";
import { settle } from "../../testing/virtual_time.ts";
import { person, World, type WorldOptions } from "../simulation/world.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** A store that takes its time: so many ms for each job, in turn. */
function slowStore(pauses: number[]): WorldOptions {
  return {
    sabotage: (deps) => ({
      ...deps,
      store: {
        ...deps.store,
        async accept(job) {
          const saved = await deps.store.accept(job);
          await new Promise<void>((resolve) => deps.clock.setTimer(resolve, pauses.shift() ?? 0));
          return saved;
        },
      },
    }),
  };
}

/** A job as another replica has stored it a moment ago, which knows nothing of the session. */
function handedInElsewhere(world: World, changes: Partial<StoredJob>): StoredJob {
  const [stored] = world.store.jobs.values();
  if (stored === undefined) throw new TypeError("no job is stored");
  const now = world.time.now();
  const times = { timerStartedAt: now, delegatedAt: now, waitUntil: now + stored.delayMs };
  return { ...stored, state: "waiting", sessions: {}, ...times, ...changes };
}

Deno.test("the same event delegated by both identities at once is one job, and both stay watched", async () => {
  const world = await World.create({ ...slowStore([100, 100]), pollIntervalMs: 0 });
  const alice = person(1, 1, HOUR);
  const legacy = alice.watched[1] as Identity;
  world.sfu.join(alice.room, alice.identity);
  await world.time.advance(10);
  await world.delegate(alice);
  await world.delegate({ ...alice, identity: legacy, watched: [legacy] });
  await world.time.advance(1000);
  assert.deepEqual([...world.store.jobs.values()].map(({ watched }) => watched.toSorted()), [alice.watched.toSorted()]);
  world.sfu.leave(alice.room, alice.identity, "CLIENT_INITIATED");
  await world.time.advance(1000);
  assert.equal(world.homeserver.look(alice.delayId)?.end?.how, "sent");
  await world.close();
});

Deno.test("of two events delegated at once the later one counts, whichever is stored first", async () => {
  const world = await World.create(slowStore([200, 10]));
  const alice = person(1, 1, HOUR);
  world.sfu.join(alice.room, alice.identity);
  await world.time.advance(10);
  await world.delegate(alice);
  await world.delegate({ ...alice, delayId: "syd_later" });
  await world.time.advance(1000);
  world.sfu.leave(alice.room, alice.identity, "CLIENT_INITIATED");
  await world.time.advance(1000);
  assert.equal(world.homeserver.look("syd_later")?.end?.how, "sent");
  await world.close();
});

Deno.test("the same event delegated elsewhere by its legacy identity alone costs nobody their call", async () => {
  const { world, alice, end } = await inCall({}, 10_000);
  const legacy = alice.watched[1] as Identity;
  world.store.handIn(handedInElsewhere(world, { identity: legacy, watched: [legacy] }));
  await world.time.advance(MINUTE);
  assert.deepEqual([end(), world.manager.counts.connected, world.store.jobs.size], [undefined, 1, 1]);
  world.sfu.leave(alice.room, alice.identity, "CLIENT_INITIATED");
  await world.time.advance(1000);
  assert.equal(end(), "sent");
  await world.close();
});

Deno.test("a new event delegated elsewhere goes on as connected, even while the SFU cannot be asked", async () => {
  const { world, calls } = await inCall({}, 10_000);
  world.homeserver.schedule("syd_new", 10_000);
  world.sfu.api = "refusing";
  world.store.handIn(handedInElsewhere(world, { delayId: "syd_new" }));
  await world.time.advance(MINUTE);
  assert.equal(world.homeserver.look("syd_new")?.end, null);
  assert.ok(calls("restart", "syd_new") >= 7);
  await world.close();
});

Deno.test("an event that takes the place of another one is not dropped, however late its times are", async () => {
  const { world, calls } = await inCall({}, 10_000);
  world.homeserver.schedule("syd_new", 10_000);
  world.store.handIn(handedInElsewhere(world, { delayId: "syd_new", timerStartedAt: world.time.now() - 3 * HOUR }));
  await world.time.advance(MINUTE);
  assert.deepEqual([world.homeserver.look("syd_new")?.end, world.store.jobs.size], [null, 1]);
  assert.ok(calls("restart", "syd_new") >= 7);
  await world.close();
});

Deno.test("webhooks that come by way of other replicas are webhooks", async () => {
  const { world, alice } = await inCall({ pollIntervalMs: 0 });
  world.sfu.webhooks = "lost";
  await world.restartService(1000);
  await world.delegate({ ...alice, delayId: "syd_new" });
  const { room, identity } = alice;
  world.store.deliver({ type: "joined", room, identity, sid: "PA_1" });
  await world.time.advance(3 * MINUTE);
  assert.doesNotMatch(world.log.text, /No webhook of LiveKit/);
  await world.close();
});

for (const [what, isRestart] of [["a restart", true], ["a stop of the process", false]] as const) {
  Deno.test(`whoever came back during ${what} is not sent off by a leave webhook from before`, async () => {
    const { world, alice, end } = await inCall();
    world.homeserver.mode = "away";
    world.sfu.leave(alice.room, alice.identity, "CLIENT_INITIATED");
    await world.time.advance(2000);
    assert.equal(world.manager.counts.leaving, 1);
    world.sfu.api = "refusing";
    world.time.after(5000, () => world.sfu.join(alice.room, alice.identity));
    if (isRestart) {
      await world.restartService(40_000);
    } else {
      world.time.stall(40_000);
      await world.time.advance(40_000);
    }
    world.homeserver.mode = "up";
    await world.time.advance(2 * MINUTE);
    assert.equal(end(), undefined);
    world.sfu.api = "up";
    await world.time.advance(2 * MINUTE);
    assert.deepEqual([end(), world.manager.counts.connected], [undefined, 1]);
    world.assertNoViolations();
    await world.close();
  });
}

for (const [what, downMs, sends] of [["an hour", HOUR - 1000, 1], ["over an hour", HOUR + 9000, 0]] as const) {
  Deno.test(`at a start ${what} past its deadline a job is ${sends === 0 ? "dropped" : "asked about once"}`, async () => {
    const { world, alice, calls } = await inCall({}, 10_000);
    world.homeserver.mode = "away";
    world.sfu.leave(alice.room, alice.identity, "CONNECTION_TIMEOUT");
    await world.time.advance(2000);
    const restarting = world.restartService(downMs);
    await settle();
    world.homeserver.mode = "up";
    await restarting;
    assert.equal(world.manager.jobs.size, sends);
    await world.time.advance(MINUTE);
    assert.deepEqual([world.manager.jobs.size, world.store.jobs.size, calls("send")], [0, 0, sends]);
    if (sends === 0) assert.match(world.log.text, /"Dropped delegated leave events that were due over an hour ago"/);
    await world.close();
  });
}
