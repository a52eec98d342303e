// Chooses where delegated leaves are kept: in Redis, in a state directory, or in memory.

import type { Clock } from "../../async/clock.ts";
import type { Log } from "../../log/log.ts";
import type { RedisTarget } from "../../redis/url.ts";
import { LocalTokenBuckets, type TokenBuckets } from "../calls/token_bucket.ts";
import { SqliteStore } from "./sqlite/store.ts";
import { type LeaveStore, MemoryStore } from "./store.ts";

/** What the choice depends on, and what each store needs. */
export interface StoreOptions {
  /** null = no Redis. */
  readonly redis: RedisTarget | null;
  /** null = no directory. Redis comes before it. */
  readonly stateDir: string | null;
  readonly clock: Clock;
  readonly log: Log;
}

/** A store, and the token buckets that go with it: shared where the store is. */
export interface ChosenStore {
  readonly store: LeaveStore;
  readonly buckets: TokenBuckets;
}

/** The store that the options ask for, not opened yet. What Redis needs is loaded where Redis is wanted. */
export async function chooseStore({ redis: target, stateDir, clock, log }: StoreOptions): Promise<ChosenStore> {
  if (target !== null) {
    const { RedisConnection } = await import("./redis/connection.ts");
    const { RedisStore } = await import("./redis/store.ts");
    const { RedisTokenBuckets } = await import("./redis/token_buckets.ts");
    const redis = new RedisConnection({ target, replica: crypto.randomUUID(), log });
    return { store: new RedisStore({ redis, clock, log }), buckets: new RedisTokenBuckets({ redis, ...clock }) };
  }
  const buckets = new LocalTokenBuckets(clock.monotonicNow);
  if (stateDir !== null) {
    return { store: new SqliteStore({ clock, log, directory: stateDir }), buckets };
  }
  log.warning(
    "Delayed leave events are kept in memory: a restart loses them. Set LIVEKIT_STATE_DIR to a writable directory",
  );
  return { store: new MemoryStore(), buckets };
}
