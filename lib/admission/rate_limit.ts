// How often one client may ask: so many requests per window, counted in Redis for all replicas together, or in memory
// where there is no Redis or it is away.

import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from "rate-limiter-flexible";
import type { Clock } from "../async/clock.ts";
import { BoundedMap } from "../cache/bounded_map.ts";
import type { Log } from "../log/log.ts";
import { type ClientAddress, clientKey } from "./client_address.ts";
import { MatrixError } from "../matrix_error.ts";

/** The operator's rule. */
export interface RateLimitOptions {
  readonly requests: number;
  readonly windowSeconds: number;
  /** null = count in memory. Ended with the limit. */
  readonly redis: SharedCounter | null;
  readonly clock: Clock;
  readonly log: Log;
}

/** A connection to Redis. */
export interface SharedCounter {
  /** An ioredis client; its status is how the library knows whether it can be used now. */
  readonly client: { readonly status: string };
  readonly disconnect: () => Promise<void>;
}

/** Limits requests per client. */
export interface RateLimit {
  /**
   * Counts one request.
   *
   * @param client null = unknown: not counted.
   * @throws MatrixError 429 once the client has had its share of the window.
   */
  take(client: ClientAddress | null): Promise<void>;
  /** Forgets all that is counted in memory, and ends the connection. */
  close(): Promise<void>;
}

// In the slot of the service's other keys.
const REDIS_PREFIX = "{lk-jwt:jobs}:rate";
// A Redis that hangs must not hold everybody up.
const REDIS_TIMEOUT_MS = 500;
const REDIS_PAUSE_MS = 5000;
const MAX_CLIENTS = 5000;

/** Builds the limit. */
export function createRateLimit(options: RateLimitOptions): RateLimit {
  const { requests, windowSeconds, redis, clock, log } = options;
  const rule = { points: requests, duration: windowSeconds };
  const inMemory = new MemoryCounts(rule);
  const shared = redis === null ? null : new RateLimiterRedis({
    ...rule,
    storeClient: redis.client,
    keyPrefix: REDIS_PREFIX,
    rejectIfRedisNotReady: true,
  });
  let withoutRedisUntil = 0;

  async function count(key: string): Promise<RateLimiterRes> {
    if (shared === null || clock.monotonicNow() < withoutRedisUntil) return await inMemory.count(key);
    const counted = await outcome(inTime(shared.consume(key), clock));
    if (counted !== null) return counted;
    withoutRedisUntil = clock.monotonicNow() + REDIS_PAUSE_MS;
    log.warning("Redis does not answer: each replica counts requests by itself", { throttle: true });
    return await inMemory.count(key);
  }

  return {
    async take(client) {
      if (client === null) return;
      const key = clientKey(client);
      const { consumedPoints, msBeforeNext } = await count(key);
      if (consumedPoints <= requests) return;
      log.info("A client asks more often than LIVEKIT_RATE_LIMIT allows", { client: key, throttle: key });
      throw tooMany(msBeforeNext);
    },
    async close() {
      inMemory.clear();
      await redis?.disconnect();
    },
  };
}

/** The library counts for any number of keys; here the client least recently seen is forgotten past 5,000. */
class MemoryCounts {
  readonly #limiter: RateLimiterMemory;
  readonly #keys = new BoundedMap<string, true>(MAX_CLIENTS);

  constructor(rule: { readonly points: number; readonly duration: number }) {
    this.#limiter = new RateLimiterMemory(rule);
  }

  async count(key: string): Promise<RateLimiterRes> {
    const dropped = this.#keys.set(key, true);
    if (dropped !== undefined) void this.#limiter.delete(dropped[0]);
    const counted = await outcome(this.#limiter.consume(key));
    if (counted === null) throw new TypeError("Cannot count in memory");
    return counted;
  }

  clear(): void {
    for (const key of this.#keys.keys()) void this.#limiter.delete(key);
    this.#keys.clear();
  }
}

/** The library rejects with the counts when they are over the limit, and with an error when it could not count: null. */
async function outcome(counting: Promise<RateLimiterRes>): Promise<RateLimiterRes | null> {
  try {
    return await counting;
  } catch (rejection) {
    return rejection instanceof RateLimiterRes ? rejection : null;
  }
}

function inTime(counting: Promise<RateLimiterRes>, clock: Clock): Promise<RateLimiterRes> {
  return new Promise((resolve, reject) => {
    const cancel = clock.setTimer(() => reject(new Error("No answer of Redis in time")), REDIS_TIMEOUT_MS);
    counting.then(resolve, reject).finally(cancel);
  });
}

function tooMany(msBeforeNext: number): MatrixError {
  const retryAfterMs = Math.max(Math.ceil(msBeforeNext), 1);
  return new MatrixError(429, "M_LIMIT_EXCEEDED", "Too many requests, try again later", { retryAfterMs });
}
