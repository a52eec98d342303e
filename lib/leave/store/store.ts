// Where delegated leaves are kept, and whose they are. A store is the truth: a job is accepted once it is stored, and
// a store shared by several replicas also says which of them works on a room.

import type { RoomAlias } from "../../livekit/identity.ts";
import type { Job, JobKey, UnstoredField } from "../machine/job.ts";

/** A job as it is stored: all times in wall-clock ms since the epoch. */
export type StoredJob = Omit<Job, UnstoredField>;

/** An event of a participant, as a webhook told it. */
export type ParticipantEvent =
  & ({ readonly type: "joined" } | {
    readonly type: "left" | "aborted";
    /** LiveKit's `DisconnectReason` by name. */
    readonly reason: string;
  })
  & {
    readonly room: RoomAlias;
    readonly identity: string;
    readonly sid: string;
    /** By when it had happened, as LiveKit signed it, wall-clock ms. */
    readonly createdAt?: number;
  };

/** What the store tells the manager. */
export interface StoreListener {
  /** Whether no more jobs fit now: then the store keeps further ones to itself until some are over. */
  isFull(): boolean;
  /** These jobs are now ours to work on: at start, after a take-over, or handed in at another replica. */
  adopt(jobs: readonly StoredJob[]): void;
  /** This room is another replica's from now on: its jobs are dropped from memory, and stay stored. */
  release(room: RoomAlias): void;
  /** A webhook that another replica received for a room of ours. */
  deliver(event: ParticipantEvent): void;
  /** Whether a homeserver is being asked something for a job of this room: it is not given away meanwhile. */
  isBusy(room: RoomAlias): boolean;
  /** Events may have been missed: everything is to be looked up. */
  gap(): void;
}

/** How a job was stored. */
export interface Saved {
  /** Ours to work on, or another replica's (which has been told). */
  readonly owner: "here" | "elsewhere";
  /** False while the store is away or full: the job is in memory, and stored as soon as that is possible. */
  readonly isDurable: boolean;
}

/** Keeps jobs. */
export interface LeaveStore {
  /** What is kept where, for the log. */
  readonly description: string;
  /** Opens the store; the listener hears of stored jobs from then on, the first ones possibly before this resolves. */
  open(listener: StoreListener): Promise<void>;
  /** Stores a new job, in place of one of the same key; resolves once it is durable (or known not to be). */
  accept(job: StoredJob): Promise<Saved>;
  /** Stores a change of a job of ours. Written soon, together with others. */
  update(job: StoredJob): void;
  /** Removes a job, unless another delay ID has taken its place. */
  remove(key: JobKey, delayId: string): void;
  /** Where an event belongs: `here`, or passed on to the replica that works on the room. */
  route(event: ParticipantEvent): Promise<"here" | "elsewhere">;
  /** For how many ms from now we may act on a room for sure; 0 = not. Infinity without other replicas. */
  leaseMs(room: RoomAlias): number;
  /** Writes what is pending and gives our rooms back. */
  close(): Promise<void>;
}

/** Keeps nothing beyond the process: jobs live in the manager's memory alone. */
export class MemoryStore implements LeaveStore {
  readonly description = "memory";
  open(): Promise<void> {
    return Promise.resolve();
  }
  accept(): Promise<Saved> {
    return Promise.resolve({ owner: "here", isDurable: false });
  }
  update(): void {}
  remove(): void {}
  route(): Promise<"here"> {
    return Promise.resolve("here");
  }
  leaseMs(): number {
    return Infinity;
  }
  close(): Promise<void> {
    return Promise.resolve();
  }
}
