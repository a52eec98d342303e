// Presence checks: who is there, by the SFU. One participant at a time when something happened to them, a whole room
// at a time when everybody is to be checked.

import type { Clock } from "../../async/clock.ts";
import { withDeadline } from "../../async/deadline.ts";
import { errorText } from "../../log/error_text.ts";
import type { Log } from "../../log/log.ts";
import type { RoomAlias } from "../../livekit/identity.ts";
import type { RoomService } from "../../livekit/room_service.ts";
import type { Job, JobEvent } from "../machine/job.ts";
import { type CheckClass, CheckQueue } from "./check_queue.ts";

/** What a check found. */
export type CheckEvent = Extract<JobEvent, { type: "present" | "absent" | "unknown" }>;

/** Everybody in a room. */
export interface Listing {
  /** Identity → SID. */
  readonly present: ReadonlyMap<string, string>;
  /** When the SFU made the room, ms of the monotonic clock; null = not asked, or there is no room. */
  readonly roomSince: number | null;
  /** When it was asked: what happened since, the list may not know. */
  readonly askedAt: number;
}

/** What of the SFU is asked. */
export type PresenceApi = Pick<RoomService, "getParticipant" | "listParticipants" | "roomAge">;

/** What the checks need from outside. */
export interface PresenceChecksDeps {
  readonly sfu: PresenceApi;
  /** Whether a webhook came about the end of this very session: the SFU may show it a little longer. */
  readonly isOver: (room: RoomAlias, identity: string, sid: string) => boolean;
  readonly clock: Pick<Clock, "monotonicNow" | "setTimer">;
  readonly log: Log;
}

/** Asks the SFU who is there. Never rejects. */
export class PresenceChecks {
  readonly #deps: PresenceChecksDeps;
  readonly #queue: CheckQueue;

  constructor(deps: PresenceChecksDeps) {
    this.#deps = deps;
    this.#queue = new CheckQueue(deps.clock);
  }

  /** Checks for all identities of a job. */
  async participant(job: Job, of: CheckClass): Promise<CheckEvent> {
    const { room, identity } = job;
    try {
      const event = await this.#queue.run(room, of, (timeoutMs) => this.#ask(job, timeoutMs));
      this.#deps.log.debug("Checked a participant's presence", { room, identity, result: event.type });
      return event;
    } catch (error) {
      this.#deps.log.debug("Checked a participant's presence", {
        room,
        identity,
        result: "unknown",
        cause: errorText(error),
      });
      return { type: "unknown" };
    }
  }

  /**
   * Lists a room.
   *
   * @param isAgeWanted Whether it matters, by who is there, how old the room is: the list without that.
   * @returns null when the SFU did not answer.
   */
  async list(room: RoomAlias, isAgeWanted: (listing: Listing) => boolean): Promise<Listing | null> {
    const { sfu, clock, log } = this.#deps;
    try {
      return await this.#queue.run(room, "routine", async (timeoutMs) => {
        const askedAt = clock.monotonicNow();
        const present = await withDeadline(this.#deps.clock, timeoutMs, (signal) => sfu.listParticipants(room, signal));
        log.debug("Listed a room", { room, participants: present.size });
        const listing = { present, askedAt, roomSince: null };
        return isAgeWanted(listing) ? { ...listing, roomSince: await this.#roomSince(room, timeoutMs) } : listing;
      });
    } catch (error) {
      log.warning("Cannot list a room on the SFU", { room, cause: errorText(error), throttle: true });
      return null;
    }
  }

  /** What a room's list means for a job. */
  read({ room, watched }: Job, { present, roomSince, askedAt }: Listing): CheckEvent {
    const found = watched.flatMap((identity) => {
      const sid = present.get(identity);
      return sid === undefined ? [] : [[identity, sid] as const];
    });
    const sessions = this.#notOver(room, found);
    return sessions === null ? { type: "absent", roomSince } : { type: "present", sessions, askedAt };
  }

  /** What an earlier check found, without the sessions that ended since. */
  withoutEnded({ room }: Job, found: CheckEvent): CheckEvent {
    if (found.type !== "present") return found;
    const sessions = this.#notOver(room, Object.entries(found.sessions));
    return sessions === null ? { type: "unknown" } : { ...found, sessions };
  }

  // Each identity has its own deadline: an answer that is there counts, whatever becomes of the others.
  async #ask(job: Job, timeoutMs: number): Promise<CheckEvent> {
    const { room, watched } = job;
    const askedAt = this.#deps.clock.monotonicNow();
    const results = await Promise.allSettled(
      watched.map((identity) =>
        withDeadline(this.#deps.clock, timeoutMs, (signal) => this.#deps.sfu.getParticipant(room, identity, signal))
      ),
    );
    const present = new Map<string, string>();
    results.forEach((result, index) => {
      const identity = watched[index];
      if (result.status === "fulfilled" && result.value.outcome === "present" && identity !== undefined) {
        present.set(identity, result.value.sid);
      }
    });
    const event = this.read(job, { present, roomSince: null, askedAt });
    if (event.type !== "absent") return event;
    for (const result of results) if (result.status === "rejected") throw result.reason;
    return isAgeDecisive(job) ? { type: "absent", roomSince: await this.#roomSince(room, timeoutMs) } : event;
  }

  async #roomSince(room: RoomAlias, timeoutMs: number): Promise<number | null> {
    const { sfu, clock } = this.#deps;
    const ageMs = await withDeadline(this.#deps.clock, timeoutMs, (signal) => sfu.roomAge(room, signal)).catch(() =>
      null
    );
    return ageMs === null ? null : clock.monotonicNow() - ageMs;
  }

  #notOver(
    room: RoomAlias,
    found: readonly (readonly [identity: string, sid: string])[],
  ): Record<string, string> | null {
    const left = found.filter(([identity, sid]) => !this.#deps.isOver(room, identity, sid));
    return left.length > 0 ? Object.fromEntries(left) : null;
  }
}

/** Whether an absence counts at once where the room is older than the job's session. */
export function isAgeDecisive({ state, hint, sessions, connectedAt }: Job): boolean {
  const isConnected = state === "connected" && hint !== "left" && Object.keys(sessions).length > 0;
  return isConnected && connectedAt !== null && connectedAt > -Infinity;
}
