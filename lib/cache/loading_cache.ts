// A bounded cache in which concurrent callers of one key share one load ("single flight"). Everything that the service
// remembers about other servers goes through it, so that every memory has a bound and a storm costs one look-up.

/** What a load brought back: the value, and for how long it may be served. 0 ms = to the waiting callers only. */
export interface Loaded<Value> {
  readonly value: Value;
  readonly ttlMs: number;
}

/** How a {@link FlightCache} is bounded and which clock it reads. */
export interface FlightCacheOptions {
  /** Entries kept; past that the least recently used one goes. */
  readonly capacity: number;
  /** A clock that never jumps, in ms. */
  readonly monotonicNow: () => number;
}

interface Entry<Value> {
  readonly value: Value;
  readonly freshUntil: number;
}

/** Least-recently-used cache with a time to live per entry and one load at a time per key. Failures are not kept. */
export class FlightCache<Value> {
  readonly #entries = new Map<string, Entry<Value>>();
  readonly #flights = new Map<string, Promise<Value>>();
  readonly #capacity: number;
  readonly #now: () => number;

  constructor(options: FlightCacheOptions) {
    this.#capacity = options.capacity;
    this.#now = options.monotonicNow;
  }

  /** Entries held, stale ones included: never above the capacity. */
  get size(): number {
    return this.#entries.size;
  }

  /** The fresh value of a key, or undefined. */
  get(key: string): Value | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined || entry.freshUntil <= this.#now()) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry.value;
  }

  /**
   * The fresh value, else the load already under way, else a new load.
   *
   * @param load Gets the stale value when there is one: a caller may prefer it to a failure.
   */
  getOrLoad(key: string, load: (stale: Value | undefined) => Promise<Loaded<Value>>): Promise<Value> {
    const cached = this.get(key);
    if (cached !== undefined) return Promise.resolve(cached);
    let flight = this.#flights.get(key);
    if (flight === undefined) {
      flight = this.#fly(key, load);
      this.#flights.set(key, flight);
    }
    return flight;
  }

  /** Forgets a key; a load under way still answers its callers and is stored. */
  delete(key: string): void {
    this.#entries.delete(key);
  }

  async #fly(key: string, load: (stale: Value | undefined) => Promise<Loaded<Value>>): Promise<Value> {
    try {
      const { value, ttlMs } = await Promise.try(load, this.#entries.get(key)?.value);
      this.#entries.delete(key);
      if (ttlMs > 0) {
        this.#entries.set(key, { value, freshUntil: this.#now() + ttlMs });
        if (this.#entries.size > this.#capacity) this.#dropOldest();
      }
      return value;
    } finally {
      this.#flights.delete(key);
    }
  }

  #dropOldest(): void {
    const oldest = this.#entries.keys().next();
    if (!oldest.done) this.#entries.delete(oldest.value);
  }
}
