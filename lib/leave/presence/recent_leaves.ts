// Who has just left: a client that connects and drops at once may hand its leave event over after it has gone, and an
// SFU may show a session for a moment after it told its end.

import type { Identity, RoomAlias } from "../../livekit/identity.ts";
import { isReconnect } from "../machine/events.ts";
import type { ParticipantEvent } from "../store/store.ts";

const REMEMBERED_MS = 5 * 60_000;
const MAX_REMEMBERED = 20_000;

interface RecentLeave {
  readonly at: number;
  /** When the webhook about it came, wall-clock ms. */
  readonly createdAt: number;
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

  /**
   * Takes in what a webhook told: a session that ended without another one in its place, or a new session.
   *
   * @returns What that comes to: the beginning of a session that is known to be over tells that it has come and gone.
   */
  learn(event: ParticipantEvent): ParticipantEvent {
    const { type, room, sid, createdAt = Infinity } = event;
    const identity = event.identity as Identity;
    const last = this.#recent(room, identity);
    if (type !== "joined") {
      // Told late, after the end of another session: that one counts.
      const isNews = last === undefined || last.createdAt <= createdAt;
      if (isNews && !isReconnect(event.reason)) this.#add(room, identity, sid, createdAt);
    } else if (last?.sid === sid) {
      return { type: "left", room, identity, sid, reason: "", createdAt: last.createdAt };
    } else {
      this.#forgive(room, identity);
    }
    return event;
  }

  /** Whether one of the identities left within the last five minutes, and has not come back. */
  has(room: RoomAlias, identities: readonly Identity[]): boolean {
    return identities.some((identity) => this.#recent(room, identity)?.isBack === false);
  }

  /** Whether this very session ended within the last five minutes: SIDs are never used again. */
  isOver(room: RoomAlias, identity: Identity, sid: string): boolean {
    return this.#recent(room, identity)?.sid === sid;
  }

  #add(room: RoomAlias, identity: Identity, sid: string, createdAt: number): void {
    const key = keyOf(room, identity);
    this.#leaves.delete(key);
    this.#leaves.set(key, { at: this.#now(), createdAt, sid, isBack: false });
    const oldest = this.#leaves.keys().next();
    if (this.#leaves.size > MAX_REMEMBERED && !oldest.done) this.#leaves.delete(oldest.value);
  }

  #forgive(room: RoomAlias, identity: Identity): void {
    const key = keyOf(room, identity);
    const leave = this.#leaves.get(key);
    if (leave !== undefined) this.#leaves.set(key, { ...leave, isBack: true });
  }

  #recent(room: RoomAlias, identity: Identity): RecentLeave | undefined {
    const leave = this.#leaves.get(keyOf(room, identity));
    return leave !== undefined && this.#now() - leave.at < REMEMBERED_MS ? leave : undefined;
  }
}

function keyOf(room: RoomAlias, identity: Identity): string {
  return `${room} ${identity}`;
}
