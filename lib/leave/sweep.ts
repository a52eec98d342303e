// The sweep: rooms with connected participants are listed now and then, since an SFU that crashes sends no webhook at
// all. It also notices what nobody tells: that webhooks never arrive, and that the clock has jumped.

import { withDeadline } from "../deadline.ts";
import type { RoomAlias } from "../livekit/identity.ts";
import { type RoomService, SfuError } from "../livekit/room_service.ts";
import type { Log } from "../ops/log.ts";
import { Rarely } from "../ops/rarely.ts";

/** What the sweep needs from outside. */
export interface SweepDeps {
  readonly sfu: Pick<RoomService, "listParticipants">;
  readonly now: () => number;
  readonly monotonicNow: () => number;
  readonly setTimer: (run: () => void, delayMs: number) => () => void;
  readonly log: Log;
  /** 0 = off, as long as webhooks arrive. */
  readonly intervalMs: number;
  /** Rooms to list. */
  readonly rooms: () => readonly RoomAlias[];
  /** Who is in a room: identity → SID. */
  readonly onListed: (room: RoomAlias, present: ReadonlyMap<string, string>) => void;
  /** Time was lost: nothing that was scheduled can be relied on. */
  readonly onGap: () => void;
}

const TICK_MS = 5000;
// Without webhooks the sweep is all there is.
const INTERVAL_WITHOUT_WEBHOOKS_MS = 15_000;
const CLOCK_JUMP_MS = 5000;
const LIST_TIMEOUT_MS = 5000;
const LISTS_AT_ONCE = 4;

/** Lists rooms at intervals. */
export class Sweep {
  readonly #deps: SweepDeps;
  readonly #rarely: Rarely;
  #lastSweepAt: number;
  #clockOffset: number;
  #hasWebhooks = false;
  #isSweeping = false;
  #isClosed = false;
  #cancel: (() => void) | undefined;

  constructor(deps: SweepDeps) {
    this.#deps = deps;
    this.#rarely = new Rarely(deps.monotonicNow);
    this.#lastSweepAt = deps.monotonicNow();
    this.#clockOffset = deps.now() - deps.monotonicNow();
  }

  start(): void {
    this.#cancel = this.#deps.setTimer(() => this.#tick(), TICK_MS);
  }

  /** A genuine webhook came in. */
  webhookSeen(): void {
    this.#hasWebhooks = true;
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel?.();
  }

  #tick(): void {
    this.start();
    this.#watchClock();
    const { intervalMs, monotonicNow } = this.#deps;
    const interval = this.#hasWebhooks
      ? intervalMs
      : Math.min(intervalMs || INTERVAL_WITHOUT_WEBHOOKS_MS, INTERVAL_WITHOUT_WEBHOOKS_MS);
    if (interval > 0 && monotonicNow() - this.#lastSweepAt >= interval && !this.#isSweeping) void this.#sweep();
  }

  // The monotonic clock stands still while a host is suspended; the wall clock does not, and can be set.
  #watchClock(): void {
    const offset = this.#deps.now() - this.#deps.monotonicNow();
    const jumpMs = offset - this.#clockOffset;
    this.#clockOffset = offset;
    if (jumpMs < CLOCK_JUMP_MS) return;
    this.#deps.log.warning("The clock jumped ahead: looking at all delegated leaves", {
      seconds: Math.round(jumpMs / 1000),
    });
    this.#deps.onGap();
  }

  async #sweep(): Promise<void> {
    this.#isSweeping = true;
    this.#lastSweepAt = this.#deps.monotonicNow();
    try {
      const rooms = [...this.#deps.rooms()];
      if (rooms.length > 0 && !this.#hasWebhooks) this.#warnOfSilence();
      await Promise.all(Array.from({ length: LISTS_AT_ONCE }, async () => {
        for (let room = rooms.pop(); room !== undefined && !this.#isClosed; room = rooms.pop()) await this.#list(room);
      }));
    } finally {
      this.#isSweeping = false;
    }
  }

  async #list(room: RoomAlias): Promise<void> {
    try {
      const list = (signal: AbortSignal) => this.#deps.sfu.listParticipants(room, signal);
      const present = await withDeadline(LIST_TIMEOUT_MS, list);
      if (!this.#isClosed) this.#deps.onListed(room, present);
    } catch (error) {
      const cause = error instanceof Error ? error.message : String(error);
      const failure = error instanceof SfuError ? error.failure : "timeout";
      this.#rarely.once(
        "list",
        () => this.#deps.log.warning("Cannot list a room on the SFU", { room, failure, cause }),
      );
    }
  }

  #warnOfSilence(): void {
    this.#rarely.once("webhooks", () =>
      this.#deps.log.warning(
        "No webhook of LiveKit has ever arrived here, so participants are polled and leaves come late: point LiveKit's " +
          "webhook.urls at this service's /sfu_webhook, and its webhook.api_key at one of the keys given here",
      ));
  }
}
