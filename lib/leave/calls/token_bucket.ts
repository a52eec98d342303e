// When the next call to a homeserver's API may go out: one token bucket per API, in this process or shared by all
// replicas, since homeservers count what comes from all of them together.

import { BoundedMap } from "../../cache/bounded_map.ts";

/** What a replica believes an API allows. */
export interface Rate {
  /** Calls that may go out at once. */
  readonly burst: number;
  readonly perSecond: number;
  /** When `perSecond` was learnt, wall-clock ms; 0 = nothing was learnt yet. Of two rates the later one counts. */
  readonly learntAt: number;
}

/** What came of asking for a token. */
export interface Taken {
  /** 0 = the call may go out; else ms to wait before asking again. */
  readonly waitMs: number;
  /** What another replica learnt about the same API later; null = nothing. */
  readonly shared: Pick<Rate, "perSecond" | "learntAt"> | null;
}

/** Token buckets, one per API. */
export interface TokenBuckets {
  /**
   * Takes a token.
   *
   * @param api Host and port of a homeserver's client-server API.
   * @throws When a shared bucket can't be asked.
   */
  take(api: string, rate: Rate): Promise<Taken> | Taken;
}

interface Bucket {
  readonly tokens: number;
  readonly at: number;
}

// Beyond so many, those that are full again are as good as new.
const MAX_BUCKETS = 2000;

/** Token buckets in this process. */
export class LocalTokenBuckets implements TokenBuckets {
  readonly #buckets = new BoundedMap<string, Bucket>(MAX_BUCKETS);
  readonly #now: () => number;

  /** @param monotonicNow A clock that never jumps, in ms. */
  constructor(monotonicNow: () => number) {
    this.#now = monotonicNow;
  }

  /** APIs remembered. */
  get size(): number {
    return this.#buckets.size;
  }

  take(api: string, { burst, perSecond }: Rate): Taken {
    const now = this.#now();
    const held = this.#buckets.get(api) ?? { tokens: burst, at: now };
    const tokens = Math.min(burst, held.tokens + (now - held.at) / 1000 * perSecond);
    this.#buckets.set(api, { tokens: tokens >= 1 ? tokens - 1 : tokens, at: now });
    return { waitMs: tokens >= 1 ? 0 : Math.ceil((1 - tokens) / perSecond * 1000), shared: null };
  }
}
