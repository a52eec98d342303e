// Capacity: what is over the bounds is turned away at once, and servers that hang take no more than their share.

import assert from "node:assert/strict";
import { Capacity, type CapacityLimits, DEFAULT_LIMITS } from "../../lib/admission/concurrency.ts";
import { ManualClock } from "../../testing/manual_clock.ts";

const BUSY = { status: 503, errcode: "M_UNKNOWN", retryAfterSeconds: 5 };
const nothing = () => Promise.resolve();

/** A capacity in which all servers are listed, or these. */
function capacityOf(limits: Partial<CapacityLimits>, listed?: readonly string[], clock = new ManualClock()): Capacity {
  return new Capacity({
    limits: { ...DEFAULT_LIMITS, ...limits },
    isListed: (server) => listed === undefined || listed.includes(server),
    monotonicNow: clock.monotonicNow,
  });
}

/** Starts exchanges that hang until released; those that are turned away are not among them. */
function hanging(capacity: Capacity, server: string, count: number) {
  const gate = Promise.withResolvers<void>();
  const before = capacity.inFlight;
  const running = Array.from({ length: count }, () => capacity.run(server, () => gate.promise));
  for (const one of running) one.catch(() => {});
  return {
    held: capacity.inFlight - before,
    async release() {
      gate.resolve();
      await Promise.allSettled(running);
    },
  };
}

Deno.test("the bounds are 4,000 exchanges, 1,000 per homeserver, 3,000 of unlisted and 2,000 of unproven ones", () => {
  assert.deepEqual(DEFAULT_LIMITS, { total: 4000, perServer: 1000, unlisted: 3000, unproven: 2000 });
});

Deno.test("one homeserver gets its share and no more, the others are served on", async () => {
  const capacity = capacityOf({ total: 10, perServer: 3 });
  const slow = hanging(capacity, "slow.example", 3);
  let ran = false;
  const refused = capacity.run("slow.example", () => {
    ran = true;
    return nothing();
  });
  await assert.rejects(refused, BUSY);
  assert.equal(ran, false);
  assert.equal(await capacity.run("other.example", () => Promise.resolve("served")), "served");
  await slow.release();
  assert.equal(await capacity.run("slow.example", () => Promise.resolve("served")), "served");
});

Deno.test("spelling does not multiply a share, ports and names below do not share one", async () => {
  const capacity = capacityOf({ perServer: 1 }, []);
  const slow = hanging(capacity, "Slow.Example", 1);
  await assert.rejects(capacity.run("slow.example", nothing), BUSY);
  await assert.rejects(capacity.run("SLOW.EXAMPLE", nothing), BUSY);
  await capacity.run("slow.example:8448", nothing);
  await capacity.run("a.slow.example", nothing);
  await slow.release();
});

Deno.test("other spellings of a listed name take nothing from its share", async () => {
  const capacity = capacityOf({ perServer: 1 }, ["ours.example"]);
  const slow = hanging(capacity, "OURS.example", 1);
  await capacity.run("ours.example", nothing);
  await slow.release();
});

Deno.test("the total bounds all homeservers together", async () => {
  const capacity = capacityOf({ total: 4, perServer: 3 });
  const slow = [hanging(capacity, "a.example", 3), hanging(capacity, "b.example", 1)];
  assert.equal(capacity.inFlight, 4);
  await assert.rejects(capacity.run("c.example", nothing), BUSY);
  for (const { release } of slow) await release();
  assert.equal(capacity.inFlight, 0);
});

Deno.test("forty homeservers that hang leave room for a stranger, a server that has proved itself, and ours", async () => {
  const capacity = capacityOf({}, ["ours.example"]);
  capacity.prove("known.example");
  const slow = Array.from({ length: 40 }, (_, index) => hanging(capacity, `evil${index}.example`, 1000));
  assert.ok(capacity.inFlight < DEFAULT_LIMITS.unproven, `${capacity.inFlight}`);
  const stranger = hanging(capacity, "stranger.example", 1000);
  assert.equal(stranger.held, 8);
  const known = hanging(capacity, "known.example", 1000);
  assert.ok(known.held > 400, `${known.held}`);
  assert.equal(hanging(capacity, "ours.example", 1001).held, 1000);
  assert.ok(capacity.inFlight <= DEFAULT_LIMITS.total);
  await Promise.all([...slow, stranger, known].map(({ release }) => release()));
});

Deno.test("even any number of names, one request each, leave room for the servers that are known", () => {
  const capacity = capacityOf({}, ["ours.example"]);
  capacity.prove("known.example");
  for (let index = 0; index < 5000; index++) hanging(capacity, `evil${index}.example`, 1);
  assert.equal(capacity.inFlight, DEFAULT_LIMITS.unproven);
  assert.ok(hanging(capacity, "known.example", 1000).held === 250);
  assert.equal(hanging(capacity, "ours.example", 1000).held, 1000);
});

Deno.test("one unlisted server alone still gets its whole share", () => {
  const capacity = capacityOf({}, []);
  assert.equal(hanging(capacity, "storm.example", 1001).held, 1000);
});

Deno.test("a server is known for ten minutes after it vouched for a user", () => {
  const clock = new ManualClock();
  const capacity = capacityOf({ unproven: 0 }, [], clock);
  assert.equal(hanging(capacity, "known.example", 1).held, 0);
  capacity.prove("known.example");
  clock.advance(10 * 60_000 - 1);
  assert.equal(hanging(capacity, "known.example", 1).held, 1);
  clock.advance(1);
  assert.equal(hanging(capacity, "known.example", 1).held, 0);
});

Deno.test("failures give their place back, thrown at once or later", async () => {
  const capacity = capacityOf({ total: 1, perServer: 1 });
  for (let i = 0; i < 5; i++) {
    await assert.rejects(capacity.run("a.example", () => Promise.reject(new Error("later"))), /later/);
    await assert.rejects(
      capacity.run("a.example", () => {
        throw new Error("at once");
      }),
      /at once/,
    );
    await assert.rejects(
      Promise.all([capacity.run("a.example", nothing), capacity.run("b.example", nothing)]),
      BUSY,
    );
  }
  assert.equal(capacity.inFlight, 0);
});
