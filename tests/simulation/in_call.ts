// The scene with which most stories begin.

import { person, World, type WorldOptions } from "./world.ts";

const HOUR = 3_600_000;

/** A world in which person 1 is in the call, their leave delegated. */
export async function inCall(options: WorldOptions = {}, delayMs = HOUR) {
  const world = await World.create(options);
  const alice = person(1, 1, delayMs);
  world.sfu.join(alice.room, alice.identity);
  await world.delegate(alice);
  await world.time.advance(1000);
  const end = (delayId = alice.delayId) => world.homeserver.look(delayId)?.end?.how;
  const calls = (action: "restart" | "send", delayId = alice.delayId) =>
    world.homeserver.calls.filter((call) => call.action === action && call.delayId === delayId).length;
  return { world, alice, end, calls };
}
