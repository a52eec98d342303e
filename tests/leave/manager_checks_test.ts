// PresenceChecks that are slower than what happens: which of them is believed.

import assert from "node:assert/strict";
import { inCall } from "../simulation/in_call.ts";
import type { LeaveManagerDeps } from "../../lib/leave/manager.ts";
import { person, World, type WorldOptions } from "../simulation/world.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** An SFU whose answers take a while, and are as old as that when they come. */
function slowSfu(delayMs: number, isSlow: () => boolean): WorldOptions {
  const slowly = async <T>(answer: Promise<T>, after: (delayMs: number, run: () => void) => void) => {
    const found = await answer;
    if (isSlow()) await new Promise<void>((resolve) => after(delayMs, resolve));
    return found;
  };
  const later = ({ clock }: LeaveManagerDeps) => (ms: number, run: () => void) => void clock.setTimer(run, ms);
  return {
    sabotage: (deps) => ({
      ...deps,
      sfu: {
        getParticipant: (...args) => slowly(deps.sfu.getParticipant(...args), later(deps)),
        listParticipants: (...args) => slowly(deps.sfu.listParticipants(...args), later(deps)),
        roomAge: (...args) => deps.sfu.roomAge(...args),
      },
    }),
  };
}

Deno.test("a session that a webhook has ended is over, though the SFU still shows it", async () => {
  let isLagging = false;
  const { world, alice, end } = await inCall({
    sabotage: (deps) => ({
      ...deps,
      sfu: {
        listParticipants: (...args) => deps.sfu.listParticipants(...args),
        roomAge: (...args) => deps.sfu.roomAge(...args),
        getParticipant: (...args) =>
          isLagging && args[1] === "hash-1"
            ? Promise.resolve({ outcome: "present", sid: "PA_1" })
            : deps.sfu.getParticipant(...args),
      },
    }),
  });
  isLagging = true;
  world.sfu.leave(alice.room, alice.identity, "CLIENT_INITIATED");
  await world.time.advance(1000);
  assert.equal(end(), "sent");
  await world.close();
});

Deno.test("a check that is older than a webhook is not believed", async () => {
  const world = await World.create(slowSfu(500, () => true));
  const alice = person(1, 1, HOUR);
  await world.delegate(alice);
  await world.time.advance(100);
  world.sfu.join(alice.room, alice.identity);
  await world.time.advance(2000);
  assert.deepEqual([...world.store.jobs.values()].map(({ state, absentSince }) => [state, absentSince]), [
    ["connected", null],
  ]);
  await world.close();
});

Deno.test("a list that is older than a webhook is not believed", async () => {
  let isSlow = false;
  const world = await World.create(slowSfu(500, () => isSlow));
  const alice = person(1, 1, HOUR);
  await world.delegate(alice);
  await world.time.advance(100);
  isSlow = true;
  world.store.gap();
  await world.time.advance(50);
  isSlow = false;
  world.sfu.join(alice.room, alice.identity);
  await world.time.advance(1000);
  assert.deepEqual([...world.store.jobs.values()].map(({ state, absentSince }) => [state, absentSince]), [
    ["connected", null],
  ]);
  await world.close();
});

Deno.test("whoever was seen in a new session is there, though the SFU cannot be asked any more", async () => {
  const { world, alice, end } = await inCall(slowSfu(500, () => true));
  await world.time.advance(2000);
  world.sfu.webhooks = "lost";
  world.sfu.join(alice.room, alice.identity);
  const createdAt = world.time.now();
  const left = { room: alice.room, identity: alice.identity, sid: "PA_1", type: "left", createdAt } as const;
  await world.manager.receive({ ...left, reason: "DUPLICATE_IDENTITY", createdAt: world.time.now() });
  await world.time.advance(100);
  world.sfu.api = "refusing";
  await world.manager.receive({ ...left, reason: "CLIENT_INITIATED", createdAt: world.time.now() });
  await world.time.advance(MINUTE);
  assert.equal(end(), undefined);
  await world.close();
});

Deno.test("a room that has finished is checked: webhooks of those who left may have been lost on the way", async () => {
  const { world, alice, end } = await inCall({ pollIntervalMs: 0 });
  world.sfu.crash();
  await world.manager.receive({ type: "room-finished", room: alice.room });
  const bob = person(2, 2, HOUR);
  for (let second = 0; second < 70; second++) {
    // All is well elsewhere, so that nothing looks like a silence of the webhooks.
    world.sfu.join(bob.room, bob.identity);
    await world.time.advance(1000);
  }
  assert.equal(end(), "sent");
  const asked = world.sfu.asked.lists;
  await world.manager.receive({ type: "room-finished", room: alice.room });
  await world.time.advance(1000);
  assert.equal(world.sfu.asked.lists, asked, "nobody of ours was in it");
  await world.close();
});
