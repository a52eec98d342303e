// The store and the allowance that go over one pair of connections to Redis.

import type { RedisTarget } from "../redis_url.ts";
import type { ServiceDeps } from "../service.ts";
import type { ChosenStore } from "./open_store.ts";
import { RedisAllowance } from "./redis_allowance.ts";
import { RedisConnection } from "./redis_connection.ts";
import { RedisStore } from "./redis_store.ts";

/** A store in Redis, not opened yet. */
export function chooseRedis(target: RedisTarget, deps: ServiceDeps): ChosenStore {
  const redis = new RedisConnection({ ...deps, target, replica: crypto.randomUUID() });
  return { store: new RedisStore({ ...deps, redis }), allowance: new RedisAllowance({ ...deps, redis }) };
}
