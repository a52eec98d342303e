// Who has just left: a client that connects and drops at once may hand its leave event over after it has gone.

import type { Identity, RoomAlias } from "../livekit/identity.ts";

const REMEMBERED_MS = 5 * 60_000;
const MAX_REMEMBERED = 20_000;

/** Leaves of the last five minutes, bounded. */
export class RecentLeaves {
  readonly #leftAt = new Map<string, number>();
  readonly #now: () => number;

  constructor(monotonicNow: () => number) {
    this.#now = monotonicNow;
  }

  add(room: RoomAlias, identity: Identity): void {
    const key = keyOf(room, identity);
    this.#leftAt.delete(key);
    this.#leftAt.set(key, this.#now());
    const oldest = this.#leftAt.keys().next();
    if (this.#leftAt.size > MAX_REMEMBERED && !oldest.done) this.#leftAt.delete(oldest.value);
  }

  /** They are back. */
  forget(room: RoomAlias, identity: Identity): void {
    this.#leftAt.delete(keyOf(room, identity));
  }

  /** Whether one of the identities left within the last five minutes, and has not come back. */
  has(room: RoomAlias, identities: readonly Identity[]): boolean {
    return identities.some((identity) => {
      const at = this.#leftAt.get(keyOf(room, identity));
      return at !== undefined && this.#now() - at < REMEMBERED_MS;
    });
  }
}

function keyOf(room: RoomAlias, identity: Identity): string {
  return `${room} ${identity}`;
}
