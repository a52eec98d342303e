// The rooms that this replica works on, with their jobs as Redis should have them: a Redis that comes back without its data
// gets them again. Here rooms are taken up, lost, and found to be still ours.

import type { RoomAlias } from "../../../livekit/identity.ts";
import type { Log } from "../../../log/log.ts";
import type { RedisChanges } from "./changes.ts";
import type { RedisClaims } from "./claims.ts";
import type { Arrival, ClaimedRoom, RedisCommands } from "./commands.ts";
import { MAX_EVENTS } from "./keys.ts";
import type { StoredJob, StoreListener } from "../store.ts";
import { decodeJob, fieldOf, type StoredTexts } from "../stored_job.ts";

/** What the rooms need from outside. */
export interface RedisRoomsDeps {
  readonly claims: RedisClaims;
  readonly commands: RedisCommands;
  readonly changes: RedisChanges;
  readonly listener: StoreListener;
  /** Whether a newer job of this field is in memory and on its way to Redis. */
  readonly isSuperseded: (field: string) => boolean;
  /** Gives a job to whoever works on its room. */
  readonly handOver: (job: StoredJob) => void;
  readonly now: () => number;
  readonly log: Log;
}

const ROOMS_AT_ONCE = 100;

/** Keeps rooms. Methods that ask Redis throw a RedisError. */
export class RedisRooms {
  readonly #deps: RedisRoomsDeps;
  readonly #jobs = new Map<RoomAlias, Map<string, StoredJob>>();

  constructor(deps: RedisRoomsDeps) {
    this.#deps = deps;
  }

  /** Remembers a job as Redis has it, or is about to. */
  hold(job: StoredJob): void {
    const jobs = this.#jobs.get(job.room) ?? new Map<string, StoredJob>();
    jobs.set(fieldOf(job), job);
    this.#jobs.set(job.room, jobs);
  }

  /** Forgets a job that is over. */
  letGo(room: RoomAlias, field: string, delayId: string): void {
    const jobs = this.#jobs.get(room);
    if (jobs?.get(field)?.delayId === delayId) jobs.delete(field);
    if (jobs?.size === 0) this.#jobs.delete(room);
  }

  /** Whether this very job is one of ours. */
  holds(job: StoredJob): boolean {
    return this.#jobs.get(job.room)?.get(fieldOf(job))?.delayId === job.delayId;
  }

  /** Whether there are jobs in a room of ours. */
  has(room: RoomAlias): boolean {
    return this.#jobs.has(room);
  }

  /** A room has become ours. */
  own(room: RoomAlias, { token, jobs, arrivals }: ClaimedRoom): StoredJob[] {
    this.#deps.claims.set(room, token);
    const adopted = this.adopt(room, jobs);
    this.#arrive(room, arrivals);
    return adopted;
  }

  /** A room has become another's. */
  lose(room: RoomAlias): void {
    this.forget(room);
    this.#deps.changes.forgetRoom(room);
    this.#deps.listener.release(room);
  }

  /** A room has no jobs any more, so that it is nobody's. */
  forget(room: RoomAlias): void {
    this.#deps.claims.delete(room);
    this.#jobs.delete(room);
  }

  /** Hands stored jobs of a room of ours on, but for those that are known better here. */
  adopt(room: RoomAlias, stored: readonly StoredTexts[]): StoredJob[] {
    const { changes, listener, isSuperseded, log, now } = this.#deps;
    const adopted: StoredJob[] = [];
    let dropped = 0;
    for (const texts of stored) {
      if (isSuperseded(texts.field)) continue;
      const job = decodeJob(texts, now());
      if (job === null) {
        dropped++;
        changes.drop(room, texts);
        continue;
      }
      const known = this.#jobs.get(room)?.get(texts.field);
      if (known?.delayId === job.delayId || changes.removes(texts.field, job.delayId)) continue;
      this.hold(job);
      adopted.push(job);
    }
    if (dropped > 0) log.warning("Dropped delayed leave events that cannot be read", { dropped });
    if (adopted.length > 0) listener.adopt(adopted);
    return adopted;
  }

  /** Claims rooms that nobody works on, until there are none or no more jobs fit. */
  async claimFree(): Promise<void> {
    const taken = { rooms: 0, events: 0 };
    try {
      while (!this.#deps.listener.isFull()) {
        const { left, rooms } = await this.#deps.commands.claim(ROOMS_AT_ONCE);
        for (const { room, ...claimed } of rooms) taken.events += this.own(room, claimed).length;
        taken.rooms += rooms.length;
        if (left === 0 || rooms.length === 0) return;
      }
    } finally {
      if (taken.events > 0) this.#deps.log.info("Took delayed leave events over", taken);
    }
  }

  /** Takes in what has arrived for rooms of ours. */
  async take(rooms: readonly RoomAlias[]): Promise<void> {
    // Claimed by a call whose answer has not come yet, or never will.
    const strange = rooms.filter((room) => this.#deps.claims.token(room) === undefined);
    if (strange.length > 0) {
      await this.#learn();
      await this.reclaim(strange);
    }
    for (const claims of this.#tokens(rooms)) {
      for (const { room, arrivals } of await this.#deps.commands.take(claims)) {
        this.#arrive(room, arrivals);
        // Word of a job may be among what is lost.
        if (arrivals.length >= MAX_EVENTS) await this.reclaim([room]);
      }
    }
  }

  /**
   * After a stretch out of touch: finds out which rooms are still ours, takes those up again that are nobody's, and has
   * all their jobs written anew, since Redis may have lost what it had.
   */
  async reclaimAll(): Promise<void> {
    await this.#learn();
    await this.reclaim(this.#deps.claims.rooms());
  }

  /** As {@link reclaimAll}, for rooms that may have been lost. */
  async reclaim(rooms: readonly RoomAlias[]): Promise<void> {
    const { commands, claims, changes } = this.#deps;
    const again: RoomAlias[] = [];
    for (const chunk of this.#tokens(rooms)) {
      const asked = new Map(chunk);
      for (const { room, token, fields, arrivals } of await commands.reclaim(chunk)) {
        if (claims.token(room) !== asked.get(room)) {
          // Given up while Redis was being asked, or claimed anew: then its jobs are still to be written.
          if (claims.token(room) === undefined) continue;
          this.#arrive(room, arrivals);
          again.push(room);
          continue;
        }
        const jobs = this.#jobs.get(room);
        if (token === null) {
          // What Redis has lost, or has not been told, the new owner does not know. (What is over there already, costs one
          // call more.)
          const unknown = [...jobs ?? []].filter(([field]) => !fields.includes(field) || changes.has(field));
          this.lose(room);
          for (const [, job] of unknown) this.#deps.handOver(job);
          continue;
        }
        claims.set(room, token);
        for (const [field, job] of jobs ?? []) {
          if (!changes.has(field)) changes.put(job);
        }
        const unknown = fields.filter((field) => jobs?.has(field) !== true);
        this.adopt(room, await commands.read(unknown));
        this.#arrive(room, arrivals);
        if (!this.has(room)) changes.giveUp(room);
      }
    }
    if (again.length > 0) await this.reclaim(again);
  }

  /** Finds out which rooms are ours in Redis. */
  async #learn(): Promise<void> {
    const { commands, claims } = this.#deps;
    for (const [room, token] of await commands.mine()) {
      if (claims.token(room) === undefined) claims.set(room, token);
    }
  }

  #arrive(room: RoomAlias, arrivals: readonly Arrival[]): void {
    for (const arrival of arrivals) {
      if (arrival.type === "event") this.#deps.listener.deliver(arrival.event);
      else this.adopt(room, [arrival.texts]);
    }
    // The list was full, so that earlier ones are lost.
    if (arrivals.length >= MAX_EVENTS) this.#deps.listener.gap();
  }

  *#tokens(rooms: readonly RoomAlias[]): Generator<(readonly [RoomAlias, string])[]> {
    for (let i = 0; i < rooms.length; i += ROOMS_AT_ONCE) {
      const claims = rooms.slice(i, i + ROOMS_AT_ONCE).flatMap((room) => {
        const token = this.#deps.claims.token(room);
        return token === undefined ? [] : [[room, token] as const];
      });
      if (claims.length > 0) yield claims;
    }
  }
}
