// Whatever happens, in any order: nobody who is in the call is made to leave, and whoever has gone does not stay as a ghost
// beyond their bound, and no stranger's events cost anybody theirs. Each property fails for versions of the service that a
// hurried person might have written.

import fc from "fast-check";
import { SynapseLimiter } from "../../testing/scripted_homeserver.ts";
import {
  ABORT_ENDS_ALL,
  DEAD_SESSION_COUNTS,
  FAILED_IS_GONE,
  FULL_RECONNECT_IS_A_LEAVE,
  LATE_TIMERS,
  NO_CANCELS,
  NO_LISTS,
  ONE_IDENTITY,
  RECONNECT_IS_A_LEAVE,
  type Sabotage,
  SEND_WITHOUT_A_CHECK,
  SLOW_IS_DOWN,
  UNKNOWN_IS_ABSENT,
  UNRECOGNIZED_IS_GONE,
} from "./sabotage.ts";
import { calmScript, type Command, PEOPLE, Play, wildScript } from "./script.ts";
import { World } from "./world.ts";

const MINUTE_MS = 60_000;
/** From the last leave, all being well, until no event is left: two listings, a check, pauses after failures, slack. */
const GHOST_BOUND_MS = 4 * MINUTE_MS;
/** From the last fault until everybody who is there is known to be: the longest pauses between checks and calls. */
const RECOVERY_MS = 3 * MINUTE_MS;
/** From a delegation until it is sent when nobody ever connects, with slack. */
const NEVER_CAME_MS = 6 * MINUTE_MS;

const delays = fc.constantFrom(10_000, 100_000, 3_600_000);
// Enough for everybody who means well.
const limits = fc.constantFrom(Infinity, 5);
const seeds = fc.integer();
/** Worlds of each property: 150, or as many as the environment says. */
const WORLDS = Number(Deno.env.get("SIMULATED_WORLDS") ?? 150);

interface Setting {
  readonly script: readonly Command[];
  readonly delayMs: number;
  readonly perSecond: number;
  readonly seed: number;
}

async function play(
  sabotage: Sabotage,
  { script, delayMs, perSecond, seed }: Setting,
  after: (world: World, play: Play) => Promise<string | null>,
): Promise<boolean> {
  const limiter = new SynapseLimiter(perSecond, 10);
  const world = await World.create({ ...sabotage, random: randomFrom(seed), limiter });
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
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What ended must have ended as the service says it did. */
function endFault(world: World): string | null {
  for (const { message, fields } of world.log.entries) {
    if (!("end" in fields) || !String(fields.delay_id).startsWith("syd_")) continue;
    const how = world.homeserver.look(String(fields.delay_id))?.end?.how;
    if (fields.end === "sent" && how !== "sent") return `${fields.delay_id}: "sent", but it is ${how}`;
    if (fields.end === "gone" && how === undefined) return `${fields.delay_id}: "gone", but it is still there`;
    if (fields.end === "expired") return `${fields.delay_id}: ${message}`;
  }
  return null;
}

/** All is well again, everybody comes back, and then goes for good, unnoticed or not. */
async function endWell(world: World, play: Play, isNoticed: boolean): Promise<string | null> {
  play.heal();
  // What was on its way arrives, and who was on the way back is there.
  await world.time.advance(world.time.frozenMs + 45_000);
  for (let who = 0; who < PEOPLE; who++) await play.run({ what: "return", who });
  await world.time.advance(RECOVERY_MS);
  const fault = endFault(world);
  if (fault !== null) return fault;

  world.sfu.webhooks = isNoticed ? "prompt" : "lost";
  for (let who = 0; who < PEOPLE; who++) await play.run({ what: who === 1 ? "die" : "leave", who });
  const lastIds = [...world.delegations.values()].filter(({ delayId }) =>
    isLast(world, delayId) && world.accepted.has(delayId)
  );
  await world.time.advance(isNoticed ? 90_000 : GHOST_BOUND_MS);
  const ghost = lastIds.find(({ delayId }) =>
    // A client that closed its connection itself keeps its event.
    world.homeserver.look(delayId)?.end === null && !world.endsOf(delayId).includes("aborted")
  );
  if (ghost !== undefined) return `${ghost.delayId}: a ghost`;
  // And one who never comes.
  await play.delegate(0);
  world.alive.delete(0);
  const [neverCame = ""] = [...world.delegations.keys()].slice(-1);
  await world.time.advance(NEVER_CAME_MS);
  if (world.accepted.has(neverCame) && world.homeserver.look(neverCame)?.end === null) return `${neverCame}: a ghost`;
  const left = world.manager.jobs.all().filter(({ job }) => job.delayId.startsWith("syd_"));
  return left.length === 0 ? null : `jobs left: ${left.map(({ job }) => `${job.delayId} ${job.state}`)}`;
}

/** Whether an event is the last one of its participant: the earlier ones are the client's own business. */
function isLast(world: World, delayId: string): boolean {
  const who = delayId.split("_")[1];
  return [...world.delegations.keys()].filter((id) => id.split("_")[1] === who).at(-1) === delayId;
}

function wild(sabotage: Sabotage) {
  const setting = fc.record({ script: wildScript, delayMs: delays, perSecond: fc.constant(Infinity), seed: seeds });
  return fc.asyncProperty(setting, fc.boolean(), (setting, isNoticed) => {
    return play(sabotage, setting, (world, play) => endWell(world, play, isNoticed));
  });
}

function calm(sabotage: Sabotage) {
  const setting = fc.record({ script: calmScript, delayMs: delays, perSecond: limits, seed: seeds });
  return fc.asyncProperty(setting, (setting) =>
    play(sabotage, setting, async (world) => {
      await world.time.advance(MINUTE_MS);
      for (const id of [...world.delegations.keys()].filter((id) => id.startsWith("syd_0"))) {
        const end = world.homeserver.look(id)?.end?.how;
        // One that was replaced is canceled.
        if (end === "fired" || end === "sent") return `${id}: ${end} though its participant never left`;
      }
      return null;
    }));
}

Deno.test("whoever is in the call is never made to leave, and whoever has gone is gone at the homeserver too", async () => {
  await fc.assert(wild({}), { numRuns: WORLDS });
  await breaksFor(wild, 25, {
    "what cannot be known counts as an absence": UNKNOWN_IS_ABSENT,
    "a leave is sent without a check": SEND_WITHOUT_A_CHECK,
    "a failed call counts as the end of the event": FAILED_IS_GONE,
    "a route that is missing for a moment ends a job": UNRECOGNIZED_IS_GONE,
    "nobody checks when webhooks are lost": NO_LISTS,
    "only one of the two identities is watched": ONE_IDENTITY,
    "a full reconnect counts as a leave": FULL_RECONNECT_IS_A_LEAVE,
    "the end of a session that died before the delegation counts": DEAD_SESSION_COUNTS,
    "one attempt given up ends the delegation": ABORT_ENDS_ALL,
  });
});

Deno.test("the event of somebody in the call never fires while homeserver and service are well", async () => {
  await fc.assert(calm({}), { numRuns: WORLDS });
  await breaksFor(calm, 3, {
    "a reconnect counts as a leave": RECONNECT_IS_A_LEAVE,
    "a full reconnect counts as a leave": FULL_RECONNECT_IS_A_LEAVE,
    "what cannot be known counts as an absence": UNKNOWN_IS_ABSENT,
    "restarts come after the deadline": LATE_TIMERS,
    "a route that is missing for a moment ends a job": UNRECOGNIZED_IS_GONE,
    "a replaced event is left to fire": NO_CANCELS,
    "a homeserver that needs six seconds is down": SLOW_IS_DOWN,
  });
});

/** A property that a wrong version survives proves nothing. */
async function breaksFor(
  property: (sabotage: Sabotage) => fc.IAsyncProperty<unknown>,
  seed: number, // by which each wrong version is found soon
  wrong: Readonly<Record<string, Sabotage>>,
): Promise<void> {
  for (const [name, sabotage] of Object.entries(wrong)) {
    const { failed, counterexample } = await fc.check(property(sabotage), {
      numRuns: 5000,
      seed,
      endOnFailure: true,
    });
    if (!failed || counterexample === null) throw new Error(`No counterexample for the wrong version "${name}"`);
    // What the right version fails at too is no fault of the wrong one.
    await fc.assert(property({}), { examples: [counterexample], numRuns: 1 });
  }
}
