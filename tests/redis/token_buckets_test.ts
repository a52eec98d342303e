// One bucket per homeserver for all replicas, and a share of it for each while Redis is away.

import assert from "node:assert/strict";
import { RedisTokenBuckets } from "../../lib/leave/store/redis/token_buckets.ts";
import { Replica, until } from "./replica.ts";
import { RedisServer } from "../../testing/redis_server.ts";

const monotonicNow = () => performance.now();

Deno.test("replicas take from one bucket per homeserver, and hear how long to wait", async () => {
  await using server = await RedisServer.start();
  await using one = await Replica.open(server.url);
  await using two = await Replica.open(server.url);
  const allowances = [one, two].map(({ connection: redis }) => new RedisTokenBuckets({ redis, monotonicNow }));
  const rate = { burst: 5, perSecond: 0.1, learntAt: 0 };
  const take = (homeserver: string) =>
    Promise.all(Array.from({ length: 10 }, (_, n) => allowances[n % 2]?.take(homeserver, rate)));

  const waits = await take("example.com");
  assert.equal(waits.filter((taken) => taken?.waitMs === 0).length, 5);
  for (const waitMs of waits.map((taken) => taken?.waitMs).filter((waitMs) => waitMs !== 0)) {
    assert.ok(Number(waitMs) > 9000 && Number(waitMs) <= 10_000);
  }
  assert.equal((await take("example.org")).filter((taken) => taken?.waitMs === 0).length, 5);
  const ttlMs = Number(await server.cli("PTTL", "{lk-jwt:jobs}:bucket:example.com"));
  assert.ok(ttlMs > 100_000 && ttlMs <= 110_000, `${ttlMs}`);
});

Deno.test("what one replica learnt about an API counts for the others, until one learns more", async () => {
  await using server = await RedisServer.start();
  await using one = await Replica.open(server.url);
  await using two = await Replica.open(server.url);
  const [first, second] = [one, two].map(({ connection: redis }) => new RedisTokenBuckets({ redis, monotonicNow }));
  assert.ok(first !== undefined && second !== undefined);
  const initial = { burst: 5, perSecond: 1, learntAt: 0 };
  assert.equal((await first.take("api.example:443", initial)).shared, null);
  assert.equal((await first.take("api.example:443", { burst: 5, perSecond: 20.5, learntAt: 1000 })).shared, null);
  const shared = { perSecond: 20.5, learntAt: 1000 };
  assert.deepEqual((await second.take("api.example:443", initial)).shared, shared);
  assert.equal((await second.take("api.example:443", { burst: 5, perSecond: 4, learntAt: 2000 })).shared, null);
  assert.deepEqual((await first.take("api.example:443", { burst: 5, ...shared })).shared, {
    perSecond: 4,
    learntAt: 2000,
  });
  assert.equal((await first.take("api.example:8448", initial)).shared, null);
});

Deno.test("a bucket fills with time, up to its burst", async () => {
  await using server = await RedisServer.start();
  await using replica = await Replica.open(server.url);
  const buckets = new RedisTokenBuckets({ redis: replica.connection, monotonicNow });
  const rate = { burst: 2, perSecond: 20, learntAt: 0 };
  const taken = async () => {
    let count = 0;
    while ((await buckets.take("example.com", rate)).waitMs === 0) count++;
    return count;
  };
  assert.ok(await taken() >= 2);
  const { waitMs } = await buckets.take("example.com", rate);
  await until(async () => (await buckets.take("example.com", rate)).waitMs === 0, waitMs + 1000);
});

Deno.test("without Redis each replica has its share of the rate, at once", async () => {
  const redis = { isUp: false, replicas: 4, runOn: () => Promise.reject(new Error("not to be asked")) };
  const buckets = new RedisTokenBuckets({ redis, monotonicNow: () => 0 });
  const rate = { burst: 8, perSecond: 1, learntAt: 0 };
  assert.deepEqual(
    [(await buckets.take("example.com", rate)).waitMs, (await buckets.take("example.com", rate)).waitMs],
    [0, 0],
  );
  assert.equal((await buckets.take("example.com", rate)).waitMs, 4000);
});

Deno.test("a Redis that does not answer the question counts as away", async () => {
  const redis = { isUp: true, replicas: 1, runOn: () => Promise.reject(new Error("timed out")) };
  const buckets = new RedisTokenBuckets({ redis, monotonicNow: () => 0 });
  const rate = { burst: 1, perSecond: 1, learntAt: 0 };
  assert.equal((await buckets.take("example.com", rate)).waitMs, 0);
  assert.equal((await buckets.take("example.com", rate)).waitMs, 1000);
});
