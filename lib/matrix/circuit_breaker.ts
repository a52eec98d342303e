// Remembers for a few seconds that a server cannot be reached, so that everybody else need not find it out by
// themselves. Then one request tries again, and the others are answered from memory until it knows.

import type { OutboundFailure } from "../net/outbound_error.ts";

/** A failure to reach a server. */
export interface Outage {
  readonly story: readonly string[];
}

interface Memory extends Outage {
  /** The next request after this finds out. */
  readonly until: number;
  /** Somebody is finding out; from then on nobody waits for them any more. */
  probedUntil: number;
}

// What came quickly to nothing costs little to try again: it is remembered about as long as it took.
const MIN_MEMORY_MS = 1000;
const MAX_MEMORY_MS = 5000;
const MAX_PROBE_MS = 5000;
const MAX_REMEMBERED = 5000;

// A server that answered, slowly or with a refusal, was reached.
const UNREACHABLE: ReadonlySet<OutboundFailure> = new Set<OutboundFailure>(["dns", "connect", "tls"]);

/**
 * Outages of the last seconds, bounded. By the exact name: another spelling may be a way around the operator's overrides,
 * and what is learnt there must not be held against the real one.
 */
export class Outages {
  readonly #memories = new Map<string, Memory>();
  readonly #now: () => number;

  /** @param monotonicNow A clock that never jumps, in ms. */
  constructor(monotonicNow: () => number) {
    this.#now = monotonicNow;
  }

  /** Servers remembered: at most 5,000. */
  get size(): number {
    return this.#memories.size;
  }

  /** The outage that answers a request now; null when the request shall go out. */
  current(server: string): Outage | null {
    const memory = this.#memories.get(server);
    const now = this.#now();
    if (memory === undefined) return null;
    if (now < memory.until || now < memory.probedUntil) return memory;
    memory.probedUntil = now + MAX_PROBE_MS;
    return null;
  }

  /**
   * Takes in what came of a request that went out.
   *
   * @param failure null for an answer, whatever it says.
   * @param tookMs How long it took to find out.
   */
  learn(server: string, failure: OutboundFailure | null, story: readonly string[], tookMs: number): void {
    this.#memories.delete(server);
    if (failure === null || !UNREACHABLE.has(failure)) return;
    const memoryMs = Math.min(Math.max(tookMs, MIN_MEMORY_MS), MAX_MEMORY_MS);
    this.#memories.set(server, { story, until: this.#now() + memoryMs, probedUntil: 0 });
    const oldest = this.#memories.keys().next();
    if (this.#memories.size > MAX_REMEMBERED && !oldest.done) this.#memories.delete(oldest.value);
  }
}
