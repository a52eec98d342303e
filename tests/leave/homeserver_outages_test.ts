// A homeserver that is out of order for minutes, in each of the ways it can be: nobody who stays is made to leave, and
// whoever left meanwhile is sent off soon after it is back.

import assert from "node:assert/strict";
import { type HomeserverMode, SynapseLimiter } from "../../testing/scripted_homeserver.ts";
import { person, World } from "../simulation/world.ts";

const MINUTE = 60_000;
const OUTAGE_MS = 5 * MINUTE;
// One event that half an outage still leaves time for, and Element Call's.
const DELAYS_MS = [8 * MINUTE, 60 * MINUTE];
const STAY = 20;
const LEAVE = 20;
// The longest pause between two probes, and Synapse's default of one call a second.
const BACK_WITHIN_MS = 30_000 + (STAY + LEAVE) * 1000 + 10_000;
// Probes of one homeserver, for all of its jobs together, and the calls under way when it went.
const MAX_CALLS = 60;

class Refusing extends SynapseLimiter {
  constructor() {
    super(1, 5);
  }

  override take(): number {
    return 2000;
  }
}

const OUTAGES: readonly (readonly [what: string, mode: HomeserverMode, limiter?: SynapseLimiter])[] = [
  ["cannot be reached", "away"],
  ["answers 500", "broken"],
  ["answers nothing", "deaf"],
  ["does what it is asked, and answers nothing", "mute"],
  ["answers 429", "up", new Refusing()],
];

for (const [what, mode, limiter] of OUTAGES) {
  for (const delayMs of DELAYS_MS) {
    Deno.test(`a homeserver that ${what} for five minutes costs no leave at ${delayMs / MINUTE} min delay`, async () => {
      const world = await World.create({ limiter: new SynapseLimiter(1, 5) });
      const { homeserver, sfu, time } = world;
      const everybody = Array.from({ length: STAY + LEAVE }, (_, n) => person(n, n % 5, delayMs));
      for (const one of everybody) {
        sfu.join(one.room, one.identity);
        await world.delegate(one);
        await time.advance(2000);
      }
      const leavers = everybody.slice(STAY);

      homeserver.mode = mode;
      if (limiter !== undefined) homeserver.limiter = limiter;
      const callsBefore = homeserver.calls.length;
      for (const one of leavers) {
        await time.advance(OUTAGE_MS / LEAVE);
        sfu.leave(one.room, one.identity, "CONNECTION_TIMEOUT");
      }
      const calls = homeserver.calls.length - callsBefore;
      homeserver.mode = "up";
      homeserver.limiter = new SynapseLimiter(1, 5);
      await time.advance(BACK_WITHIN_MS);

      assert.ok(calls <= MAX_CALLS, `${calls} calls`);
      assert.deepEqual(leavers.filter(({ delayId }) => homeserver.look(delayId)?.end?.how !== "sent"), []);
      await time.advance(15 * MINUTE);
      const stayers = everybody.slice(0, STAY);
      assert.deepEqual(stayers.filter(({ delayId }) => homeserver.look(delayId)?.end !== null), []);
      assert.deepEqual(world.manager.counts, { waiting: 0, connected: STAY, leaving: 0 });
      world.assertNoViolations();
      await world.close();
    });
  }
}
