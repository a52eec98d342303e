// What touches the world, by name: time, chance, DNS and sockets. Tests replace some of it; the rest is production's.

import { setTimeout as sleepFor } from "node:timers/promises";
import type { Clock } from "./async/clock.ts";
import type { Connectors, HostResolver } from "./net/dialer.ts";
import { resolveSrv, type SrvResolver } from "./net/srv.ts";

/** The world as the service sees it. */
export interface Platform {
  readonly clock: Clock;
  /** From 0 (inclusive) to 1 (exclusive). */
  readonly random: () => number;
  readonly resolveSrv: SrvResolver;
  readonly resolveHost?: HostResolver;
  readonly connectors?: Connectors;
}

/** The time of this host. */
export const systemClock: Clock = {
  now: Date.now,
  monotonicNow: () => performance.now(),
  setTimer(run, delayMs) {
    const timer = setTimeout(run, delayMs);
    return () => clearTimeout(timer);
  },
  sleep: (durationMs, signal) => sleepFor(durationMs, undefined, { signal }),
};

/** The world as it is. */
export const systemPlatform: Platform = { clock: systemClock, random: Math.random, resolveSrv };
