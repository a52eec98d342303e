// How fast one API of homeservers is asked, and who goes first. It limits delayed-event calls per source address, so that
// all jobs of the service share one token bucket: they queue here, users take turns, and an API that can't be reached
// gets one trial instead of everybody's retries.

import TinyQueue from "tinyqueue";
import type { Clock } from "../../async/clock.ts";
import { CircuitBreaker } from "../../matrix/circuit_breaker.ts";
import type { ActionOutcome } from "../../matrix/delayed_events.ts";
import { GIVE_UP_AFTER_MS } from "../machine/schedule.ts";
import { AdaptiveRate } from "./adaptive_rate.ts";
import type { CallOwner, LeaveCall } from "./leave_call.ts";
import type { TokenBuckets } from "./token_bucket.ts";
import { Turns } from "./turns.ts";

/** What a queue needs from outside. */
export interface CallQueueDeps {
  readonly owner: Pick<CallOwner, "isWanted" | "done">;
  /** Makes a call. Never rejects. */
  readonly make: (call: LeaveCall) => Promise<ActionOutcome>;
  readonly buckets: TokenBuckets;
  readonly clock: Pick<Clock, "now" | "monotonicNow" | "setTimer">;
  readonly random: () => number;
  /** Calls wait longer than they can: advice for the log. */
  readonly onOverload: (api: string, queued: number, perSecond: number) => void;
}

const MAX_IN_FLIGHT = 32;
const FIRST_TRIAL_PAUSE_MS = 500;
const MAX_TRIAL_PAUSE_MS = 30_000;
const BUCKET_PAUSE_MS = 1000;
// Restarts this near to their deadline are pressing: among them turns count, before that only the deadline does. The same
// holds for cancels: an event that was replaced, and fires, does the same harm as one that was not restarted.
const PRESSING_MS = 5000;
// Services by which a user may be ahead of the others while deadlines decide.
const RESTARTS_PER_ROUND = 3;
const OVERTAKES_WITHIN_MS = 2000;
// A restart past its deadline is mostly about an event that has been sent: those that can be saved go first, but where
// none is in danger a tenth of all calls finds out about the others.
const LATE_TURN = 10;
const LATE_SPACING = 2;
const PATIENCE_MS = 5000;
const OVERDUE_SEND_MS = 10_000;
// Where every restart is nearly late, a leave would wait for ever: past ten seconds it has a third of all calls.
const OVERDUE_TURN = 3;
const MAX_UNWANTED = 1000;

const byDeadline = (one: LeaveCall, other: LeaveCall) => one.deadline - other.deadline || one.order - other.order;
const byAge = (one: LeaveCall, other: LeaveCall) => one.order - other.order;

/** The queue of one API. */
export class CallQueue {
  readonly #api: string;
  readonly #deps: CallQueueDeps;
  readonly #sends = new Turns(byAge, 1);
  readonly #pressing = new Turns(byDeadline, RESTARTS_PER_ROUND);
  readonly #late = new Turns(byAge, 1);
  #restarts = new TinyQueue<LeaveCall>([], byDeadline);
  readonly #rate: AdaptiveRate;
  #pausedUntil = -Infinity;
  /** Calls that may be under way: fewer after time-outs. */
  #limit = MAX_IN_FLIGHT;
  #limitedAt = -Infinity;
  readonly #breaker: CircuitBreaker;
  #inFlight = 0;
  #turn = 0;
  /** When calls that are late go out again by themselves. */
  #lateAt = -Infinity;
  #added = 0;
  #tidyAbove = MAX_UNWANTED;
  #isAsking = false;
  #cancelTimer: (() => void) | undefined;
  #wakesAt = Infinity;

  /** @param api Host and port, for shared buckets and the log. */
  constructor(api: string, deps: CallQueueDeps) {
    this.#api = api;
    this.#deps = deps;
    this.#breaker = new CircuitBreaker({
      clock: deps.clock,
      pauseMs: (failures) => {
        const pauseMs = Math.min(FIRST_TRIAL_PAUSE_MS * 2 ** (failures - 1), MAX_TRIAL_PAUSE_MS);
        return pauseMs * (0.5 + deps.random() / 2);
      },
      trialMs: Infinity,
    });
    this.#rate = new AdaptiveRate(deps.clock);
  }

  /** Calls that wait or are under way. */
  get load(): number {
    return this.#waiting + this.#inFlight;
  }

  /** Calls per second that the API is believed to allow. */
  get perSecond(): number {
    return this.#rate.perSecond;
  }

  add(call: LeaveCall): void {
    call.addedAt = this.#deps.clock.monotonicNow();
    call.order = this.#added++;
    if (call.action === "send") this.#sends.push(call);
    else this.#restarts.push(call);
    if (this.#waiting > this.#tidyAbove) this.#tidy();
    void this.#pump();
  }

  /** Forgets what waits. */
  close(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#retain(() => false);
  }

  get #waiting(): number {
    return this.#sends.length + this.#restarts.length + this.#pressing.length + this.#late.length;
  }

  async #pump(): Promise<void> {
    if (this.#isAsking) return;
    this.#isAsking = true;
    try {
      while (this.#waiting > 0) {
        const now = this.#deps.clock.monotonicNow();
        if (this.#inFlight >= (this.#breaker.state === "closed" ? this.#limit : 1)) return;
        if (now < this.#pausedUntil) return this.#wakeAt(this.#pausedUntil, now);
        if (!this.#hasWanted(now)) return;
        if (now < this.#lateAt && this.#waiting === this.#late.length) return this.#wakeAt(this.#lateAt, now);
        const waitMs = await this.#take(now);
        if (waitMs > 0) {
          this.#pausedUntil = Math.max(this.#pausedUntil, now + waitMs);
          continue;
        }
        const next = this.#next(this.#deps.clock.monotonicNow());
        if (next !== undefined) void this.#run(next);
      }
    } finally {
      this.#isAsking = false;
    }
  }

  async #take(now: number): Promise<number> {
    try {
      const { waitMs, shared } = await this.#deps.buckets.take(this.#api, this.#rate.at(now));
      if (shared !== null) this.#rate.adopt(shared, now);
      return waitMs;
    } catch {
      return BUCKET_PAUSE_MS; // a shared bucket that can't be asked
    }
  }

  /** Brings the heads of all lines up to date: what nobody wants goes, what presses or is late moves on. */
  #hasWanted(now: number): boolean {
    const { owner } = this.#deps;
    for (let next = this.#restarts.peek(); next !== undefined; next = this.#restarts.peek()) {
      if (owner.isWanted(next) && next.deadline - now > PRESSING_MS) break;
      this.#restarts.pop();
      if (owner.isWanted(next)) this.#pressing.push(next);
    }
    for (let next = this.#pressing.peek(); next !== undefined; next = this.#pressing.peek()) {
      const isWanted = owner.isWanted(next);
      if (isWanted && next.deadline >= now) break;
      this.#pressing.shift(false);
      if (isWanted) this.#fallBehind(next);
    }
    for (const line of [this.#sends, this.#late]) {
      for (let next = line.peek(); next !== undefined && !owner.isWanted(next); next = line.peek()) line.shift(false);
    }
    return this.#waiting > 0;
  }

  #fallBehind(call: LeaveCall): void {
    this.#late.push(call);
    // Late after a failure of the homeserver is another matter.
    if (call.addedAt > this.#breaker.failedAt) this.#tellOverload();
  }

  /**
   * Sends go first, but a restart that is nearly too late overtakes (not each time one that is overdue); then the other
   * restarts, those past their deadline at the end.
   */
  #next(now: number): LeaveCall | undefined {
    this.#turn = (this.#turn + 1) % LATE_TURN;
    const pressing = this.#pressing.peek();
    const isUrgent = pressing !== undefined && pressing.deadline - now <= OVERTAKES_WITHIN_MS;
    if (this.#turn === 0 && !isUrgent && this.#late.length > 0) return this.#late.shift();
    const send = this.#sends.peek();
    const isOverdue = send !== undefined && now - send.addedAt > OVERDUE_SEND_MS;
    if (isOverdue && this.#turn % OVERDUE_TURN === 0) return this.#sends.shift();
    if (!isUrgent && send !== undefined) return this.#sends.shift();
    return this.#pressing.shift() ?? this.#restarts.pop() ?? this.#sends.shift() ?? this.#idle(now);
  }

  // Half of what is allowed is left alone: what matters more may come in a moment.
  #idle(now: number): LeaveCall | undefined {
    this.#lateAt = now + LATE_SPACING * 1000 / this.#rate.perSecond;
    return this.#late.shift();
  }

  async #run(call: LeaveCall): Promise<void> {
    if (!this.#deps.owner.isWanted(call)) return;
    const startedAt = this.#deps.clock.monotonicNow();
    const isOverdue = call.action === "send" && startedAt - call.addedAt > OVERDUE_SEND_MS;
    if (isOverdue && call.addedAt > this.#breaker.failedAt) this.#tellOverload();
    this.#inFlight++;
    const outcome = await this.#deps.make(call);
    this.#inFlight--;
    this.#learn(outcome, startedAt);
    this.#deps.owner.done(call, outcome);
    void this.#pump();
  }

  #learn(outcome: ActionOutcome, startedAt: number): void {
    const now = this.#deps.clock.monotonicNow();
    switch (outcome.kind) {
      case "held": // no sign of the homeserver
        return;
      case "failed":
        if (outcome.how === "unreachable") this.#limit = 1;
        else this.#slowDown(now, startedAt);
        // Slow is not down: whoever takes long to answer is asked on.
        if (this.#limit === 1 && outcome.how !== "silent") this.#openBreaker(startedAt);
        return this.#giveUpOld(now);
      case "limited":
        this.#breaker.succeed();
        this.#rate.limited(now, startedAt, outcome.retryAfterMs);
        return this.#pause(now + outcome.retryAfterMs * (1 + this.#deps.random() / 8));
      default:
        this.#breaker.succeed();
        this.#limit = Math.min(this.#limit + 1, MAX_IN_FLIGHT);
        this.#rate.succeeded(now, () => this.#isPressed(now));
    }
  }

  // Calls that were under way together fail together: that is one failure, not many.
  #slowDown(now: number, startedAt: number): void {
    if (startedAt < this.#limitedAt) return;
    this.#limit = Math.max(Math.floor(Math.min(this.#limit, this.#inFlight + 1) / 2), 1);
    this.#limitedAt = now;
  }

  #openBreaker(startedAt: number): void {
    this.#breaker.fail(startedAt);
    this.#pause(this.#breaker.retryAt);
  }

  /** Whether a call comes too late at this rate: a send after some seconds, a restart after its deadline. */
  #isPressed(now: number): boolean {
    // Late restarts count as well: else a homeserver whose restarts are all late would be asked as slowly for ever.
    const isOld = (call: LeaveCall | undefined) => call !== undefined && now - call.addedAt > PATIENCE_MS;
    if (isOld(this.#sends.peek()) || isOld(this.#late.peek())) return true;
    const deadlines = [...this.#pressing, ...this.#restarts.data].map(({ deadline }) => deadline);
    const { perSecond } = this.#rate.at(now);
    return deadlines.sort((left, right) => left - right)
      .some((deadline, index) => now + (this.#sends.length + index) / perSecond * 1000 > deadline);
  }

  #pause(until: number): void {
    this.#pausedUntil = Math.max(this.#pausedUntil, until);
  }

  /** While it is down most calls never get their turn: those that waited too long count as failed. */
  #giveUpOld(now: number): void {
    this.#hasWanted(now);
    const isInTime = (call: LeaveCall) => now < call.deadline + GIVE_UP_AFTER_MS;
    for (const call of [this.#sends, this.#late].flatMap((line) => line.retain(isInTime))) {
      if (this.#deps.owner.isWanted(call)) this.#deps.owner.done(call, { kind: "failed", how: "unreachable" });
    }
  }

  /** Lets go of what nobody wants, wherever it stands. */
  #tidy(): void {
    this.#retain((call) => this.#deps.owner.isWanted(call));
    this.#tidyAbove = 2 * this.#waiting + MAX_UNWANTED;
  }

  #retain(passes: (call: LeaveCall) => boolean): void {
    for (const line of [this.#sends, this.#pressing, this.#late]) line.retain(passes);
    this.#restarts = new TinyQueue(this.#restarts.data.filter(passes), byDeadline);
  }

  #tellOverload(): void {
    this.#deps.onOverload(this.#api, this.load, this.#rate.perSecond);
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
    this.#cancelTimer = this.#deps.clock.setTimer(wake, Math.ceil(at - now));
  }
}
