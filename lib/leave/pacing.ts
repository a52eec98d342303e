// How fast one homeserver may be asked. Homeservers limit delayed-event calls per source address, so that all jobs of
// the service share one allowance: they queue here, the urgent ones first, and a homeserver that is down gets one probe
// instead of everybody's retries.

import TinyQueue from "tinyqueue";
import type { ActionOutcome } from "./machine.ts";

/** One call that waits for its turn. */
export interface PacedCall {
  readonly action: "restart" | "send";
  /** When the homeserver's timer fires, ms of the monotonic clock: restarts are ordered by it. */
  readonly deadline: number;
  /** Makes the call. Never rejects. */
  readonly run: () => Promise<ActionOutcome>;
  /** False once nobody wants it any more: it is dropped without a call. */
  readonly isWanted: () => boolean;
  /** Takes the outcome. */
  readonly done: (outcome: ActionOutcome) => void;
}

/** Decides when the next call may go out: in this process, or shared by all replicas. */
export interface Allowance {
  /** Takes one call, or says how many ms to wait before asking again. */
  take(homeserver: string, rate: Rate): Promise<number> | number;
}

/** A token bucket's size and speed. */
export interface Rate {
  readonly burst: number;
  readonly perSecond: number;
}

/** What a pacer needs from outside. */
export interface PacerDeps {
  readonly allowance: Allowance;
  readonly monotonicNow: () => number;
  readonly random: () => number;
  readonly setTimer: (run: () => void, delayMs: number) => () => void;
  /** Tells that calls wait longer than they can: advice for the log. */
  readonly onOverload: (homeserver: string, queued: number, perSecond: number) => void;
}

// Synapse's default `rc_delayed_event_mgmt`.
const INITIAL_RATE: Rate = { burst: 5, perSecond: 1 };
const MIN_PER_SECOND = 0.2;
const MAX_PER_SECOND = 500;
// Above the known rate one tries a little more after each full second of successes, and takes it back at the first 429.
const PROBE_FACTOR = 1.25;
const RETREAT_FACTOR = 0.7;

const OVERTAKES_WITHIN_MS = 2000;
const MAX_IN_FLIGHT = 16;
const FIRST_DOWN_PAUSE_MS = 1000;
const MAX_DOWN_PAUSE_MS = 30_000;

/** The queue of one homeserver. */
export class Pacer {
  readonly #homeserver: string;
  readonly #deps: PacerDeps;
  readonly #sends: PacedCall[] = [];
  readonly #restarts = new TinyQueue<PacedCall>([], (left, right) => left.deadline - right.deadline);
  #rate = INITIAL_RATE;
  #successes = 0;
  #rateChangedAt: number;
  #pausedUntil = 0;
  #downPauseMs = 0;
  #inFlight = 0;
  #isAsking = false;
  #cancelTimer: (() => void) | undefined;

  constructor(homeserver: string, deps: PacerDeps) {
    this.#homeserver = homeserver;
    this.#deps = deps;
    this.#rateChangedAt = deps.monotonicNow();
  }

  /** Calls that wait or are under way. */
  get load(): number {
    return this.#sends.length + this.#restarts.length + this.#inFlight;
  }

  /** Calls per second that the homeserver is believed to allow. */
  get perSecond(): number {
    return this.#rate.perSecond;
  }

  add(call: PacedCall): void {
    if (call.action === "send") this.#sends.push(call);
    else this.#restarts.push(call);
    void this.#pump();
  }

  /** Forgets what waits. */
  close(): void {
    this.#cancelTimer?.();
    this.#sends.length = 0;
    while (this.#restarts.length > 0) this.#restarts.pop();
  }

  async #pump(): Promise<void> {
    if (this.#isAsking) return;
    this.#isAsking = true;
    try {
      while (this.#sends.length + this.#restarts.length > 0) {
        const now = this.#deps.monotonicNow();
        // While it is down, one call at a time finds out whether it still is.
        if (this.#inFlight >= (this.#downPauseMs > 0 ? 1 : MAX_IN_FLIGHT)) return;
        if (now < this.#pausedUntil) return this.#wakeIn(this.#pausedUntil - now);
        if (this.#dropUnwanted()) continue;
        const waitMs = await this.#deps.allowance.take(this.#homeserver, this.#rate);
        if (waitMs > 0) {
          this.#warnIfLate(now);
          return this.#wakeIn(waitMs);
        }
        const call = this.#next(this.#deps.monotonicNow());
        if (call !== undefined) void this.#run(call);
      }
    } finally {
      this.#isAsking = false;
    }
  }

  /** `send` goes first, but a restart that is nearly too late overtakes. */
  #next(now: number): PacedCall | undefined {
    const restart = this.#restarts.peek();
    const isUrgent = restart !== undefined && restart.deadline - now <= OVERTAKES_WITHIN_MS;
    return isUrgent || this.#sends.length === 0 ? this.#restarts.pop() : this.#sends.shift();
  }

  #dropUnwanted(): boolean {
    if (this.#sends[0]?.isWanted() === false) return this.#sends.shift() !== undefined;
    if (this.#restarts.peek()?.isWanted() === false) return this.#restarts.pop() !== undefined;
    return false;
  }

  async #run(call: PacedCall): Promise<void> {
    if (!call.isWanted()) return;
    this.#inFlight++;
    const outcome = await call.run();
    this.#inFlight--;
    this.#learn(outcome);
    call.done(outcome);
    void this.#pump();
  }

  #learn(outcome: ActionOutcome): void {
    if (outcome.kind === "held") return; // says nothing about the homeserver
    const now = this.#deps.monotonicNow();
    if (outcome.kind === "failed") {
      this.#downPauseMs = Math.min(Math.max(this.#downPauseMs * 2, FIRST_DOWN_PAUSE_MS), MAX_DOWN_PAUSE_MS);
      this.#pausedUntil = now + this.#downPauseMs * (0.5 + this.#deps.random() / 2);
      return;
    }
    this.#downPauseMs = 0;
    if (outcome.kind === "limited") {
      this.#changeRate(Math.max(this.#rate.perSecond * RETREAT_FACTOR, MIN_PER_SECOND), now);
      this.#pausedUntil = Math.max(this.#pausedUntil, now + outcome.retryAfterMs * (1 + this.#deps.random() / 4));
      return;
    }
    this.#successes++;
    // Only a queue that is held back by the rate has something to gain from a higher one.
    const isHeldBack = this.#sends.length + this.#restarts.length > 0;
    if (isHeldBack && this.#successes >= this.#rate.perSecond && now - this.#rateChangedAt >= 1000) {
      this.#changeRate(Math.min(this.#rate.perSecond * PROBE_FACTOR, MAX_PER_SECOND), now);
    }
  }

  #changeRate(perSecond: number, now: number): void {
    this.#rate = { burst: Math.max(INITIAL_RATE.burst, perSecond), perSecond };
    this.#rateChangedAt = now;
    this.#successes = 0;
  }

  #warnIfLate(now: number): void {
    const most = this.#restarts.peek();
    const isLate = most !== undefined && most.deadline < now;
    if (isLate) this.#deps.onOverload(this.#homeserver, this.load, this.#rate.perSecond);
  }

  #wakeIn(delayMs: number): void {
    this.#cancelTimer?.();
    this.#cancelTimer = this.#deps.setTimer(() => void this.#pump(), delayMs);
  }
}

/** Token buckets in this process. */
export class LocalAllowance implements Allowance {
  readonly #buckets = new Map<string, { tokens: number; at: number }>();
  readonly #now: () => number;

  constructor(monotonicNow: () => number) {
    this.#now = monotonicNow;
  }

  take(homeserver: string, rate: Rate): number {
    const now = this.#now();
    const held = this.#buckets.get(homeserver) ?? { tokens: rate.burst, at: now };
    const tokens = Math.min(rate.burst, held.tokens + (now - held.at) / 1000 * rate.perSecond);
    this.#buckets.set(homeserver, { tokens: tokens >= 1 ? tokens - 1 : tokens, at: now });
    return tokens >= 1 ? 0 : Math.ceil((1 - tokens) / rate.perSecond * 1000);
  }

  /** Forgets a homeserver without jobs. */
  forget(homeserver: string): void {
    this.#buckets.delete(homeserver);
  }
}
