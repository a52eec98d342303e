// The token buckets that replicas share.

import * as v from "valibot";
import { LocalTokenBuckets, type Rate, type Taken, type TokenBuckets } from "../../calls/token_bucket.ts";
import type { RedisConnection } from "./connection.ts";
import { bucketKey } from "./keys.ts";

/** What the buckets need from outside. */
export interface RedisTokenBucketsDeps {
  readonly redis: Pick<RedisConnection, "isUp" | "replicas" | "runOn">;
  readonly monotonicNow: () => number;
}

const WaitMs = v.pipe(v.number(), v.minValue(0));

/** Token buckets in Redis; while it is away each replica has its share in a bucket of its own. */
export class RedisTokenBuckets implements TokenBuckets {
  readonly #redis: RedisTokenBucketsDeps["redis"];
  readonly #local: LocalTokenBuckets;

  constructor({ redis, monotonicNow }: RedisTokenBucketsDeps) {
    this.#redis = redis;
    this.#local = new LocalTokenBuckets(monotonicNow);
  }

  async take(api: string, rate: Rate): Promise<Taken> {
    if (!this.#redis.isUp) return this.#takeLocally(api, rate);
    try {
      const args = [rate.burst, rate.perSecond / 1000];
      return { waitMs: v.parse(WaitMs, await this.#redis.runOn("leaveAllow", [bucketKey(api)], args)), shared: null };
    } catch {
      return this.#takeLocally(api, rate);
    }
  }

  #takeLocally(api: string, rate: Rate): Taken {
    const replicas = Math.max(this.#redis.replicas, 1);
    return this.#local.take(api, {
      ...rate,
      burst: Math.max(rate.burst / replicas, 1),
      perSecond: rate.perSecond / replicas,
    });
  }
}
