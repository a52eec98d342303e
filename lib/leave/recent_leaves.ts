// Who has just left: a client that connects and drops at once may hand its leave event over after it has gone, and an
// SFU may show a session for a moment after it told its end.

import type { Identity, RoomAlias } from "../livekit/identity.ts";

const REMEMBERED_MS = 5 * 60_000;
const MAX_REMEMBERED = 20_000;

interface RecentLeave {
  readonly at: number;
  /** The session that ended. */
  readonly sid: string;
  /** They have come back since, in another session. */
  readonly isBack: boolean;
}

/** Leaves of the last five minutes, bounded: the last one of each participant. */
export class RecentLeaves {
  readonly #leaves = new Map<string, RecentLeave>();
  readonly #now: () => number;

  constructor(monotonicNow: () => number) {
    this.#now = monotonicNow;
  }

  /** A session ended, and no other one took its place. */
  add(room: RoomAlias, identity: Identity, sid: string): void {
    const key = keyOf(room, identity);
    this.#leaves.delete(key);
    this.#leaves.set(key, { at: this.#now(), sid, isBack: false });
    const oldest = this.#leaves.keys().next();
    if (this.#leaves.size > MAX_REMEMBERED && !oldest.done) this.#leaves.delete(oldest.value);
  }

  /** They are back. */
  forgive(room: RoomAlias, identity: Identity): void {
    const key = keyOf(room, identity);
    const leave = this.#leaves.get(key);
    if (leave !== undefined) this.#leaves.set(key, { ...leave, isBack: true });
  }

  /** Whether one of the identities left within the last five minutes, and has not come back. */
  has(room: RoomAlias, identities: readonly Identity[]): boolean {
    return identities.some((identity) => this.#recent(room, identity)?.isBack === false);
  }

  /** Whether this very session ended within the last five minutes: SIDs are never used again. */
  isOver(room: RoomAlias, identity: Identity, sid: string): boolean {
    return this.#recent(room, identity)?.sid === sid;
  }

  #recent(room: RoomAlias, identity: Identity): RecentLeave | undefined {
    const leave = this.#leaves.get(keyOf(room, identity));
    return leave !== undefined && this.#now() - leave.at < REMEMBERED_MS ? leave : undefined;
  }
}

function keyOf(room: RoomAlias, identity: Identity): string {
  return `${room} ${identity}`;
}
