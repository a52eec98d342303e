// The sweep: rooms with connected participants are listed now and then, since an SFU that crashes sends no webhook at
// all. It also notices what nobody tells: that webhooks never arrive, and that time was lost.

import { withDeadline } from "../../async/deadline.ts";
import type { RoomAlias } from "../../livekit/identity.ts";
import type { RoomService } from "../../livekit/room_service.ts";
import { SfuError } from "../../livekit/sfu_error.ts";
import type { Log } from "../../log/log.ts";

/** Who is in a room: identity → SID. */
export type Listing = ReadonlyMap<string, string>;

/** What the sweep needs from outside. */
export interface RoomPollDeps {
  readonly sfu: Pick<RoomService, "listParticipants">;
  readonly now: () => number;
  readonly monotonicNow: () => number;
  readonly setTimer: (run: () => void, delayMs: number) => () => void;
  readonly log: Log;
  /** 0 = off, as long as webhooks arrive. */
  readonly intervalMs: number;
  /** Rooms to list. */
  readonly rooms: () => readonly RoomAlias[];
  /** @param askedAt ms of the monotonic clock: what happened after it, the listing may not know. */
  readonly onListed: (room: RoomAlias, present: Listing, askedAt: number) => void;
  /** Time passed in which nothing was done and no webhook taken. */
  readonly onGap: () => void;
}

const TICK_MS = 5000;
// Without webhooks the sweep is all there is.
const INTERVAL_WITHOUT_WEBHOOKS_MS = 15_000;
// So long a silence may be that of the webhooks alone.
const SILENCE_MS = 5 * 60_000;
// A client that hands its event over connects at about the same time: by then a webhook should have come.
const WEBHOOK_EXPECTED_WITHIN_MS = 60_000;
const CLOCK_JUMP_MS = 5000;
// LiveKit drops events that it could not deliver for so long.
const STALL_MS = 15_000;
const LIST_TIMEOUT_MS = 5000;
const LISTS_AT_ONCE = 4;
// After so many failures in a row the SFU is down, and asking about the other rooms would take hours.
const MAX_FAILURES = 8;

/** Lists rooms at intervals. */
export class RoomPoll {
  readonly #deps: RoomPollDeps;
  #lastSweepAt: number;
  #lastTickAt: number;
  #clockOffset: number;
  #lastWebhookAt: number | null = null;
  #webhookExpectedSince: number | null = null;
  #failures = 0;
  /** Rooms whose last list failed. */
  readonly #failed = new Set<RoomAlias>();
  #isSweeping = false;
  #isClosed = false;
  #cancel: (() => void) | undefined;

  constructor(deps: RoomPollDeps) {
    this.#deps = deps;
    this.#lastSweepAt = deps.monotonicNow();
    this.#lastTickAt = deps.monotonicNow();
    this.#clockOffset = deps.now() - deps.monotonicNow();
  }

  start(): void {
    this.#lastTickAt = this.#deps.monotonicNow();
    this.#schedule();
  }

  /** A genuine webhook came in. */
  webhookSeen(): void {
    this.#lastWebhookAt = this.#deps.monotonicNow();
  }

  /** A client handed an event over: LiveKit has something to tell about it. */
  webhookExpected(): void {
    this.#webhookExpectedSince ??= this.#deps.monotonicNow();
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel?.();
  }

  #schedule(): void {
    this.#cancel = this.#deps.setTimer(() => this.#tick(), TICK_MS);
  }

  #tick(): void {
    this.#schedule();
    this.#watchClock();
    this.#watchWebhooks();
    const isDue = this.#deps.monotonicNow() - this.#lastSweepAt >= this.#interval();
    if (isDue && !this.#isSweeping) void this.#poll();
  }

  #interval(): number {
    const chosenMs = this.#deps.intervalMs || Infinity;
    if (this.#lastWebhookAt === null) return Math.min(chosenMs, INTERVAL_WITHOUT_WEBHOOKS_MS);
    const isSilent = this.#deps.monotonicNow() - this.#lastWebhookAt >= SILENCE_MS;
    return isSilent ? Math.min(chosenMs, SILENCE_MS) : chosenMs;
  }

  // The monotonic clock stands still while a host is suspended; the wall clock does not, and can be set. A process that
  // was stopped finds both gone on.
  #watchClock(): void {
    const { now, monotonicNow, log, onGap } = this.#deps;
    const offset = now() - monotonicNow();
    const jumpMs = offset - this.#clockOffset;
    const stallMs = monotonicNow() - this.#lastTickAt - TICK_MS;
    this.#clockOffset = offset;
    this.#lastTickAt = monotonicNow();
    if (jumpMs >= CLOCK_JUMP_MS) {
      log.warning("The clock jumped ahead: looking at all delegated leaves", { seconds: Math.round(jumpMs / 1000) });
      onGap();
    } else if (stallMs >= STALL_MS) {
      log.warning("The service was held up: looking at all delegated leaves", { seconds: Math.round(stallMs / 1000) });
      onGap();
    }
  }

  #watchWebhooks(): void {
    if (this.#lastWebhookAt !== null || this.#webhookExpectedSince === null) return;
    if (this.#deps.monotonicNow() - this.#webhookExpectedSince < WEBHOOK_EXPECTED_WITHIN_MS) return;
    this.#deps.log.warning(
      "No webhook of LiveKit has ever arrived here, so participants are polled and leaves come late: point LiveKit's " +
        "webhook.urls at this service's /sfu_webhook, and its webhook.api_key at one of the keys given here",
      { throttle: true },
    );
  }

  async #poll(): Promise<void> {
    this.#isSweeping = true;
    this.#lastSweepAt = this.#deps.monotonicNow();
    this.#failures = 0;
    // Those that failed come last (rooms are taken from the end), lest they keep each sweep from all others.
    const rooms = this.#deps.rooms().toSorted((a, b) => Number(this.#failed.has(b)) - Number(this.#failed.has(a)));
    this.#failed.clear();
    await Promise.all(Array.from({ length: LISTS_AT_ONCE }, async () => {
      for (let room = rooms.pop(); room !== undefined; room = rooms.pop()) {
        if (this.#isClosed || this.#failures >= MAX_FAILURES) return;
        await this.#list(room);
      }
    }));
    this.#isSweeping = false;
  }

  async #list(room: RoomAlias): Promise<void> {
    const askedAt = this.#deps.monotonicNow();
    try {
      const list = (signal: AbortSignal) => this.#deps.sfu.listParticipants(room, signal);
      const present = await withDeadline(LIST_TIMEOUT_MS, list);
      this.#failures = 0;
      if (!this.#isClosed) this.#deps.onListed(room, present, askedAt);
    } catch (error) {
      this.#failures++;
      this.#failed.add(room);
      const cause = error instanceof Error ? error.message : String(error);
      const failure = error instanceof SfuError ? error.failure : "timeout";
      this.#deps.log.warning("Cannot list a room on the SFU", { room, failure, cause, throttle: true });
    }
  }
}
