// One timer for any number of jobs: a heap of wake-up times, so that thousands of jobs do not mean as many timers.

import TinyQueue from "tinyqueue";
import type { Clock } from "../async/clock.ts";

interface WakeUp {
  readonly at: number;
  readonly key: string;
}

/** What the timers need from outside. */
export interface WakeTimersDeps {
  readonly clock: Pick<Clock, "monotonicNow" | "setTimer">;
  /** Called with each key whose time has come. */
  readonly onDue: (key: string) => void;
}

// WakeTimers hold at most 2^31-1 ms; and whoever sleeps long notices a changed clock late.
const LONGEST_SLEEP_MS = 60_000;
// Times that were set anew leave their old places in the heap: past as many, it is built afresh.
const MAX_STALE = 1000;

/** Wakes keys at their times; a key has one time, the last one set. */
export class WakeTimers {
  readonly #deps: WakeTimersDeps;
  #queue = heapOf([]);
  readonly #current = new Map<string, number>();
  #cancel: (() => void) | undefined;
  #sleepsUntil = Infinity;

  constructor(deps: WakeTimersDeps) {
    this.#deps = deps;
  }

  /** Places in the heap, stale ones included. */
  get size(): number {
    return this.#queue.length;
  }

  /** @param at ms of the monotonic clock; Infinity = never. */
  set(key: string, at: number): void {
    if (this.#current.get(key) === at) return;
    if (at === Infinity) {
      this.#current.delete(key);
      return;
    }
    this.#current.set(key, at);
    this.#queue.push({ at, key });
    if (this.#queue.length > 2 * this.#current.size + MAX_STALE) this.#rebuild();
    if (at < this.#sleepsUntil) this.#sleep();
  }

  delete(key: string): void {
    this.#current.delete(key);
  }

  close(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#current.clear();
    this.#queue = heapOf([]);
  }

  #rebuild(): void {
    this.#queue = heapOf([...this.#current].map(([key, at]) => ({ key, at })));
  }

  #sleep(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#sleepsUntil = Infinity;
    const next = this.#queue.peek();
    if (next === undefined) return;
    // Whole ms: a timer that came a fraction too early would have to be set again.
    const delayMs = Math.min(Math.max(Math.ceil(next.at - this.#deps.clock.monotonicNow()), 0), LONGEST_SLEEP_MS);
    this.#sleepsUntil = next.at;
    this.#cancel = this.#deps.clock.setTimer(() => this.#wake(), delayMs);
  }

  #wake(): void {
    const now = this.#deps.clock.monotonicNow();
    for (let next = this.#queue.peek(); next !== undefined && next.at <= now; next = this.#queue.peek()) {
      this.#queue.pop();
      // A place that was replaced or deleted meanwhile is stale.
      if (this.#current.get(next.key) !== next.at) continue;
      this.#current.delete(next.key);
      this.#deps.onDue(next.key);
    }
    this.#sleep();
  }
}

function heapOf(wakeUps: WakeUp[]): TinyQueue<WakeUp> {
  return new TinyQueue(wakeUps, (left, right) => left.at - right.at);
}
