// A bounded cache in which concurrent callers of one key share one load ("single flight"), and which keeps a good value
// through failures that may pass ("stale if error"). Everything that the service remembers about other servers goes
// through it, so that each memory has a bound and a storm costs one look-up.

import type { Clock } from "../async/clock.ts";
import { within } from "../async/deadline.ts";
import { BoundedMap } from "./bounded_map.ts";

/** What a load brought back. */
export interface Loaded<Value> {
  readonly value: Value;
  /** For how long it may be served. 0 ms = to the waiting callers only. */
  readonly ttlMs: number;
  /** True for a failure that may pass: a good value that is held and not too old is served instead, for `ttlMs`. */
  readonly isFailure?: boolean;
}

/** How a {@link LoadingCache} is bounded. Its bytes are `capacity` times what a key and a value may have at most. */
export interface LoadingCacheOptions<Value> {
  /** Entries kept; past that the least recently used one goes. */
  readonly capacity: number;
  readonly clock: Pick<Clock, "monotonicNow">;
  /** How old a good value may become while loads fail, in ms from its load. 0 unless given. */
  readonly maxStaleMs?: number;
  /** Gives the value to serve after a failure; the held one unless given. */
  readonly keep?: (held: Value, failure: Value) => Value;
}

/** How often a cache was asked, and what that came to. */
export interface CacheCounts {
  /** Answered from memory. */
  readonly hits: number;
  /** Answered by a load that somebody else had begun. */
  readonly joins: number;
  readonly loads: number;
}

interface Entry<Value> {
  readonly value: Value;
  readonly freshUntil: number;
  /** When the value was loaded; null for a failure. */
  readonly loadedAt: number | null;
}

/** Least-recently-used cache with a time to live per entry and one load at a time per key. Rejections are not kept. */
export class LoadingCache<Value> {
  readonly #entries: BoundedMap<string, Entry<Value>>;
  readonly #flights = new Map<string, Promise<Value>>();
  readonly #options: LoadingCacheOptions<Value>;
  readonly #counts = { hits: 0, joins: 0, loads: 0 };

  constructor(options: LoadingCacheOptions<Value>) {
    this.#options = options;
    this.#entries = new BoundedMap(options.capacity);
  }

  /** Entries held, stale ones included: never above the capacity. */
  get size(): number {
    return this.#entries.size;
  }

  get counts(): CacheCounts {
    return this.#counts;
  }

  /** Whether a fresh value is held. */
  has(key: string): boolean {
    return this.#fresh(key) !== undefined;
  }

  /**
   * Gives the fresh value, else that of the load under way, else that of a new load.
   *
   * @param signal Ends the wait of this caller; the load goes on for the others.
   * @throws What the load throws, or the signal's reason.
   */
  get(key: string, load: () => Promise<Loaded<Value>>, signal?: AbortSignal): Promise<Value> {
    const entry = this.#fresh(key);
    if (entry !== undefined) {
      this.#entries.set(key, entry); // used last
      this.#counts.hits++;
      return Promise.resolve(entry.value);
    }
    let flight = this.#flights.get(key);
    if (flight === undefined) {
      this.#counts.loads++;
      flight = this.#load(key, load);
      this.#flights.set(key, flight);
    } else this.#counts.joins++;
    return signal === undefined ? flight : within(flight, signal);
  }

  /** Forgets a key; a load under way still answers its callers and is stored. */
  delete(key: string): void {
    this.#entries.delete(key);
  }

  #fresh(key: string): Entry<Value> | undefined {
    const entry = this.#entries.get(key);
    return entry !== undefined && this.#options.clock.monotonicNow() < entry.freshUntil ? entry : undefined;
  }

  async #load(key: string, load: () => Promise<Loaded<Value>>): Promise<Value> {
    try {
      const loaded = await Promise.try(load);
      const entry = this.#entryOf(loaded, this.#entries.get(key));
      if (loaded.ttlMs > 0) this.#entries.set(key, entry);
      else this.#entries.delete(key);
      return entry.value;
    } finally {
      this.#flights.delete(key);
    }
  }

  #entryOf({ value, ttlMs, isFailure }: Loaded<Value>, held: Entry<Value> | undefined): Entry<Value> {
    const { clock, maxStaleMs = 0, keep } = this.#options;
    const now = clock.monotonicNow();
    const freshUntil = now + ttlMs;
    if (!isFailure) return { value, freshUntil, loadedAt: now };
    if (held === undefined || held.loadedAt === null || now - held.loadedAt >= maxStaleMs) {
      return { value, freshUntil, loadedAt: null };
    }
    return { value: keep?.(held.value, value) ?? held.value, freshUntil, loadedAt: held.loadedAt };
  }
}
