// For how long a replica may act: from a heartbeat's sending on, not at all after a pause, and on without Redis only when
// heartbeat after heartbeat has failed.

import assert from "node:assert/strict";
import type { RoomAlias } from "../../../../lib/livekit/identity.ts";
import { HEARTBEAT_MS, LEASE_MS, RedisClaims } from "../../../../lib/leave/store/redis/claims.ts";
import { ManualClock } from "../../../../testing/manual_clock.ts";

const ROOM = "room" as RoomAlias;

function claimsAt(clock: { now: () => number; monotonicNow: () => number }): RedisClaims {
  const claims = new RedisClaims(clock);
  claims.renewed(claims.moment());
  claims.set(ROOM, "token");
  return claims;
}

Deno.test("a lease is counted from the moment its heartbeat was sent, and is shorter than in Redis", () => {
  const clock = new ManualClock();
  const claims = claimsAt(clock);
  assert.ok(claims.heldMs(ROOM) < LEASE_MS);
  assert.ok(claims.heldMs(ROOM) > 3 * HEARTBEAT_MS);
  const sentAt = claims.moment();
  clock.advance(1000);
  const before = claims.heldMs(ROOM);
  claims.renewed(sentAt);
  assert.equal(claims.heldMs(ROOM), before);
  clock.advance(LEASE_MS);
  assert.equal(claims.heldMs(ROOM), 0);
});

Deno.test("a room that is not claimed, or in doubt, is not held", () => {
  const claims = claimsAt(new ManualClock());
  assert.equal(claims.heldMs("other" as RoomAlias), 0);
  claims.doubt();
  assert.equal(claims.heldMs(ROOM), 0);
  assert.equal(claims.token(ROOM), "token");
  claims.set(ROOM, "next");
  assert.ok(claims.heldMs(ROOM) > 0);
  claims.delete(ROOM);
  assert.equal(claims.heldMs(ROOM), 0);
});

Deno.test("whichever clock went further counts: a suspended host stops one, and the other can be set", () => {
  for (const stopped of ["now", "monotonicNow"] as const) {
    const clock = new ManualClock();
    const fixed = clock[stopped]();
    const claims = claimsAt({ now: clock.now, monotonicNow: clock.monotonicNow, [stopped]: () => fixed });
    clock.advance(LEASE_MS);
    assert.equal(claims.heldMs(ROOM), 0, stopped);
  }
});

Deno.test("Redis is away for all after three seconds of failures, and not for longer than they go on", () => {
  const clock = new ManualClock();
  const claims = claimsAt(clock);
  for (let elapsedMs = 0; elapsedMs < 3000; elapsedMs += 500) {
    claims.failed();
    assert.equal(claims.awayMs(), 0, `${elapsedMs}`);
    clock.advance(500);
  }
  claims.failed();
  assert.ok(claims.awayMs() > 0);
  claims.renewed(claims.moment());
  assert.equal(claims.awayMs(), 0);
});

Deno.test("a process that was stopped may not act at once, nor after the first heartbeat that fails", () => {
  const clock = new ManualClock();
  const claims = claimsAt(clock);
  clock.advance(60_000);
  assert.deepEqual([claims.heldMs(ROOM), claims.awayMs()], [0, 0]);
  claims.failed();
  assert.equal(claims.awayMs(), 0);

  // Stopped while Redis was away: what happened meanwhile is unknown, too.
  for (let n = 0; n < 5; n++) {
    clock.advance(1000);
    claims.failed();
  }
  assert.ok(claims.awayMs() > 0);
  clock.advance(60_000);
  assert.equal(claims.awayMs(), 0);
  claims.failed();
  assert.equal(claims.awayMs(), 0);
});
