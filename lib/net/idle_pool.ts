// Connections that wait for their next request: the youngest is used first, each for so long, and only so many in all.
// Requests name any number of hosts; each would leave a connection, and with it a file descriptor.

import type { Clock } from "../async/clock.ts";

/** How long a connection waits: longer than a client's pause between its two or three requests, shorter than the idle
 * time-out of common proxies. */
const IDLE_MS = 25_000;

// A storm opens more than are wanted after it: those past so many of one pool wait no longer than its pauses.
const LASTING_PER_POOL = 64;
const EXTRA_IDLE_MS = 2000;

const SWEEP_MS = 1000;

// A server says for how long it keeps a connection; the news of its end may be under way.
const SERVER_MARGIN_MS = 1000;

/** What waits here. */
export interface Reusable {
  /** False once it has ended, or is about to. */
  readonly isOpen: boolean;
  /** To be called when it ends. */
  onClose: () => void;
  close(): void;
}

interface Idle<Connection> {
  readonly connection: Connection;
  readonly pool: string;
  readonly until: number;
}

/** Idle connections by pool. */
export class IdlePool<Connection extends Reusable> {
  readonly #limit: number;
  readonly #clock: Pick<Clock, "monotonicNow" | "setTimer">;
  readonly #pools = new Map<string, Idle<Connection>[]>();
  /** The one that has been idle for longest first. */
  readonly #all = new Set<Idle<Connection>>();
  #cancelSweep: (() => void) | null = null;

  /** @param limit Connections of all pools together; past it the one that has been idle for longest is closed. */
  constructor(limit: number, clock: Pick<Clock, "monotonicNow" | "setTimer">) {
    this.#limit = limit;
    this.#clock = clock;
  }

  /** Idle connections now: never above the limit. */
  get size(): number {
    return this.#all.size;
  }

  /** The connection of a pool that has been idle for the shortest time; null when there is none. */
  take(pool: string): Connection | null {
    for (;;) {
      const idle = this.#pools.get(pool)?.at(-1);
      if (idle === undefined) return null;
      this.#remove(idle);
      if (idle.connection.isOpen) return idle.connection;
    }
  }

  /**
   * Keeps a connection.
   *
   * @param keepAlive The `Keep-Alive` header of its last answer.
   */
  put(pool: string, connection: Connection, keepAlive: string | undefined): void {
    const stack = this.#pools.get(pool) ?? [];
    const waitMs = Math.min(stack.length < LASTING_PER_POOL ? IDLE_MS : EXTRA_IDLE_MS, serverWaitMs(keepAlive));
    if (waitMs <= 0) return connection.close();
    const idle = { connection, pool, until: this.#clock.monotonicNow() + waitMs };
    connection.onClose = () => this.#remove(idle);
    stack.push(idle);
    this.#pools.set(pool, stack);
    this.#all.add(idle);
    const [oldest] = this.#all.size > this.#limit ? this.#all : [];
    if (oldest !== undefined) this.#close(oldest);
    this.#cancelSweep ??= this.#clock.setTimer(() => this.#sweep(), SWEEP_MS);
  }

  /** Closes all. */
  close(): void {
    for (const idle of this.#all) this.#close(idle);
  }

  #sweep(): void {
    this.#cancelSweep = null;
    const now = this.#clock.monotonicNow();
    for (const idle of this.#all) if (idle.until <= now) this.#close(idle);
    if (this.#all.size > 0) this.#cancelSweep = this.#clock.setTimer(() => this.#sweep(), SWEEP_MS);
  }

  #close(idle: Idle<Connection>): void {
    this.#remove(idle);
    idle.connection.close();
  }

  #remove(idle: Idle<Connection>): void {
    if (!this.#all.delete(idle)) return;
    const stack = this.#pools.get(idle.pool) ?? [];
    const at = stack.lastIndexOf(idle);
    if (at >= 0) stack.splice(at, 1);
    if (stack.length === 0) this.#pools.delete(idle.pool);
    if (this.#all.size > 0) return;
    this.#cancelSweep?.();
    this.#cancelSweep = null;
  }
}

function serverWaitMs(keepAlive: string | undefined): number {
  const seconds = keepAlive === undefined ? undefined : /\btimeout=(\d{1,9})/i.exec(keepAlive)?.[1];
  return seconds === undefined ? Infinity : Number(seconds) * 1000 - SERVER_MARGIN_MS;
}
