// Whatever happens, in any order: nobody who is in the call is made to leave, and nobody who has gone stays as a ghost.
// Each property fails for versions of the service that a hurried person might have written.

import fc from "fast-check";
import { holdsOnlyFor } from "../../testing/refutable.ts";
import {
  FAILED_IS_GONE,
  LATE_TIMERS,
  NO_LISTS,
  ONE_IDENTITY,
  RECONNECT_IS_A_LEAVE,
  type Sabotage,
  SEND_WITHOUT_A_LOOK,
  UNKNOWN_IS_ABSENT,
} from "./sabotage.ts";
import { calmScript, type Command, PEOPLE, Play, wildScript } from "./script.ts";
import { World } from "./world.ts";

const MINUTE_MS = 60_000;
/** From the last leave, all being well, until no event is left: two listings, a look, pauses after failures, slack. */
const GHOST_BOUND_MS = 4 * MINUTE_MS;
/** From the last fault until everybody who is there is known to be: the longest pauses between looks and calls. */
const RECOVERY_MS = 3 * MINUTE_MS;

const delays = fc.constantFrom(10_000, 100_000, 3_600_000);
const randomness = fc.integer().map(randomFrom);

async function play(
  sabotage: Sabotage,
  script: readonly Command[],
  delayMs: number,
  random: () => number,
  after: (world: World, play: Play) => Promise<string | null>,
): Promise<boolean> {
  const world = await World.create({ ...sabotage, random });
  try {
    const play = new Play(world, delayMs);
    await play.begin();
    for (const command of script) await play.run(command);
    const fault = await after(world, play) ?? endFault(world);
    if (fault !== null || world.violations.length > 0) throw new Error(fault ?? world.violations[0]);
    return true;
  } finally {
    await world.close();
  }
}

/** Randomness that a counterexample can be run with again: the generator "mulberry32". */
function randomFrom(seed: number): () => () => number {
  return () => {
    let state = seed;
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    };
  };
}

/** What ended must have ended as the service says it did. */
function endFault(world: World): string | null {
  for (const { message, fields } of world.log.entries) {
    if (!("end" in fields)) continue;
    const how = world.homeserver.look(String(fields.delay_id))?.end?.how;
    if (fields.end === "sent" && how !== "sent") return `${fields.delay_id}: "sent", but it is ${how}`;
    if (fields.end === "gone" && how === undefined) return `${fields.delay_id}: "gone", but it is still there`;
    if (fields.end === "expired") return `${fields.delay_id}: ${message}`;
  }
  return null;
}

/** Number 0 was there all the time. */
function innocenceFault(world: World): string | null {
  const sent = [...world.homeserver.events].find(([id, { end }]) => id.startsWith("syd_0") && end?.how === "sent");
  return sent === undefined ? null : `${sent[0]}: a leave was sent for somebody who never left`;
}

/** All is well again, everybody comes back, and then goes for good, unnoticed or not. */
async function endWell(world: World, play: Play, isNoticed: boolean): Promise<string | null> {
  play.heal();
  // What was on its way arrives, and who was on the way back is there.
  await world.time.advance(world.time.frozenMs + 45_000);
  for (let who = 0; who < PEOPLE; who++) if (!play.isHere(who)) await play.come(who);
  await world.time.advance(RECOVERY_MS);
  const fault = innocenceFault(world) ?? endFault(world);
  if (fault !== null) return fault;

  world.sfu.webhooks = isNoticed ? "prompt" : "lost";
  for (let who = 0; who < PEOPLE; who++) await play.run({ what: who === 1 ? "drop" : "leave", who });
  const lastIds = [...world.delegations.values()].filter(({ delayId }) =>
    isLast(world, delayId) && world.accepted.has(delayId)
  );
  await world.time.advance(isNoticed ? 90_000 : GHOST_BOUND_MS);
  const ghost = lastIds.find(({ delayId }) =>
    // A client that closed its connection itself keeps its event.
    world.homeserver.look(delayId)?.end === null && !world.endsOf(delayId).includes("aborted")
  );
  if (ghost !== undefined) return `${ghost.delayId}: a ghost`;
  await world.time.advance(MINUTE_MS);
  const { waiting, connected, leaving } = world.manager.counts;
  return waiting + connected + leaving === 0 ? null : `jobs left: ${waiting} ${connected} ${leaving}`;
}

/** Whether an event is the last one of its participant: the earlier ones are the client's own business. */
function isLast(world: World, delayId: string): boolean {
  const who = delayId.split("_")[1];
  return [...world.delegations.keys()].filter((id) => id.split("_")[1] === who).at(-1) === delayId;
}

function wild(sabotage: Sabotage) {
  return fc.asyncProperty(wildScript, delays, randomness, fc.boolean(), (script, delayMs, random, isNoticed) => {
    return play(sabotage, script, delayMs, random(), (world, play) => endWell(world, play, isNoticed));
  });
}

function calm(sabotage: Sabotage) {
  return fc.asyncProperty(calmScript, delays, randomness, (script, delayMs, random) => {
    return play(sabotage, script, delayMs, random(), async (world) => {
      await world.time.advance(MINUTE_MS);
      const last = [...world.delegations.keys()].findLast((id) => id.startsWith("syd_0")) ?? "";
      const end = world.homeserver.look(last)?.end;
      return end == null || !world.accepted.has(last) ? null : `${last}: ${end.how} though its participant never left`;
    });
  });
}

Deno.test("whoever is in the call is never made to leave, and whoever has gone is gone at the homeserver too", async () => {
  await holdsOnlyFor(wild, {}, {
    "what cannot be known counts as an absence": UNKNOWN_IS_ABSENT,
    "a leave is sent without a look": SEND_WITHOUT_A_LOOK,
    "a failed call counts as the end of the event": FAILED_IS_GONE,
    "nobody looks when webhooks are lost": NO_LISTS,
    "only one of the two identities is watched": ONE_IDENTITY,
  });
});

Deno.test("the event of somebody in the call never fires while homeserver and service are well", async () => {
  await holdsOnlyFor(calm, {}, {
    "a reconnect counts as a leave": RECONNECT_IS_A_LEAVE,
    "what cannot be known counts as an absence": UNKNOWN_IS_ABSENT,
    "restarts come after the deadline": LATE_TIMERS,
  });
});
