// How fast one homeserver is asked, and who goes first. Homeservers limit delayed-event calls per source address, so
// that all jobs of the service share one buckets: they queue here, and a homeserver that is down gets one probe
// instead of everybody's retries.

import TinyQueue from "tinyqueue";
import type { ActionOutcome } from "../../matrix/delayed_events.ts";
import { Fifo } from "../../async/queue.ts";
import { AdaptiveRate } from "./adaptive_rate.ts";
import type { TokenBuckets } from "./token_bucket.ts";
import { GIVE_UP_AFTER_MS } from "../machine/schedule.ts";

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

/** What a pacer needs from outside. */
export interface CallQueueDeps {
  readonly buckets: TokenBuckets;
  readonly monotonicNow: () => number;
  readonly random: () => number;
  readonly setTimer: (run: () => void, delayMs: number) => () => void;
  /** Tells that calls wait longer than they can: advice for the log. */
  readonly onOverload: (homeserver: string, queued: number, perSecond: number) => void;
}

const OVERTAKES_WITHIN_MS = 2000;
const MAX_IN_FLIGHT = 32;
const FIRST_DOWN_PAUSE_MS = 500;
const MAX_DOWN_PAUSE_MS = 30_000;
const ALLOWANCE_PAUSE_MS = 1000;
// A restart past its deadline is mostly about an event that has been sent: those that can be saved go first, but a
// tenth of all calls finds out about the others.
const LATE_TURN = 10;
const PATIENCE_MS = 5000;
const OVERDUE_SEND_MS = 10_000;
// Where every restart is nearly late, a leave would wait for ever: past ten seconds it has a third of all calls.
const OVERDUE_TURN = 3;
const MAX_UNWANTED = 1000;

interface Queued {
  readonly call: PacedCall;
  readonly addedAt: number;
  /** Equal deadlines: first come, first served. */
  readonly order: number;
}

/** The queue of one homeserver. */
export class CallQueue {
  readonly #homeserver: string;
  readonly #deps: CallQueueDeps;
  readonly #sends = new Fifo<Queued>();
  #restarts = heapOf([]);
  readonly #late = new Fifo<Queued>();
  readonly #rate: AdaptiveRate;
  #pausedUntil = -Infinity;
  #downPauseMs = 0;
  #failedAt = -Infinity;
  #inFlight = 0;
  #turn = 0;
  #added = 0;
  #tidyAbove = MAX_UNWANTED;
  #isAsking = false;
  #cancelTimer: (() => void) | undefined;
  #wakesAt = Infinity;

  constructor(homeserver: string, deps: CallQueueDeps) {
    this.#homeserver = homeserver;
    this.#deps = deps;
    this.#rate = new AdaptiveRate(deps.monotonicNow());
  }

  /** LeaveCalls that wait or are under way. */
  get load(): number {
    return this.#waiting + this.#inFlight;
  }

  /** LeaveCalls per second that the homeserver is believed to allow. */
  get perSecond(): number {
    return this.#rate.perSecond;
  }

  add(call: PacedCall): void {
    const queued = { call, addedAt: this.#deps.monotonicNow(), order: this.#added++ };
    if (call.action === "send") this.#sends.push(queued);
    else this.#restarts.push(queued);
    if (this.#waiting > this.#tidyAbove) this.#tidy();
    void this.#pump();
  }

  /** Forgets what waits. */
  close(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#sends.clear();
    this.#late.clear();
    this.#restarts = heapOf([]);
  }

  get #waiting(): number {
    return this.#sends.length + this.#restarts.length + this.#late.length;
  }

  async #pump(): Promise<void> {
    if (this.#isAsking) return;
    this.#isAsking = true;
    try {
      while (this.#waiting > 0) {
        const now = this.#deps.monotonicNow();
        // While it is down, one call at a time finds out whether it still is.
        if (this.#inFlight >= (this.#downPauseMs > 0 ? 1 : MAX_IN_FLIGHT)) return;
        if (now < this.#pausedUntil) return this.#wakeAt(this.#pausedUntil, now);
        if (!this.#hasWanted(now)) return;
        const waitMs = await this.#take(now);
        if (waitMs > 0) {
          this.#pausedUntil = Math.max(this.#pausedUntil, now + waitMs);
          continue;
        }
        const next = this.#next(this.#deps.monotonicNow());
        if (next !== undefined) void this.#run(next);
      }
    } finally {
      this.#isAsking = false;
    }
  }

  async #take(now: number): Promise<number> {
    try {
      return (await this.#deps.buckets.take(this.#homeserver, this.#rate.at(now))).waitMs;
    } catch {
      return ALLOWANCE_PAUSE_MS; // a shared buckets that can't be asked
    }
  }

  /** Drops what nobody wants from the front of each queue. */
  #hasWanted(now: number): boolean {
    for (let next = this.#restarts.peek(); next !== undefined; next = this.#restarts.peek()) {
      if (!next.call.isWanted()) this.#restarts.pop();
      else if (next.call.deadline < now) this.#fallBehind();
      else break;
    }
    while (this.#sends.peek()?.call.isWanted() === false) this.#sends.shift();
    while (this.#late.peek()?.call.isWanted() === false) this.#late.shift();
    return this.#waiting > 0;
  }

  #fallBehind(): void {
    const late = this.#restarts.pop();
    if (late === undefined) return;
    this.#late.push(late);
    // Late after a failure of the homeserver is another matter.
    if (late.addedAt > this.#failedAt) this.#tellOverload();
  }

  /**
   * Sends go first, but a restart that is nearly too late overtakes (not each time one that is overdue); then the other
   * restarts, those past their deadline at the end.
   */
  #next(now: number): Queued | undefined {
    const restart = this.#restarts.peek();
    const isUrgent = restart !== undefined && restart.call.deadline - now <= OVERTAKES_WITHIN_MS;
    this.#turn = (this.#turn + 1) % LATE_TURN;
    if (this.#turn === 0 && this.#late.length > 0) return this.#late.shift();
    const send = this.#sends.peek();
    const isOverdue = send !== undefined && now - send.addedAt > OVERDUE_SEND_MS;
    if (isOverdue && this.#turn % OVERDUE_TURN === 0) return this.#sends.shift();
    if (isUrgent || this.#sends.length === 0) return this.#restarts.pop() ?? this.#late.shift();
    return this.#sends.shift();
  }

  async #run({ call, addedAt }: Queued): Promise<void> {
    if (!call.isWanted()) return;
    const startedAt = this.#deps.monotonicNow();
    const isOverdue = call.action === "send" && startedAt - addedAt > OVERDUE_SEND_MS;
    if (isOverdue && addedAt > this.#failedAt) this.#tellOverload();
    this.#inFlight++;
    const outcome = await call.run();
    this.#inFlight--;
    this.#learn(outcome, startedAt);
    call.done(outcome);
    void this.#pump();
  }

  #learn(outcome: ActionOutcome, startedAt: number): void {
    const now = this.#deps.monotonicNow();
    switch (outcome.kind) {
      case "held": // says nothing about the homeserver
        return;
      case "failed":
        return this.#goDown(now, startedAt);
      case "limited":
        this.#downPauseMs = 0;
        this.#rate.limited(now, startedAt, outcome.retryAfterMs);
        return this.#pause(now + outcome.retryAfterMs * (1 + this.#deps.random() / 8));
      default:
        this.#downPauseMs = 0;
        this.#rate.succeeded(now, () => this.#isPressed(now));
    }
  }

  #goDown(now: number, startedAt: number): void {
    // LeaveCalls that were under way together fail together: that is one failure, not many.
    if (startedAt >= this.#failedAt) {
      this.#downPauseMs = Math.min(Math.max(this.#downPauseMs * 2, FIRST_DOWN_PAUSE_MS), MAX_DOWN_PAUSE_MS);
      this.#pause(now + this.#downPauseMs * (0.5 + this.#deps.random() / 2));
      this.#failedAt = now;
    }
    this.#giveUpOld(now);
  }

  /** Whether a call comes too late at this rate: a send after some seconds, a restart after its deadline. */
  #isPressed(now: number): boolean {
    // Late restarts count as well: else a homeserver whose restarts are all late would be asked as slowly for ever.
    const isOld = (queued: Queued | undefined) => queued !== undefined && now - queued.addedAt > PATIENCE_MS;
    if (isOld(this.#sends.peek()) || isOld(this.#late.peek())) return true;
    const deadlines = this.#restarts.data.map(({ call }) => call.deadline).sort((left, right) => left - right);
    const { perSecond } = this.#rate.at(now);
    return deadlines.some((deadline, index) => now + (this.#sends.length + index) / perSecond * 1000 > deadline);
  }

  #pause(until: number): void {
    this.#pausedUntil = Math.max(this.#pausedUntil, until);
  }

  /** While it is down most calls never get their turn: those that waited too long are told that it failed. */
  #giveUpOld(now: number): void {
    this.#hasWanted(now);
    const isInTime = ({ call }: Queued) => now < call.deadline + GIVE_UP_AFTER_MS;
    for (const { call } of [...this.#sends.retain(isInTime), ...this.#late.retain(isInTime)]) {
      if (call.isWanted()) call.done({ kind: "failed" });
    }
  }

  /** Lets go of what nobody wants, wherever it stands. */
  #tidy(): void {
    const isWanted = ({ call }: Queued) => call.isWanted();
    this.#sends.retain(isWanted);
    this.#late.retain(isWanted);
    this.#restarts = heapOf(this.#restarts.data.filter(isWanted));
    this.#tidyAbove = 2 * this.#waiting + MAX_UNWANTED;
  }

  #tellOverload(): void {
    this.#deps.onOverload(this.#homeserver, this.load, this.#rate.perSecond);
  }

  // Tens of thousands may be added during one pause: one timer does for all.
  #wakeAt(at: number, now: number): void {
    if (this.#cancelTimer !== undefined && this.#wakesAt === at) return;
    this.#cancelTimer?.();
    this.#wakesAt = at;
    const wake = () => {
      this.#cancelTimer = undefined;
      void this.#pump();
    };
    this.#cancelTimer = this.#deps.setTimer(wake, Math.ceil(at - now));
  }
}

function heapOf(queued: Queued[]): TinyQueue<Queued> {
  return new TinyQueue(queued, (left, right) => left.call.deadline - right.call.deadline || left.order - right.order);
}
