// The allowance that replicas share: one token bucket per homeserver, since it counts what comes from all of them.

import * as v from "valibot";
import { type Allowance, LocalAllowance, type Rate } from "../../calls/call_queue.ts";
import type { RedisConnection } from "./connection.ts";
import { bucketKey } from "./keys.ts";

/** What the allowance needs from outside. */
export interface RedisAllowanceDeps {
  readonly redis: Pick<RedisConnection, "isUp" | "replicas" | "runOn">;
  readonly monotonicNow: () => number;
}

const WaitMs = v.pipe(v.number(), v.minValue(0));

/** Token buckets in Redis; while it is away each replica has its share in a bucket of its own. */
export class RedisAllowance implements Allowance {
  readonly #redis: RedisAllowanceDeps["redis"];
  readonly #local: LocalAllowance;

  constructor({ redis, monotonicNow }: RedisAllowanceDeps) {
    this.#redis = redis;
    this.#local = new LocalAllowance(monotonicNow);
  }

  async take(homeserver: string, rate: Rate): Promise<number> {
    if (!this.#redis.isUp) return this.#takeLocally(homeserver, rate);
    try {
      const args = [rate.burst, rate.perSecond / 1000];
      return v.parse(WaitMs, await this.#redis.runOn("leaveAllow", [bucketKey(homeserver)], args));
    } catch {
      return this.#takeLocally(homeserver, rate);
    }
  }

  #takeLocally(homeserver: string, { burst, perSecond }: Rate): number {
    const replicas = Math.max(this.#redis.replicas, 1);
    return this.#local.take(homeserver, { burst: Math.max(burst / replicas, 1), perSecond: perSecond / replicas });
  }
}
