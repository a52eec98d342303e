// Time for a whole simulated world: homeservers and the SFU live in it, and a service whose host can be suspended, whose
// process can be stopped, and whose wall clock can be set.

import TinyQueue from "tinyqueue";

interface Scheduled {
  at: number;
  readonly order: number;
  readonly run: () => void;
  readonly isService: boolean;
  isCanceled: boolean;
}

const EPOCH = Date.UTC(2026, 0, 1);
// Longer than any chain of promises between two timers.
const MICROTASKS = 100;
const MAX_AT_ONCE = 10_000;

/** Lets what was started go on until it waits for time. */
export async function settle(): Promise<void> {
  for (let count = 0; count < MICROTASKS; count++) await null;
}

/** The world's time, and the service's two clocks. All in ms. */
export class VirtualTime {
  #elapsed = 0;
  #suspendedMs = 0;
  #wallOffsetMs = 0;
  #frozenUntil = -Infinity;
  #order = 0;
  #queue = heapOf([]);

  /** The world's own clock. */
  readonly elapsed = (): number => this.#elapsed;
  /** The service's monotonic clock: stands still while its host is suspended. */
  readonly monotonicNow = (): number => this.#elapsed - this.#suspendedMs;
  /** The service's wall clock. */
  readonly now = (): number => EPOCH + this.#elapsed + this.#wallOffsetMs;
  /** The service's timers. */
  readonly setTimer = (run: () => void, delayMs: number): () => void => this.#schedule(run, delayMs, true);

  /** The service's pauses. */
  readonly sleep = (durationMs: number, signal: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      const cancel = this.setTimer(resolve, durationMs);
      signal.addEventListener("abort", () => {
        cancel();
        reject(signal.reason);
      }, { once: true });
    });

  /** Something in the world, after a while. */
  after(delayMs: number, run: () => void): () => void {
    return this.#schedule(run, delayMs, false);
  }

  /** Runs something inside the service: at once, or when it runs again. */
  inService(run: () => void): void {
    if (this.#elapsed >= this.#frozenUntil) run();
    else this.after(this.#frozenUntil - this.#elapsed, run);
  }

  /** For how long the service does not run yet, ms. */
  get frozenMs(): number {
    return Math.max(this.#frozenUntil - this.#elapsed, 0);
  }

  /** The wall clock is set. */
  jumpWallClock(byMs: number): void {
    this.#wallOffsetMs += byMs;
  }

  /** The process is stopped: both clocks go on, all timers come late. */
  stall(durationMs: number): void {
    this.#frozenUntil = Math.max(this.#frozenUntil, this.#elapsed + durationMs);
    this.#reschedule((at) => Math.max(at, this.#frozenUntil));
  }

  /** The host is suspended: the monotonic clock and all timers stand still. */
  suspend(durationMs: number): void {
    if (this.#elapsed < this.#frozenUntil) return;
    this.#frozenUntil = this.#elapsed + durationMs;
    this.#suspendedMs += durationMs;
    this.#reschedule((at) => at + durationMs);
  }

  /** Forgets the timers of a service that died. */
  forgetService(): void {
    this.#queue = heapOf(this.#queue.data.filter(({ isService }) => !isService));
    this.#frozenUntil = -Infinity;
  }

  /** Lets time pass, and everything happen that is due. */
  async advance(durationMs: number): Promise<void> {
    const until = this.#elapsed + durationMs;
    let atOnce = 0;
    await settle();
    for (let next = this.#queue.peek(); next !== undefined && next.at <= until; next = this.#queue.peek()) {
      this.#queue.pop();
      if (next.isCanceled) continue;
      atOnce = next.at > this.#elapsed ? 0 : atOnce + 1;
      if (atOnce > MAX_AT_ONCE) throw new Error("The world stands still: something is done again and again");
      this.#elapsed = Math.max(this.#elapsed, next.at);
      next.run();
      await settle();
    }
    this.#elapsed = until;
  }

  #schedule(run: () => void, delayMs: number, isService: boolean): () => void {
    const scheduled = {
      at: this.#elapsed + Math.max(delayMs, 0),
      order: this.#order++,
      run,
      isService,
      isCanceled: false,
    };
    this.#queue.push(scheduled);
    return () => scheduled.isCanceled = true;
  }

  #reschedule(move: (at: number) => number): void {
    const all = this.#queue.data;
    for (const scheduled of all) if (scheduled.isService) scheduled.at = move(scheduled.at);
    this.#queue = heapOf(all);
  }
}

function heapOf(all: Scheduled[]): TinyQueue<Scheduled> {
  return new TinyQueue(all, (left, right) => left.at - right.at || left.order - right.order);
}
