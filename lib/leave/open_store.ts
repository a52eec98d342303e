// Chooses where delegated leaves are kept: a state directory, or memory.

import type { Config } from "../config.ts";
import type { ServiceDeps } from "../service.ts";
import { type Allowance, LocalAllowance } from "./pacing.ts";
import { SqliteStore } from "./sqlite_store.ts";
import { type LeaveStore, MemoryStore } from "./store.ts";

/** A store, and the allowance that goes with it: shared where the store is. */
export interface ChosenStore {
  readonly store: LeaveStore;
  readonly allowance: Allowance;
}

/** The store that the configuration asks for, not opened yet. */
export function chooseStore(config: Config, deps: ServiceDeps): ChosenStore {
  const allowance = new LocalAllowance(deps.monotonicNow);
  if (config.redisUrl !== null) {
    deps.log.warning("LIVEKIT_REDIS_URL has no effect yet: delayed leave events are kept by this process alone");
  }
  if (config.stateDir !== null) {
    return { store: new SqliteStore({ ...deps, directory: config.stateDir }), allowance };
  }
  deps.log.warning(
    "Delayed leave events are kept in memory: a restart loses them. Set LIVEKIT_STATE_DIR to a writable directory",
  );
  return { store: new MemoryStore(), allowance };
}
