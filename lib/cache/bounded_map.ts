// A map with a bound: what is remembered about strangers is forgotten again, the oldest first.

/** A map that drops its oldest entry when it would hold more than its limit. Setting a key makes it the newest. */
export class BoundedMap<Key, Value> implements Iterable<[Key, Value]> {
  readonly #entries = new Map<Key, Value>();
  readonly #limit: number;

  /** @param limit Entries kept at most, at least 1. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Entries held: never above the limit. */
  get size(): number {
    return this.#entries.size;
  }

  has(key: Key): boolean {
    return this.#entries.has(key);
  }

  get(key: Key): Value | undefined {
    return this.#entries.get(key);
  }

  /** Returns the entry that was dropped to make room, if any. */
  set(key: Key, value: Value): readonly [Key, Value] | undefined {
    this.#entries.delete(key);
    this.#entries.set(key, value);
    if (this.#entries.size <= this.#limit) return undefined;
    const [oldest] = this.#entries;
    if (oldest !== undefined) this.#entries.delete(oldest[0]);
    return oldest;
  }

  delete(key: Key): boolean {
    return this.#entries.delete(key);
  }

  clear(): void {
    this.#entries.clear();
  }

  keys(): MapIterator<Key> {
    return this.#entries.keys();
  }

  /** From the oldest to the newest. */
  [Symbol.iterator](): MapIterator<[Key, Value]> {
    return this.#entries[Symbol.iterator]();
  }
}
