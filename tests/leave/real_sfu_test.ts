// What a real SFU does, as it was measured, played in a world: sessions that are shown after their death, reconnects by its
// order, restarts of the service, nodes that hang.

import assert from "node:assert/strict";
import { DisconnectReason } from "@livekit/protocol";
import { sessionEnd } from "../../lib/leave/machine/disconnect_reasons.ts";
import { inCall } from "../simulation/in_call.ts";
import { FULL_RECONNECT_MS } from "../simulation/scripted_sfu.ts";
import { OURS, person, World } from "../simulation/world.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

const MEANINGS: Readonly<Record<string, string>> = {
  DUPLICATE_IDENTITY: "replaced",
  MIGRATION: "replaced",
  STATE_MISMATCH: "interrupted",
  SERVER_SHUTDOWN: "interrupted",
  CLIENT_INITIATED: "hang-up",
  CONNECTION_TIMEOUT: "time-out",
  PARTICIPANT_REMOVED: "removed",
  ROOM_DELETED: "room closed",
  ROOM_CLOSED: "room closed",
  USER_UNAVAILABLE: "removed",
  USER_REJECTED: "removed",
};
for (const reason of Object.keys(DisconnectReason).filter((name) => Number.isNaN(Number(name)))) {
  const meaning = MEANINGS[reason] ?? "connection lost";
  Deno.test(`${reason} of LiveKit means "${meaning}"`, () => {
    const end = sessionEnd(reason);
    assert.equal(typeof end === "string" ? end : end.leave, meaning);
  });
}

Deno.test("a reason that LiveKit has not had so far ends a session", () => {
  assert.deepEqual(sessionEnd("SOMETHING_NEW"), { leave: "connection lost" });
});

Deno.test("a full reconnect that LiveKit orders sends no leave, and the leave after it is sent", async () => {
  const { world, alice, end } = await inCall();
  world.sfu.leave(alice.room, alice.identity, "STATE_MISMATCH");
  await world.time.advance(FULL_RECONNECT_MS);
  world.sfu.join(alice.room, alice.identity);
  await world.time.advance(5 * MINUTE);
  assert.deepEqual([end(), world.manager.counts.connected], [undefined, 1]);
  world.sfu.leave(alice.room, alice.identity, "CLIENT_INITIATED");
  await world.time.advance(100);
  assert.equal(end(), "sent");
  await world.close();
});

Deno.test("whoever does not come back from a full reconnect is gone after a minute", async () => {
  const { world, alice, end } = await inCall();
  world.sfu.leave(alice.room, alice.identity, "STATE_MISMATCH");
  await world.time.advance(59_000);
  assert.equal(end(), undefined);
  await world.time.advance(3000);
  assert.equal(end(), "sent");
  await world.close();
});

for (const afterMs of [18_000, 20_000, 20_490, 22_000]) {
  Deno.test(`an app that is killed and back ${afterMs / 1000} s later is in the call`, async () => {
    const { world, alice, end } = await inCall();
    await world.time.advance(MINUTE);
    world.sfu.die(alice.room, alice.identity);
    await world.time.advance(afterMs);
    await world.delegate({ ...alice, delayId: "syd_next" });
    await world.time.advance(800);
    world.sfu.join(alice.room, alice.identity);
    await world.time.advance(5 * MINUTE);
    assert.deepEqual([end("syd_next"), world.manager.counts.connected], [undefined, 1]);
    assert.notEqual(end(), undefined);
    await world.close();
  });
}

Deno.test("a leave that fell into a restart of the service is sent within two seconds of its start", async () => {
  const { world, alice, end } = await inCall({ pollIntervalMs: 0 });
  await world.time.advance(MINUTE);
  world.sfu.webhooks = "lost";
  const restarting = world.restartService(5000);
  world.sfu.leave(alice.room, alice.identity, "CLIENT_INITIATED");
  await restarting;
  await world.time.advance(2000);
  assert.equal(end(), "sent");
  await world.close();
});

Deno.test("a crash of the SFU during a restart of the service leaves its clients a minute to come back", async () => {
  const { world, alice, end } = await inCall({ pollIntervalMs: 0 });
  const bob = person(2, 1, HOUR);
  await world.time.advance(MINUTE);
  world.sfu.webhooks = "lost";
  const restarting = world.restartService(5000);
  world.sfu.crash();
  await restarting;
  // Somebody else has made the room anew.
  world.sfu.join(bob.room, bob.identity);
  await world.time.advance(50_000);
  assert.equal(end(), undefined);
  world.sfu.join(alice.room, alice.identity);
  await world.time.advance(10 * MINUTE);
  assert.deepEqual([end(), world.manager.counts.connected], [undefined, 1]);
  await world.close();
});

Deno.test("a thousand checks of a room whose node hangs delay nobody's leave elsewhere", async () => {
  const world = await World.create();
  const everybody = Array.from({ length: 1000 }, (_, n) => person(1000 + n, 7, HOUR));
  for (const one of everybody) {
    world.sfu.join(one.room, one.identity);
    await world.delegate(one);
  }
  const alice = person(1, 1, HOUR);
  world.sfu.join(alice.room, alice.identity);
  await world.delegate(alice);
  await world.time.advance(25 * MINUTE);
  world.sfu.hanging.add(everybody[0]!.room);
  for (const one of everybody) world.sfu.leave(one.room, one.identity, "CLIENT_INITIATED");
  world.sfu.leave(alice.room, alice.identity, "CLIENT_INITIATED");
  await world.time.advance(1500);
  assert.equal(world.homeserver.look(alice.delayId)?.end?.how, "sent");
  // And the webhooks decide about those whose node says nothing.
  await world.time.advance(20_000);
  assert.equal(world.manager.counts.connected, 0);
  await world.close();
});

Deno.test("after three hours without an SFU events are restarted no more, and again when it is back", async () => {
  const { world, end, calls } = await inCall({}, 24 * HOUR);
  world.sfu.api = "refusing";
  world.sfu.webhooks = "lost";
  await world.time.advance(4 * HOUR);
  const before = calls("restart");
  await world.time.advance(HOUR);
  assert.equal(calls("restart"), before);
  world.sfu.api = "up";
  await world.time.advance(10 * MINUTE);
  assert.ok(calls("restart") > before);
  assert.equal(end(), undefined);
  await world.close();
});

Deno.test("each leave that is sent has its line: why, who, where, how long after", async () => {
  const { world, alice } = await inCall();
  world.sfu.leave(alice.room, alice.identity, "CLIENT_INITIATED");
  await world.time.advance(1000);
  const [line] = world.log.of("info").filter(({ message }) => message === "A leave was sent");
  const { reason, user, room, after_ms: afterMs } = line?.fields ?? {};
  assert.deepEqual([reason, user, room], ["hang-up", "@user1:hs.test", alice.room]);
  assert.ok(Number(afterMs) >= 0 && Number(afterMs) < 100, `${afterMs} ms`);
  await world.close();
});

Deno.test("twenty thousand jobs in one room are checked after a gap by one list, at once", async () => {
  const world = await World.create();
  for (let n = 1; n <= 20_000; n++) {
    const one = person(n, 1, 24 * HOUR);
    world.sfu.join(one.room, one.identity);
    world.homeserver.schedule(one.delayId, one.delayMs);
    void world.manager.accept({ ...one, homeserver: OURS });
    if (n % 1000 === 0) await world.time.advance(10);
  }
  await world.time.advance(60_000);
  assert.equal(world.manager.counts.connected, 20_000);
  const { participants } = world.sfu.asked;
  const { lists } = world.sfu.asked;
  const startedAt = performance.now();
  world.store.gap();
  await world.time.advance(100);
  assert.deepEqual([world.sfu.asked.lists - lists, world.sfu.asked.participants - participants], [1, 0]);
  // What looks through the room for each of its jobs takes minutes.
  assert.ok(performance.now() - startedAt < 20_000);
  await world.close();
});
