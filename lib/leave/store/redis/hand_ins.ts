// Jobs that clients have handed in here and Redis has not confirmed: in memory meanwhile, and tried again when Redis is
// back. A time-out says nothing about whether the job is stored, so that each try may be a repetition.

import type { RoomAlias } from "../../../livekit/identity.ts";
import type { JobKey } from "../../machine/job.ts";
import type { StoredJob } from "../store.ts";
import { fieldOf } from "../stored_job.ts";

/** A job that was handed in. */
export interface HandIn {
  readonly field: string;
  readonly room: RoomAlias;
  /** As it now stands. */
  job: StoredJob;
  isUnderWay: boolean;
  /** It may be in Redis. */
  wasSent: boolean;
  /** The client has been answered: the job is worked on here, stored or not. */
  isAnswered: boolean;
}

/** Keeps them, the last one of each participant. */
export class HandIns {
  readonly #byField = new Map<string, HandIn>();
  readonly #countByRoom = new Map<RoomAlias, number>();

  get size(): number {
    return this.#byField.size;
  }

  /** Those that nobody is trying to store right now. */
  waiting(): HandIn[] {
    return [...this.#byField.values()].filter(({ isUnderWay }) => !isUnderWay);
  }

  add(job: StoredJob): HandIn {
    const field = fieldOf(job);
    const handIn: HandIn = { field, room: job.room, job, isUnderWay: false, wasSent: false, isAnswered: false };
    const old = this.#byField.get(field);
    if (old !== undefined) this.delete(old);
    this.#byField.set(field, handIn);
    this.#countByRoom.set(job.room, (this.#countByRoom.get(job.room) ?? 0) + 1);
    return handIn;
  }

  /** Whether it is still to be stored: not removed, and no other one in its place. */
  has(handIn: HandIn): boolean {
    return this.#byField.get(handIn.field) === handIn;
  }

  of(key: JobKey): HandIn | undefined {
    return this.#byField.get(fieldOf(key));
  }

  /** Whether a job of this field is worked on here before it is stored. */
  isAhead(field: string): boolean {
    return this.#byField.get(field)?.isAnswered === true;
  }

  hasRoom(room: RoomAlias): boolean {
    return this.#countByRoom.has(room);
  }

  delete(handIn: HandIn): void {
    if (!this.has(handIn)) return;
    this.#byField.delete(handIn.field);
    const count = (this.#countByRoom.get(handIn.room) ?? 0) - 1;
    if (count > 0) this.#countByRoom.set(handIn.room, count);
    else this.#countByRoom.delete(handIn.room);
  }
}
