// Who may go next: a bounded number of holders per key, the others waiting in order. Node's agents have a queue of their
// own, but a request that ends while it stands there stays in it, and is dialled for in the end.

/** Counts the holders of each key and lets at most `limit` of them in at a time. */
export class Slots {
  readonly #limit: number;
  readonly #held = new Map<string, number>();
  readonly #waiting = new Map<string, Set<() => void>>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Keys that somebody holds or waits for: 0 when all is quiet. */
  get size(): number {
    return this.#held.size;
  }

  /**
   * Takes a slot, first come first served.
   *
   * @returns true with the slot, which {@link Slots.give} hands back; false when the signal was aborted before.
   */
  take(key: string, signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return Promise.resolve(false);
    const held = this.#held.get(key) ?? 0;
    if (held < this.#limit) {
      this.#held.set(key, held + 1);
      return Promise.resolve(true);
    }
    return new Promise((resolve) => {
      const queue = this.#waiting.get(key) ?? new Set();
      this.#waiting.set(key, queue);
      const leave = (gotSlot: boolean) => {
        queue.delete(enter);
        if (queue.size === 0) this.#waiting.delete(key);
        signal.removeEventListener("abort", giveUp);
        resolve(gotSlot);
      };
      const enter = () => leave(true);
      const giveUp = () => leave(false);
      queue.add(enter);
      signal.addEventListener("abort", giveUp, { once: true });
    });
  }

  /** Hands a slot back: to the one who has waited longest, if there is one. */
  give(key: string): void {
    const [next] = this.#waiting.get(key) ?? [];
    if (next !== undefined) return next();
    const left = (this.#held.get(key) ?? 1) - 1;
    if (left === 0) this.#held.delete(key);
    else this.#held.set(key, left);
  }
}
