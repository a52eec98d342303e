// Capacity: what is over the bounds is turned away at once, a hanging homeserver takes no more than its share.

import assert from "node:assert/strict";
import { Capacity, DEFAULT_LIMITS } from "../lib/capacity.ts";

const BUSY = { status: 503, errcode: "M_UNKNOWN", retryAfterSeconds: 5 };

/** Starts exchanges that hang until released. */
function hanging(capacity: Capacity, server: string, count: number) {
  const gate = Promise.withResolvers<void>();
  const running = Array.from({ length: count }, () => capacity.run(server, () => gate.promise));
  return {
    async release() {
      gate.resolve();
      await Promise.all(running);
    },
  };
}

Deno.test("the bounds are 4,000 exchanges and 1,000 per homeserver", () => {
  assert.deepEqual(DEFAULT_LIMITS, { total: 4000, perServer: 1000 });
});

Deno.test("one homeserver gets its share and no more, the others are served on", async () => {
  const capacity = new Capacity({ total: 10, perServer: 3 });
  const held = hanging(capacity, "slow.example", 3);
  let ran = false;
  const refused = capacity.run("slow.example", () => {
    ran = true;
    return Promise.resolve();
  });
  await assert.rejects(refused, BUSY);
  assert.equal(ran, false);
  assert.equal(await capacity.run("other.example", () => Promise.resolve("served")), "served");
  await held.release();
  assert.equal(await capacity.run("slow.example", () => Promise.resolve("served")), "served");
});

Deno.test("spelling does not multiply a share, ports and names below do not share one", async () => {
  const capacity = new Capacity({ total: 10, perServer: 1 });
  const held = hanging(capacity, "Slow.Example", 1);
  await assert.rejects(capacity.run("slow.example", () => Promise.resolve()), BUSY);
  await assert.rejects(capacity.run("SLOW.EXAMPLE", () => Promise.resolve()), BUSY);
  await capacity.run("slow.example:8448", () => Promise.resolve());
  await capacity.run("a.slow.example", () => Promise.resolve());
  await held.release();
});

Deno.test("the total bounds all homeservers together", async () => {
  const capacity = new Capacity({ total: 4, perServer: 3 });
  const held = [hanging(capacity, "a.example", 3), hanging(capacity, "b.example", 1)];
  assert.equal(capacity.inFlight, 4);
  await assert.rejects(capacity.run("c.example", () => Promise.resolve()), BUSY);
  for (const { release } of held) await release();
  assert.equal(capacity.inFlight, 0);
});

Deno.test("failures give their place back, thrown at once or later", async () => {
  const capacity = new Capacity({ total: 1, perServer: 1 });
  for (let i = 0; i < 5; i++) {
    await assert.rejects(capacity.run("a.example", () => Promise.reject(new Error("later"))), /later/);
    await assert.rejects(
      capacity.run("a.example", () => {
        throw new Error("at once");
      }),
      /at once/,
    );
    await assert.rejects(
      Promise.all([
        capacity.run("a.example", () => Promise.resolve()),
        capacity.run("b.example", () => Promise.resolve()),
      ]),
      BUSY,
    );
  }
  assert.equal(capacity.inFlight, 0);
});
