// Who has just left: a client that connects and drops at once may delegate its leave event after it has gone, and an SFU
// may show a session for a moment after the webhook of its end.

import { BoundedMap } from "../../cache/bounded_map.ts";
import type { RoomAlias } from "../../livekit/identity.ts";
import { sessionEnd } from "../machine/disconnect_reasons.ts";
import type { ParticipantEvent } from "../store/store.ts";

const REMEMBERED_MS = 5 * 60_000;
const MAX_REMEMBERED = 4000;

interface RecentLeave {
  readonly at: number;
  /** By when it had happened, wall-clock ms. */
  readonly createdAt: number;
  /** The session that ended. */
  readonly sid: string;
  readonly reason: string;
  /** They have come back since, in another session, or are about to. */
  readonly isBack: boolean;
}

/** Leaves of the last five minutes, bounded: the last one of each participant. */
export class RecentLeaves {
  readonly #leaves = new BoundedMap<string, RecentLeave>(MAX_REMEMBERED);
  readonly #now: () => number;

  /** @param monotonicNow A clock that never jumps, in ms. */
  constructor(monotonicNow: () => number) {
    this.#now = monotonicNow;
  }

  /**
   * Takes a webhook in: a session that ended without another one in its place, or a new session.
   *
   * @returns What that comes to: the beginning of a session that is known to be over is its end once more.
   */
  learn(event: ParticipantEvent): ParticipantEvent {
    const { type, room, identity, sid, createdAt = Infinity } = event;
    const key = keyOf(room, identity);
    const last = this.#recent(key);
    if (type !== "joined") {
      const end = sessionEnd(event.reason);
      // A webhook that comes late, after the end of another session: that one counts.
      const isNews = last === undefined || last.createdAt <= createdAt;
      if (!isNews || end === "replaced") return event;
      const isBack = end === "interrupted";
      this.#leaves.set(key, { at: this.#now(), createdAt, sid, reason: event.reason, isBack });
    } else if (last?.sid === sid) {
      return { type: "left", room, identity, sid, reason: last.reason, createdAt: last.createdAt };
    } else if (last !== undefined) {
      this.#leaves.set(key, { ...last, isBack: true });
    }
    return event;
  }

  /** Whether one of the identities left within the last five minutes, and has not come back. */
  has(room: RoomAlias, identities: readonly string[]): boolean {
    return identities.some((identity) => this.#recent(keyOf(room, identity))?.isBack === false);
  }

  /** Whether this very session ended within the last five minutes: SIDs are never used again. */
  isOver(room: RoomAlias, identity: string, sid: string): boolean {
    return this.#recent(keyOf(room, identity))?.sid === sid;
  }

  #recent(key: string): RecentLeave | undefined {
    const leave = this.#leaves.get(key);
    return leave !== undefined && this.#now() - leave.at < REMEMBERED_MS ? leave : undefined;
  }
}

function keyOf(room: RoomAlias, identity: string): string {
  return `${room} ${identity}`;
}
