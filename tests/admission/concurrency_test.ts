// The concurrency limit: what is over the bounds is turned away at once, and servers that hang take no more than their share.

import assert from "node:assert/strict";
import { ConcurrencyLimit, type ConcurrencyLimits, DEFAULT_LIMITS } from "../../lib/admission/concurrency.ts";
import { parseServerName, type ServerName } from "../../lib/matrix/server_name.ts";
import { ManualClock } from "../../testing/manual_clock.ts";

const BUSY = { status: 503, errcode: "M_UNKNOWN", retryAfterSeconds: 5 };

function name(text: string): ServerName {
  const server = parseServerName(text);
  assert.ok(server !== null, text);
  return server;
}

/** A limit to which all servers are named, or these. */
function limitOf(limits: Partial<ConcurrencyLimits>, named?: readonly string[], clock = new ManualClock()) {
  return new ConcurrencyLimit({
    limits: { ...DEFAULT_LIMITS, ...limits },
    isNamed: (server) => named === undefined || named.includes(server),
    clock,
  });
}

/** Takes a permit and gives it back: throws when there is none. */
function pass(limit: ConcurrencyLimit, server: string): void {
  limit.acquire(name(server)).release();
}

/** Takes permits and keeps them until released; those that are refused are not among them. */
function hanging(limit: ConcurrencyLimit, server: string, count: number) {
  const before = limit.inFlight;
  const permits = Array.from({ length: count }, () => {
    try {
      return limit.acquire(name(server));
    } catch {
      return null;
    }
  });
  return {
    held: limit.inFlight - before,
    release() {
      for (const permit of permits) permit?.release();
    },
  };
}

Deno.test("the bounds are 4,000 exchanges, 1,000 per homeserver, 3,000 of unnamed and 2,000 of unproven ones", () => {
  assert.deepEqual(DEFAULT_LIMITS, { total: 4000, perServer: 1000, unnamed: 3000, unproven: 2000 });
});

Deno.test("one homeserver gets its share and no more, the others are served on", () => {
  const limit = limitOf({ total: 10, perServer: 3 });
  const slow = hanging(limit, "slow.example", 3);
  assert.throws(() => pass(limit, "slow.example"), BUSY);
  pass(limit, "other.example");
  slow.release();
  pass(limit, "slow.example");
});

Deno.test("spelling does not multiply a share, ports and names below do not share one", () => {
  const limit = limitOf({ perServer: 1 }, []);
  hanging(limit, "Slow.Example", 1);
  assert.throws(() => pass(limit, "slow.example"), BUSY);
  assert.throws(() => pass(limit, "SLOW.EXAMPLE"), BUSY);
  pass(limit, "slow.example:8448");
  pass(limit, "a.slow.example");
});

Deno.test("other spellings of a named server take nothing from its share", () => {
  const limit = limitOf({ perServer: 1 }, ["ours.example"]);
  hanging(limit, "OURS.example", 1);
  pass(limit, "ours.example");
});

Deno.test("the total bounds all homeservers together", () => {
  const limit = limitOf({ total: 4, perServer: 3 });
  const slow = [hanging(limit, "a.example", 3), hanging(limit, "b.example", 1)];
  assert.equal(limit.inFlight, 4);
  assert.throws(() => pass(limit, "c.example"), BUSY);
  for (const { release } of slow) release();
  assert.equal(limit.inFlight, 0);
});

Deno.test("forty homeservers that hang leave room for a stranger, a server that has proved itself, and ours", () => {
  const limit = limitOf({}, ["ours.example"]);
  limit.prove(name("known.example"));
  const slow = Array.from({ length: 40 }, (_, index) => hanging(limit, `evil${index}.example`, 1000));
  assert.ok(limit.inFlight < DEFAULT_LIMITS.unproven, `${limit.inFlight}`);
  const stranger = hanging(limit, "stranger.example", 1000);
  assert.equal(stranger.held, 8);
  const known = hanging(limit, "known.example", 1000);
  assert.ok(known.held > 400, `${known.held}`);
  assert.equal(hanging(limit, "ours.example", 1001).held, 1000);
  assert.ok(limit.inFlight <= DEFAULT_LIMITS.total);
  for (const { release } of [...slow, stranger, known]) release();
});

Deno.test("even any number of names, one request each, leave room for the servers that are known", () => {
  const limit = limitOf({}, ["ours.example"]);
  limit.prove(name("known.example"));
  for (let index = 0; index < 5000; index++) hanging(limit, `evil${index}.example`, 1);
  assert.equal(limit.inFlight, DEFAULT_LIMITS.unproven);
  assert.ok(hanging(limit, "known.example", 1000).held === 250);
  assert.equal(hanging(limit, "ours.example", 1000).held, 1000);
});

Deno.test("one unnamed server alone still gets its whole share", () => {
  const limit = limitOf({}, []);
  assert.equal(hanging(limit, "storm.example", 1001).held, 1000);
});

Deno.test("a server is known for ten minutes after it vouched for a user", () => {
  const clock = new ManualClock();
  const limit = limitOf({ unproven: 0 }, [], clock);
  assert.equal(hanging(limit, "known.example", 1).held, 0);
  limit.prove(name("known.example"));
  clock.advance(10 * 60_000 - 1);
  assert.equal(hanging(limit, "known.example", 1).held, 1);
  clock.advance(1);
  assert.equal(hanging(limit, "known.example", 1).held, 0);
});

Deno.test("a permit is given back once, however often it is released, and at the end of its block", () => {
  const limit = limitOf({ total: 2, perServer: 2 });
  const other = hanging(limit, "a.example", 1);
  const permit = limit.acquire(name("a.example"));
  for (let times = 0; times < 3; times++) permit.release();
  assert.equal(limit.inFlight, 1);
  {
    using _permit = limit.acquire(name("a.example"));
    assert.equal(limit.inFlight, 2);
  }
  other.release();
  assert.equal(limit.inFlight, 0);
});
