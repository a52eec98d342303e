// PresenceChecks at the SFU on behalf of jobs: one participant at a time when something happened to them, a whole room at a time
// after a gap. A bounded number goes on at once, whatever happens to all calls together.

import { withDeadline } from "../../async/deadline.ts";
import type { Identity, RoomAlias } from "../../livekit/identity.ts";
import type { Presence, RoomService } from "../../livekit/room_service.ts";
import type { JobEvent } from "../machine/events.ts";
import { Fifo } from "../../async/queue.ts";
import type { Job } from "../machine/job.ts";

/** What a look found. */
export type CheckEvent = Extract<JobEvent, { type: "present" | "absent" | "unknown" }>;

/** What the looks need from outside. */
export interface PresenceChecksDeps {
  readonly sfu: Pick<RoomService, "getParticipant" | "listParticipants">;
  /** Whether a webhook told the end of this very session: the SFU may show it a little longer. */
  readonly isOver: (room: RoomAlias, identity: Identity, sid: string) => boolean;
  readonly monotonicNow: () => number;
}

/** Takes a room's list in. */
export type OnListed = (room: RoomAlias, present: ReadonlyMap<string, string> | null, askedAt: number) => void;

const LOOK_TIMEOUT_MS = 5000;
const LOOKS_AT_ONCE = 32;

/** Asks the SFU who is there. */
export class PresenceChecks {
  readonly #deps: PresenceChecksDeps;
  readonly #queue = new Fifo<() => Promise<void>>();
  readonly #roomsToList = new Set<RoomAlias>();
  #underWay = 0;

  constructor(deps: PresenceChecksDeps) {
    this.#deps = deps;
  }

  /** PresenceChecks for all identities of a job. Never rejects; waits for its turn. */
  participant({ room, watched }: Job): Promise<CheckEvent> {
    return this.#inTurn(async () => {
      const found = await Promise.all(watched.map(async (identity) => {
        return [identity, await this.#presence(room, identity)] as const;
      }));
      const sessions = found.flatMap(([identity, result]) =>
        result.outcome === "present" ? [[identity, result.sid] as const] : []
      );
      if (sessions.length > 0) return { type: "present", sessions: Object.fromEntries(sessions) };
      return { type: found.every(([, { outcome }]) => outcome === "absent") ? "absent" : "unknown" };
    });
  }

  /**
   * Lists a room in its turn: once, however often that is wanted until then.
   *
   * @param onListed Told everybody in the room, null when the SFU did not say, and when it was asked: what happened
   * since, the list may not know.
   */
  roomSoon(room: RoomAlias, onListed: OnListed): void {
    if (this.#roomsToList.has(room)) return;
    this.#roomsToList.add(room);
    const listNow = async () => {
      this.#roomsToList.delete(room);
      const askedAt = this.#deps.monotonicNow();
      const list = (signal: AbortSignal) => this.#deps.sfu.listParticipants(room, signal);
      onListed(room, await withDeadline(LOOK_TIMEOUT_MS, list).catch(() => null), askedAt);
    };
    // Others want it in the same turn of the event loop.
    queueMicrotask(() => void this.#inTurn(listNow));
  }

  /** What a room's list says about a job. */
  read(job: Job, present: ReadonlyMap<string, string> | null): CheckEvent {
    if (present === null) return { type: "unknown" };
    const sessions = job.watched.flatMap((identity) => {
      const sid = present.get(identity);
      return sid === undefined || this.#deps.isOver(job.room, identity, sid) ? [] : [[identity, sid] as const];
    });
    return sessions.length > 0 ? { type: "present", sessions: Object.fromEntries(sessions) } : { type: "absent" };
  }

  /** What an earlier look found, without the sessions that ended since. */
  withoutEnded(job: Job, found: CheckEvent): CheckEvent {
    if (found.type !== "present") return found;
    const left = Object.entries(found.sessions).filter(([identity, sid]) =>
      !this.#deps.isOver(job.room, identity as Identity, sid)
    );
    return left.length > 0 ? { type: "present", sessions: Object.fromEntries(left) } : { type: "unknown" };
  }

  // Each identity has its own deadline: an answer that is there counts, whatever becomes of the others.
  async #presence(room: RoomAlias, identity: Identity): Promise<Presence | { readonly outcome: "unknown" }> {
    try {
      const look = (signal: AbortSignal) => this.#deps.sfu.getParticipant(room, identity, signal);
      const found = await withDeadline(LOOK_TIMEOUT_MS, look);
      const isOver = found.outcome === "present" && this.#deps.isOver(room, identity, found.sid);
      return isOver ? { outcome: "absent" } : found;
    } catch {
      return { outcome: "unknown" };
    }
  }

  #inTurn<T>(look: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#queue.push(() => look().then(resolve, reject));
      this.#pump();
    });
  }

  #pump(): void {
    while (this.#underWay < LOOKS_AT_ONCE) {
      const look = this.#queue.shift();
      if (look === undefined) return;
      this.#underWay++;
      void look().finally(() => {
        this.#underWay--;
        this.#pump();
      });
    }
  }
}
