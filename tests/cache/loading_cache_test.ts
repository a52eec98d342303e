// The cache behind every memory of other servers: time to live, bound, order, single flight, failures.

import assert from "node:assert/strict";
import fc from "fast-check";
import { type Loaded, LoadingCache, type LoadingCacheOptions } from "../../lib/cache/loading_cache.ts";
import { ManualClock } from "../../testing/manual_clock.ts";
import { holdsOnlyFor } from "../../testing/refutable.ts";

function open<Value>(capacity = 10, options: Partial<LoadingCacheOptions<Value>> = {}) {
  const clock = new ManualClock();
  return { clock, cache: new LoadingCache<Value>({ capacity, clock, ...options }) };
}

function loaded<Value>(value: Value, ttlMs = 1000): () => Promise<Loaded<Value>> {
  return () => Promise.resolve({ value, ttlMs });
}

const mustNotLoad = (): never => assert.fail("loaded again");

Deno.test("a value is served until its time is over", async () => {
  const { clock, cache } = open<string>();
  assert.equal(await cache.get("a", loaded("first")), "first");
  clock.advance(999);
  assert.equal(cache.has("a"), true);
  assert.equal(await cache.get("a", mustNotLoad), "first");
  clock.advance(1);
  assert.equal(cache.has("a"), false);
  assert.equal(await cache.get("a", loaded("second")), "second");
});

Deno.test("the time to live begins when the load ends", async () => {
  const { clock, cache } = open<string>();
  await cache.get("a", () => {
    clock.advance(5000);
    return Promise.resolve({ value: "slow", ttlMs: 1000 });
  });
  clock.advance(999);
  assert.equal(await cache.get("a", mustNotLoad), "slow");
});

Deno.test("a time to live of 0 serves the waiting callers only, and forgets what was there", async () => {
  const { clock, cache } = open<string>();
  await cache.get("a", loaded("old"));
  clock.advance(1000);
  assert.equal(await cache.get("a", loaded("passing", 0)), "passing");
  assert.equal(cache.has("a"), false);
  assert.equal(cache.size, 0);
});

Deno.test("many callers at once cost one load, per key", async () => {
  const { cache } = open<string>();
  const gate = Promise.withResolvers<void>();
  const loads: string[] = [];
  const load = (key: string) => async () => {
    loads.push(key);
    await gate.promise;
    return { value: key, ttlMs: 1000 };
  };
  const waiting = ["a", "b"].flatMap((key) => Array.from({ length: 100 }, () => cache.get(key, load(key))));
  gate.resolve();
  assert.deepEqual(new Set(await Promise.all(waiting)), new Set(["a", "b"]));
  assert.deepEqual(loads, ["a", "b"]);
});

Deno.test("a rejection reaches all who wait, and is not kept", async () => {
  const { cache } = open<string>();
  const failing = () => Promise.reject(new Error("no luck"));
  const settled = await Promise.allSettled([cache.get("a", failing), cache.get("a", mustNotLoad)]);
  assert.deepEqual(settled.map(({ status }) => status), ["rejected", "rejected"]);
  assert.equal(await cache.get("a", loaded("new")), "new");
});

Deno.test("a caller whose signal is aborted leaves; the load goes on for the others and is kept", async () => {
  const { cache } = open<string>();
  const gate = Promise.withResolvers<Loaded<string>>();
  const controller = new AbortController();
  const impatient = cache.get("a", () => gate.promise, controller.signal);
  const patient = cache.get("a", mustNotLoad);
  controller.abort(new Error("over"));
  await assert.rejects(impatient, /over/);
  gate.resolve({ value: "new", ttlMs: 1000 });
  assert.equal(await patient, "new");
  assert.equal(await cache.get("a", mustNotLoad, controller.signal), "new");
});

function failed(value: string, ttlMs = 1000): () => Promise<Loaded<string>> {
  return () => Promise.resolve({ value, ttlMs, isFailure: true });
}

Deno.test("a good value is kept through failures until it is too old, and asked for again at each time to live", async () => {
  const { clock, cache } = open<string>(10, { maxStaleMs: 3000 });
  await cache.get("a", loaded("good"));
  for (const at of [1000, 2000]) {
    clock.advance(1000);
    assert.equal(await cache.get("a", failed("bad")), "good", `${at}`);
    assert.equal(await cache.get("a", mustNotLoad), "good", `${at}`);
  }
  clock.advance(1000);
  assert.equal(await cache.get("a", failed("bad")), "bad");
});

Deno.test("a failure is never kept in place of a later one, and a new good value counts anew", async () => {
  const { clock, cache } = open<string>(10, { maxStaleMs: 3000 });
  assert.equal(await cache.get("a", failed("bad")), "bad");
  clock.advance(1000);
  assert.equal(await cache.get("a", failed("worse")), "worse");
  clock.advance(1000);
  await cache.get("a", loaded("good"));
  clock.advance(2999);
  assert.equal(await cache.get("a", failed("bad")), "good");
});

Deno.test("what is kept may have something of the failure in it", async () => {
  const { clock, cache } = open<string>(10, { maxStaleMs: 9000, keep: (held, failure) => `${held}, ${failure}` });
  await cache.get("a", loaded("good"));
  clock.advance(1000);
  assert.equal(await cache.get("a", failed("bad")), "good, bad");
});

Deno.test("a load that throws at once is a failure like any other", async () => {
  const { cache } = open<string>();
  await assert.rejects(
    cache.get("a", () => {
      throw new Error("at once");
    }),
    /at once/,
  );
  assert.equal(await cache.get("a", loaded("b")), "b");
});

Deno.test("a deleted key is loaded again, a load under way is stored all the same", async () => {
  const { cache } = open<string>();
  await cache.get("a", loaded("old"));
  cache.delete("a");
  const gate = Promise.withResolvers<Loaded<string>>();
  const underWay = cache.get("a", () => gate.promise);
  cache.delete("a");
  gate.resolve({ value: "new", ttlMs: 1000 });
  assert.equal(await underWay, "new");
  assert.equal(await cache.get("a", mustNotLoad), "new");
});

interface Cache {
  /** Uses a key, loading it when needed. */
  use(key: string): Promise<unknown>;
  has(key: string): boolean;
  readonly size: number;
}

function ours(capacity: number): Cache {
  const { cache } = open<string>(capacity);
  return {
    use: (key) => cache.get(key, loaded(key)),
    has: (key) => cache.has(key),
    get size() {
      return cache.size;
    },
  };
}

Deno.test("the keys used last are kept, never more than the capacity", async () => {
  const keys = fc.array(fc.constantFrom(..."abcdef"), { maxLength: 30 });
  const keepsLatest = (create: (capacity: number) => Cache) =>
    fc.asyncProperty(fc.integer({ min: 1, max: 4 }), keys, async (capacity, keys) => {
      const cache = create(capacity);
      for (const key of keys) {
        await cache.use(key);
        assert.ok(cache.size <= capacity);
      }
      const latest = new Set(keys.toReversed());
      const kept = new Set([...latest].slice(0, capacity));
      for (const key of latest) assert.equal(cache.has(key), kept.has(key), key);
    });
  const plain = (isRefreshed: boolean, isBounded: boolean) => (capacity: number): Cache => {
    const entries = new Set<string>();
    return {
      use(key) {
        if (isRefreshed) entries.delete(key);
        entries.add(key);
        const [oldest = ""] = entries;
        if (isBounded && entries.size > capacity) entries.delete(oldest);
        return Promise.resolve();
      },
      has: (key) => entries.has(key),
      get size() {
        return entries.size;
      },
    };
  };

  await holdsOnlyFor(keepsLatest, ours, {
    "first in, first out": plain(false, true),
    "unbounded": plain(true, false),
  });
});

Deno.test("each look-up counts once: from memory, by a load under way, or as a load", async () => {
  const clock = new ManualClock();
  const cache = new LoadingCache<number>({ capacity: 2, clock });
  const load = () => Promise.resolve({ value: 1, ttlMs: 1000 });
  await Promise.all([cache.get("a", load), cache.get("a", load), cache.get("a", load)]);
  await cache.get("a", load);
  clock.advance(1000);
  await cache.get("a", load);
  assert.deepEqual(cache.counts, { hits: 1, joins: 2, loads: 2 });
});
