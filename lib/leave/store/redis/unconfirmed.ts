// Jobs that clients delegated here and Redis has not confirmed: in memory meanwhile, and tried again when Redis is back.
// A time-out says nothing about whether the job is stored, so that each try may be a repetition.

import type { RoomAlias } from "../../../livekit/identity.ts";
import type { JobKey } from "../../machine/job.ts";
import type { ParticipantEvent, StoredJob } from "../store.ts";
import { fieldOf } from "../stored_job.ts";

/** A job that is to be stored. */
export interface Unconfirmed {
  readonly field: string;
  readonly room: RoomAlias;
  /** As it now stands. */
  job: StoredJob;
  isUnderWay: boolean;
  /** It may be in Redis. */
  wasSent: boolean;
  /** The client has been answered: the job is worked on here, stored or not. */
  isAnswered: boolean;
  /** Whether something happened to it that an owner elsewhere may not know. */
  isChanged: boolean;
}

/** Keeps them, the last one of each participant. */
export class UnconfirmedJobs {
  readonly #byField = new Map<string, Unconfirmed>();
  readonly #countByRoom = new Map<RoomAlias, number>();

  get size(): number {
    return this.#byField.size;
  }

  /** Those that nobody is trying to store right now. */
  waiting(): Unconfirmed[] {
    return [...this.#byField.values()].filter(({ isUnderWay }) => !isUnderWay);
  }

  add(job: StoredJob): Unconfirmed {
    const field = fieldOf(job);
    const old = this.#byField.get(field);
    if (old !== undefined) this.delete(old);
    const added = {
      field,
      room: job.room,
      job,
      isUnderWay: false,
      wasSent: false,
      isAnswered: false,
      isChanged: false,
    };
    this.#byField.set(field, added);
    this.#countByRoom.set(job.room, (this.#countByRoom.get(job.room) ?? 0) + 1);
    return added;
  }

  /** Whether it is still to be stored: not removed, and no other one in its place. */
  has(unconfirmed: Unconfirmed): boolean {
    return this.#byField.get(unconfirmed.field) === unconfirmed;
  }

  of(key: JobKey): Unconfirmed | undefined {
    return this.#byField.get(fieldOf(key));
  }

  /** Whether a job of this field is worked on here before it is stored. */
  isAhead(field: string): boolean {
    return this.#byField.get(field)?.isAnswered === true;
  }

  hasRoom(room: RoomAlias): boolean {
    return this.#countByRoom.has(room);
  }

  delete(unconfirmed: Unconfirmed): void {
    if (!this.has(unconfirmed)) return;
    this.#byField.delete(unconfirmed.field);
    const count = (this.#countByRoom.get(unconfirmed.room) ?? 0) - 1;
    if (count > 0) this.#countByRoom.set(unconfirmed.room, count);
    else this.#countByRoom.delete(unconfirmed.room);
  }
}

/**
 * What a job knows of its participant, as the events that would tell it: for a replica that works on the same job and has
 * heard nothing of them.
 *
 * @param createdAt Wall clock, ms: when the job knew of them.
 */
export function eventsOf({ room, identity, state, sessions, hint }: StoredJob, createdAt: number): ParticipantEvent[] {
  const joined = Object.entries(sessions).map(([identity, sid]) => {
    return { type: "joined", room, identity, sid, createdAt } as const;
  });
  const hasLeft = state === "leaving" || hint === "left";
  // Which session that was, the job does not keep.
  return hasLeft ? [...joined, { type: "left", room, identity, sid: "", reason: "", createdAt }] : joined;
}
