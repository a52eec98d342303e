// A semaphore per key: so many at once, the others wait in order and within their signal.

/** The right to go on. Released once: by {@link Permit.release} or at the end of a `using` block. */
export interface Permit extends Disposable {
  release(): void;
}

/** Makes a permit. However often it is released, `release` runs once. */
export function permitOf(release: () => void): Permit {
  let isReleased = false;
  const releaseOnce = () => {
    if (isReleased) return;
    isReleased = true;
    release();
  };
  return { release: releaseOnce, [Symbol.dispose]: releaseOnce };
}

/** Counts the permits of each key and gives out at most `limit` of them at a time. */
export class Semaphore {
  readonly #limit: number;
  readonly #held = new Map<string, number>();
  readonly #waiting = new Map<string, Set<() => void>>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Keys with a permit out: 0 when all is quiet. */
  get size(): number {
    return this.#held.size;
  }

  /**
   * Takes a permit, first come first served.
   *
   * @param limit For this caller, where it is not the semaphore's own.
   * @returns null when the signal was aborted before; a promise only where there is something to wait for.
   */
  acquire(key: string, signal: AbortSignal, limit: number = this.#limit): Permit | null | Promise<Permit | null> {
    if (signal.aborted) return null;
    const held = this.#held.get(key) ?? 0;
    if (held < limit) {
      this.#held.set(key, held + 1);
      return this.#permit(key);
    }
    return new Promise((resolve) => {
      const queue = this.#waiting.get(key) ?? new Set();
      this.#waiting.set(key, queue);
      const leave = (permit: Permit | null) => {
        queue.delete(enter);
        if (queue.size === 0) this.#waiting.delete(key);
        signal.removeEventListener("abort", giveUp);
        resolve(permit);
      };
      const enter = () => leave(this.#permit(key));
      const giveUp = () => leave(null);
      queue.add(enter);
      signal.addEventListener("abort", giveUp, { once: true });
    });
  }

  #permit(key: string): Permit {
    return permitOf(() => this.#release(key));
  }

  /** Hands the permit on to whoever has waited longest. */
  #release(key: string): void {
    const [next] = this.#waiting.get(key) ?? [];
    if (next !== undefined) return next();
    const left = (this.#held.get(key) ?? 1) - 1;
    if (left === 0) this.#held.delete(key);
    else this.#held.set(key, left);
  }
}
