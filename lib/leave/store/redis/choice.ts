// The store and the token buckets that go over one pair of connections to Redis.

import type { RedisTarget } from "../../../redis/url.ts";
import type { ServiceDeps } from "../../../service.ts";
import type { ChosenStore } from "../choose.ts";
import { RedisTokenBuckets } from "./token_buckets.ts";
import { RedisConnection } from "./connection.ts";
import { RedisStore } from "./store.ts";

/** A store in Redis, not opened yet. */
export function chooseRedis(target: RedisTarget, deps: ServiceDeps): ChosenStore {
  const redis = new RedisConnection({ ...deps, target, replica: crypto.randomUUID() });
  return { store: new RedisStore({ ...deps, redis }), buckets: new RedisTokenBuckets({ ...deps, redis }) };
}
