// The jobs that this process works on, found by participant, by room, by watched identity, and by event: each at the
// same cost, however many there are.

import type { RoomAlias } from "../livekit/identity.ts";
import type { DelayedAction } from "../matrix/delayed_events.ts";
import { type ServerName, serverNameParts } from "../matrix/server_name.ts";
import { jobBytes } from "./job_bytes.ts";
import { type Delegation, type Job, type JobKey, keyText, userOf } from "./machine/job.ts";

/** A job at work. */
export interface ActiveJob {
  readonly key: string;
  job: Job;
  isChecking: boolean;
  /** Something happened during a presence check: its answer is already old. */
  isCheckStale: boolean;
  /** When presence was last checked, ms of the monotonic clock. */
  checkedAt: number;
  /** When something was last heard of the participant, by a presence check or a webhook. */
  heardAt: number;
  /** The call that is wanted; one that waits in the queue and is not this very one is dropped. */
  call: { readonly action: DelayedAction } | null;
  isEnded: boolean;
}

/** Jobs by state, for logs and metrics. */
export type LeaveCounts = { readonly [State in Job["state"]]: number };

interface RoomJobs {
  readonly all: Set<ActiveJob>;
  /** Mostly one job each, so that a list is cheaper than a set. */
  readonly watching: Map<string, ActiveJob[]>;
}

/** Keeps jobs at work. A job's key, room, watched identities and event never change while it is in here. */
export class JobIndex {
  readonly #byKey = new Map<string, ActiveJob>();
  /** Homeserver → delay ID → job. */
  readonly #byEvent = new Map<ServerName, Map<string, ActiveJob>>();
  readonly #byRoom = new Map<RoomAlias, RoomJobs>();
  readonly #perUser = new Map<string, number>();
  readonly #perHost = new Map<string, number>();
  #largestHost = "";
  #bytes = 0;

  get counts(): LeaveCounts {
    const counts = { waiting: 0, connected: 0, leaving: 0 };
    for (const { job } of this.#byKey.values()) counts[job.state]++;
    return counts;
  }

  get size(): number {
    return this.#byKey.size;
  }

  /** What they take of the memory at most. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Jobs of the user whose job this is, or would be. */
  countOfSameUser(delegation: Delegation): number {
    return this.#perUser.get(userOf(delegation)) ?? 0;
  }

  /** Those of them in the same room, without those that are about to be sent. */
  countOfSameUserInRoom(delegation: Delegation): number {
    const user = userOf(delegation);
    return this.#byRoom.get(delegation.room)?.all.values().filter(({ job }) =>
      job.state !== "leaving" && userOf(job) === user
    ).toArray().length ??
      0;
  }

  /** Jobs of all server names of a host, whatever their ports. */
  countOfHost(host: string): number {
    return this.#perHost.get(host) ?? 0;
  }

  /** The host with the most jobs; "" while there is none. */
  get largestHost(): string {
    return this.#largestHost;
  }

  get(key: string): ActiveJob | undefined {
    return this.#byKey.get(key);
  }

  of(key: JobKey): ActiveJob | undefined {
    return this.#byKey.get(keyText(key));
  }

  /** The job of an event, under whatever identity. */
  ofEvent(event: Pick<Delegation, "homeserver" | "delayId">): ActiveJob | undefined {
    return this.#byEvent.get(event.homeserver)?.get(event.delayId);
  }

  /**
   * The job whose session goes on in this one: that of the participant, or that of the event. A client may hand the same
   * event over under another identity.
   */
  predecessorOf(delegation: Delegation): Job | undefined {
    const twin = this.ofEvent(delegation)?.job;
    return this.of(delegation)?.job ?? (twin?.room === delegation.room ? twin : undefined);
  }

  all(): ActiveJob[] {
    return [...this.#byKey.values()];
  }

  inRoom(room: RoomAlias): ActiveJob[] {
    return [...this.#byRoom.get(room)?.all ?? []];
  }

  has(room: RoomAlias): boolean {
    return this.#byRoom.has(room);
  }

  watching(room: RoomAlias, identity: string): readonly ActiveJob[] {
    return this.#byRoom.get(room)?.watching.get(identity) ?? [];
  }

  /** Rooms in which somebody is connected. */
  connectedRooms(): RoomAlias[] {
    return [...this.#byRoom]
      .filter(([, { all }]) => all.values().some(({ job }) => job.state === "connected"))
      .map(([room]) => room);
  }

  /** Puts a job in; there is none of the same key or event. */
  add(job: Job): ActiveJob {
    const active: ActiveJob = {
      key: keyText(job),
      job,
      isChecking: false,
      isCheckStale: false,
      checkedAt: -Infinity,
      heardAt: -Infinity,
      call: null,
      isEnded: false,
    };
    this.#byKey.set(active.key, active);
    this.#bytes += jobBytes(job);
    const events = this.#byEvent.get(job.homeserver) ?? new Map<string, ActiveJob>();
    events.set(job.delayId, active);
    this.#byEvent.set(job.homeserver, events);
    this.#perUser.set(userOf(job), this.countOfSameUser(job) + 1);
    const host = hostOf(job.homeserver);
    const ofHost = this.countOfHost(host) + 1;
    this.#perHost.set(host, ofHost);
    if (ofHost > this.countOfHost(this.#largestHost)) this.#largestHost = host;
    let room = this.#byRoom.get(job.room);
    if (room === undefined) {
      room = { all: new Set(), watching: new Map() };
      this.#byRoom.set(job.room, room);
    }
    room.all.add(active);
    for (const identity of job.watched) {
      const others = room.watching.get(identity);
      if (others === undefined) room.watching.set(identity, [active]);
      else others.push(active);
    }
    return active;
  }

  /** Takes a job out. */
  remove(active: ActiveJob): void {
    const { job, key } = active;
    this.#byKey.delete(key);
    this.#bytes -= jobBytes(job);
    const events = this.#byEvent.get(job.homeserver);
    events?.delete(job.delayId);
    if (events?.size === 0) this.#byEvent.delete(job.homeserver);
    decrement(this.#perUser, userOf(job));
    decrement(this.#perHost, hostOf(job.homeserver));
    const room = this.#byRoom.get(job.room);
    if (room === undefined) return;
    room.all.delete(active);
    for (const identity of job.watched) {
      const others = (room.watching.get(identity) ?? []).filter((other) => other !== active);
      if (others.length > 0) room.watching.set(identity, others);
      else room.watching.delete(identity);
    }
    if (room.all.size === 0) this.#byRoom.delete(job.room);
  }
}

/** The host of a server name: one host may have any number of names, by its ports. */
export function hostOf(homeserver: ServerName): string {
  return serverNameParts(homeserver).hostname;
}

function decrement(counts: Map<string, number>, key: string): void {
  const left = (counts.get(key) ?? 1) - 1;
  if (left > 0) counts.set(key, left);
  else counts.delete(key);
}
