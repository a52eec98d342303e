// Chooses where delegated leaves are kept: in Redis, in a state directory, or in memory.

import type { Config } from "../../config/config.ts";
import type { ServiceDeps } from "../../service.ts";
import { LocalTokenBuckets, type TokenBuckets } from "../calls/token_bucket.ts";
import { SqliteStore } from "./sqlite/store.ts";
import { type LeaveStore, MemoryStore } from "./store.ts";

/** A store, and the token buckets that go with it: shared where the store is. */
export interface ChosenStore {
  readonly store: LeaveStore;
  readonly buckets: TokenBuckets;
}

/** The store that the configuration asks for, not opened yet. What Redis needs is loaded where Redis is wanted. */
export async function chooseStore({ redis: target, stateDir }: Config, deps: ServiceDeps): Promise<ChosenStore> {
  if (target !== null) {
    const { chooseRedis } = await import("./redis/choice.ts");
    return chooseRedis(target, deps);
  }
  const buckets = new LocalTokenBuckets(deps.monotonicNow);
  if (stateDir !== null) {
    return { store: new SqliteStore({ ...deps, directory: stateDir }), buckets };
  }
  deps.log.warning(
    "Delayed leave events are kept in memory: a restart loses them. Set LIVEKIT_STATE_DIR to a writable directory",
  );
  return { store: new MemoryStore(), buckets };
}
