// The token buckets that replicas share, with what any of them has learnt about an API's limit.

import * as v from "valibot";
import { LocalTokenBuckets, type Rate, type Taken, type TokenBuckets } from "../../calls/token_bucket.ts";
import type { RedisConnection } from "./connection.ts";
import { TAG } from "./scripts.ts";

/** What the buckets need from outside. */
export interface RedisTokenBucketsDeps {
  readonly redis: Pick<RedisConnection, "isUp" | "replicas" | "runOn">;
  readonly monotonicNow: () => number;
}

const Positive = v.pipe(v.string(), v.transform(Number), v.number(), v.finite(), v.gtValue(0));
const WaitMs = v.pipe(v.number(), v.minValue(0));
const Reply = v.union([
  v.pipe(v.tuple([WaitMs, v.literal(""), v.literal("")]), v.transform(([waitMs]) => ({ waitMs, shared: null }))),
  v.pipe(
    v.tuple([WaitMs, Positive, Positive]),
    v.transform(([waitMs, perSecond, learntAt]) => ({ waitMs, shared: { perSecond, learntAt } })),
  ),
]);

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
      const args = [rate.burst, rate.perSecond, rate.learntAt];
      return v.parse(Reply, await this.#redis.runOn("leaveTakeToken", [`${TAG}:bucket:${api}`], args));
    } catch {
      return this.#takeLocally(api, rate);
    }
  }

  #takeLocally(api: string, { burst, perSecond, ...rate }: Rate): Taken {
    const replicas = Math.max(this.#redis.replicas, 1);
    return this.#local.take(api, {
      ...rate,
      burst: Math.max(burst / replicas, 1),
      perSecond: perSecond / replicas,
    });
  }
}
