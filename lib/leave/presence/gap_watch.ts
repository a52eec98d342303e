// What no event shows: that webhooks never arrive, or have stopped, and that time was lost in which nothing was done.

import type { Clock } from "../../async/clock.ts";
import type { Log } from "../../log/log.ts";

/** What the watch needs from outside. */
export interface GapWatchDeps {
  readonly clock: Pick<Clock, "now" | "monotonicNow" | "setTimer">;
  readonly log: Log;
  /** @param lostMs Of the time that was lost, what the monotonic clock knows nothing of. */
  readonly onGap: (lostMs: number) => void;
}

const TICK_MS = 5000;
const CLOCK_JUMP_MS = 5000;
// LiveKit drops events that it could not deliver for so long.
const HELD_UP_MS = 15_000;
const SILENCE_MS = 5 * 60_000;
// A client that delegates connects at about the same time: by then a webhook should have come.
const WEBHOOK_EXPECTED_WITHIN_MS = 60_000;

/** Watches the clocks, and for webhooks. */
export class GapWatch {
  readonly #deps: GapWatchDeps;
  #tickedAt: number;
  #clockOffset: number;
  #webhookAt: number | null = null;
  #webhookExpectedSince: number | null = null;
  #cancel: (() => void) | undefined;

  constructor(deps: GapWatchDeps) {
    this.#deps = deps;
    this.#tickedAt = deps.clock.monotonicNow();
    this.#clockOffset = deps.clock.now() - deps.clock.monotonicNow();
  }

  start(): void {
    this.#tickedAt = this.#deps.clock.monotonicNow();
    this.#schedule();
  }

  close(): void {
    this.#cancel?.();
  }

  /** A genuine webhook came in, here or at another replica. */
  webhookSeen(): void {
    this.#webhookAt = this.#deps.clock.monotonicNow();
  }

  /** A client delegated an event: a webhook about its participant is due. */
  webhookExpected(): void {
    this.#webhookExpectedSince ??= this.#deps.clock.monotonicNow();
  }

  /** Whether webhooks arrive. */
  get webhooks(): "arrive" | "are silent" | "never came" {
    if (this.#webhookAt === null) return "never came";
    return this.#deps.clock.monotonicNow() - this.#webhookAt >= SILENCE_MS ? "are silent" : "arrive";
  }

  #schedule(): void {
    this.#cancel = this.#deps.clock.setTimer(() => this.#tick(), TICK_MS);
  }

  #tick(): void {
    this.#schedule();
    this.#watchClock();
    this.#watchWebhooks();
  }

  // The monotonic clock stands still while a host is suspended; the wall clock does not, and can be set. A process that
  // was stopped finds both gone on.
  #watchClock(): void {
    const { clock, log, onGap } = this.#deps;
    const offset = clock.now() - clock.monotonicNow();
    const jumpMs = offset - this.#clockOffset;
    const heldUpMs = clock.monotonicNow() - this.#tickedAt - TICK_MS;
    this.#clockOffset = offset;
    this.#tickedAt = clock.monotonicNow();
    if (jumpMs >= CLOCK_JUMP_MS) {
      const fields = { seconds: Math.round(jumpMs / 1000) };
      log.warning("The clock jumped ahead, or the host slept: checking all delegated leaves", fields);
      onGap(jumpMs);
    } else if (heldUpMs >= HELD_UP_MS) {
      const fields = { seconds: Math.round(heldUpMs / 1000) };
      log.warning("The service was held up: checking all delegated leaves", fields);
      onGap(0);
    }
  }

  #watchWebhooks(): void {
    if (this.#webhookAt !== null || this.#webhookExpectedSince === null) return;
    if (this.#deps.clock.monotonicNow() - this.#webhookExpectedSince < WEBHOOK_EXPECTED_WITHIN_MS) return;
    this.#deps.log.warning(
      "No webhook of LiveKit has ever arrived here, so participants are polled and leaves come late: point LiveKit's " +
        "webhook.urls at this service's /sfu_webhook, and its webhook.api_key at one of the keys given here",
      { throttle: true },
    );
  }
}
