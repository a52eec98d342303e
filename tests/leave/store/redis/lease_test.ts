// For how long a replica may act: from a heartbeat's sending on, not at all after a pause, and on without Redis only when
// heartbeat after heartbeat has failed.

import assert from "node:assert/strict";
import { HEARTBEAT_MS, Lease, LEASE_MS } from "../../../../lib/leave/store/redis/lease.ts";
import { ManualClock } from "../../../../testing/manual_clock.ts";

function leaseAt(clock: { now: () => number; monotonicNow: () => number }): Lease {
  const lease = new Lease(clock);
  lease.renewed(lease.moment());
  return lease;
}

Deno.test("a lease is counted from the moment its heartbeat was sent, and is shorter than in Redis", () => {
  const clock = new ManualClock();
  const lease = leaseAt(clock);
  assert.ok(lease.heldMs() < LEASE_MS);
  assert.ok(lease.heldMs() > 3 * HEARTBEAT_MS);
  const sentAt = lease.moment();
  clock.advance(1000);
  const before = lease.heldMs();
  lease.renewed(sentAt);
  assert.equal(lease.heldMs(), before);
  clock.advance(LEASE_MS);
  assert.equal(lease.heldMs(), 0);
});

Deno.test("before the first heartbeat is answered nothing is held", () => {
  assert.equal(new Lease(new ManualClock()).heldMs(), 0);
});

Deno.test("whichever clock went further counts: a suspended host stops one, and the other can be set", () => {
  for (const stopped of ["now", "monotonicNow"] as const) {
    const clock = new ManualClock();
    const fixed = clock[stopped]();
    const lease = leaseAt({ now: clock.now, monotonicNow: clock.monotonicNow, [stopped]: () => fixed });
    clock.advance(LEASE_MS);
    assert.equal(lease.heldMs(), 0, stopped);
  }
});

Deno.test("Redis is away for all after three seconds of failures, and not for longer than they go on", () => {
  const clock = new ManualClock();
  const lease = leaseAt(clock);
  for (let elapsedMs = 0; elapsedMs < 3000; elapsedMs += 500) {
    lease.failed();
    assert.equal(lease.awayMs(), 0, `${elapsedMs}`);
    clock.advance(500);
  }
  lease.failed();
  assert.ok(lease.awayMs() > 0);
  lease.renewed(lease.moment());
  assert.equal(lease.awayMs(), 0);
});

Deno.test("a process that was stopped may not act at once, nor after the first heartbeat that fails", () => {
  const clock = new ManualClock();
  const lease = leaseAt(clock);
  clock.advance(60_000);
  assert.deepEqual([lease.heldMs(), lease.awayMs()], [0, 0]);
  lease.failed();
  assert.equal(lease.awayMs(), 0);

  // Stopped while Redis was away: what happened meanwhile is unknown, too.
  for (let n = 0; n < 5; n++) {
    clock.advance(1000);
    lease.failed();
  }
  assert.ok(lease.awayMs() > 0);
  clock.advance(60_000);
  assert.equal(lease.awayMs(), 0);
  lease.failed();
  assert.equal(lease.awayMs(), 0);
});
