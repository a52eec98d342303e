// The room poll: rooms with connected participants are listed now and then, since an SFU that crashes sends no webhook at
// all, and webhooks get lost.

import type { Clock } from "../../async/clock.ts";
import type { RoomAlias } from "../../livekit/identity.ts";

/** What the poll needs from outside. */
export interface RoomPollDeps {
  readonly clock: Pick<Clock, "monotonicNow" | "setTimer">;
  /** By choice; 0 = as rarely as possible. */
  readonly intervalMs: number;
  /** Whether webhooks arrive. */
  readonly webhooks: () => "arrive" | "are silent" | "never came";
  /** Rooms with somebody connected. */
  readonly rooms: () => readonly RoomAlias[];
  /** Lists a room, in its turn among all presence checks; false when the SFU did not answer. */
  readonly list: (room: RoomAlias) => Promise<boolean>;
}

const TICK_MS = 5000;
// Webhooks get lost unnoticed: as long as there are jobs nobody goes unchecked for longer.
const MAX_INTERVAL_MS = 15 * 60_000;
// So long a silence may be that of the webhooks alone.
const INTERVAL_IN_SILENCE_MS = 5 * 60_000;
// Without webhooks the poll is all there is.
const INTERVAL_WITHOUT_WEBHOOKS_MS = 15_000;

/** Lists rooms at intervals, and those again soon that could not be listed. */
export class RoomPoll {
  readonly #deps: RoomPollDeps;
  readonly #failed = new Set<RoomAlias>();
  #polledAt: number;
  #isPolling = false;
  #isClosed = false;
  #cancel: (() => void) | undefined;

  constructor(deps: RoomPollDeps) {
    this.#deps = deps;
    this.#polledAt = deps.clock.monotonicNow();
  }

  start(): void {
    this.#cancel = this.#deps.clock.setTimer(() => this.#tick(), TICK_MS);
  }

  close(): void {
    this.#isClosed = true;
    this.#cancel?.();
  }

  /** Lists a room now, and again until the SFU answers. */
  async list(room: RoomAlias): Promise<void> {
    this.#failed.delete(room);
    const isListed = await this.#deps.list(room);
    if (!isListed && !this.#isClosed) this.#failed.add(room);
  }

  #tick(): void {
    this.start();
    if (this.#isPolling) return;
    const now = this.#deps.clock.monotonicNow();
    const isDue = now - this.#polledAt >= this.#intervalMs();
    if (isDue) this.#polledAt = now;
    void this.#poll(isDue ? [...new Set([...this.#deps.rooms(), ...this.#failed])] : [...this.#failed]);
  }

  async #poll(rooms: readonly RoomAlias[]): Promise<void> {
    this.#isPolling = true;
    await Promise.all(rooms.map((room) => this.list(room)));
    this.#isPolling = false;
  }

  #intervalMs(): number {
    const chosenMs = Math.min(this.#deps.intervalMs || Infinity, MAX_INTERVAL_MS);
    switch (this.#deps.webhooks()) {
      case "never came":
        return Math.min(chosenMs, INTERVAL_WITHOUT_WEBHOOKS_MS);
      case "are silent":
        return Math.min(chosenMs, INTERVAL_IN_SILENCE_MS);
      case "arrive":
        return chosenMs;
    }
  }
}
