// The jobs that this process works on, found by participant, by room, by watched identity, and by event: each at the
// same cost, however many there are.

import type { Identity, RoomAlias } from "../livekit/identity.ts";
import type { ServerName } from "../matrix/server_name.ts";
import { type Delegation, type Job, type JobKey, keyText } from "./machine/job.ts";

/** A job at work. */
export interface ActiveJob {
  readonly key: string;
  job: Job;
  isChecking: boolean;
  /** Something happened during a look: its answer is already old. */
  isCheckStale: boolean;
  /** When a look was last answered, ms of the monotonic clock. */
  checkedAt: number;
  /** When the SFU last told something about the participant, by a look or a webhook. */
  heardAt: number;
  /** The call that is wanted; one that waits in the queue and is not this very one is dropped. */
  call: { readonly action: "restart" | "send" } | null;
  isEnded: boolean;
}

/** Jobs by state, for logs and metrics. */
export type LeaveCounts = { readonly [State in Job["state"]]: number };

interface RoomJobs {
  readonly all: Set<ActiveJob>;
  /** Mostly one job each, so that a list is cheaper than a set. */
  readonly watching: Map<Identity, ActiveJob[]>;
}

/** Keeps entries. A job's key, room, watched identities and event never change while it is in here. */
export class JobIndex {
  readonly #byKey = new Map<string, ActiveJob>();
  /** Homeserver → delay ID → job. */
  readonly #byEvent = new Map<ServerName, Map<string, ActiveJob>>();
  readonly #byRoom = new Map<RoomAlias, RoomJobs>();
  readonly #perUser = new Map<string, number>();

  get counts(): LeaveCounts {
    const counts = { waiting: 0, connected: 0, leaving: 0 };
    for (const { job } of this.#byKey.values()) counts[job.state]++;
    return counts;
  }

  get size(): number {
    return this.#byKey.size;
  }

  /** Jobs of the user whose job this is, or would be. */
  countOfSameUser(delegation: Delegation): number {
    return this.#perUser.get(userKey(delegation)) ?? 0;
  }

  countOf(homeserver: ServerName): number {
    return this.#byEvent.get(homeserver)?.size ?? 0;
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

  watching(room: RoomAlias, identity: Identity): readonly ActiveJob[] {
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
    const entry: ActiveJob = {
      key: keyText(job),
      job,
      isChecking: false,
      isCheckStale: false,
      checkedAt: -Infinity,
      heardAt: -Infinity,
      call: null,
      isEnded: false,
    };
    this.#byKey.set(entry.key, entry);
    const events = this.#byEvent.get(job.homeserver) ?? new Map<string, ActiveJob>();
    events.set(job.delayId, entry);
    this.#byEvent.set(job.homeserver, events);
    this.#perUser.set(userKey(job), this.countOfSameUser(job) + 1);
    let room = this.#byRoom.get(job.room);
    if (room === undefined) {
      room = { all: new Set(), watching: new Map() };
      this.#byRoom.set(job.room, room);
    }
    room.all.add(entry);
    for (const identity of job.watched) {
      const others = room.watching.get(identity);
      if (others === undefined) room.watching.set(identity, [entry]);
      else others.push(entry);
    }
    return entry;
  }

  remove(entry: ActiveJob): void {
    const { job, key } = entry;
    this.#byKey.delete(key);
    const events = this.#byEvent.get(job.homeserver);
    events?.delete(job.delayId);
    if (events?.size === 0) this.#byEvent.delete(job.homeserver);
    const countOfUser = this.countOfSameUser(job) - 1;
    if (countOfUser > 0) this.#perUser.set(userKey(job), countOfUser);
    else this.#perUser.delete(userKey(job));
    const room = this.#byRoom.get(job.room);
    if (room === undefined) return;
    room.all.delete(entry);
    for (const identity of job.watched) {
      const others = (room.watching.get(identity) ?? []).filter((other) => other !== entry);
      if (others.length > 0) room.watching.set(identity, others);
      else room.watching.delete(identity);
    }
    if (room.all.size === 0) this.#byRoom.delete(job.room);
  }
}

// The identity in clear that a job watches begins with the user ID. Where there is none, since it would be over LiveKit's
// limit, all such users of a homeserver count as one.
function userKey({ homeserver, watched }: Delegation): string {
  const legacy = watched.find((identity) => identity.startsWith("@")) ?? "";
  const end = legacy.indexOf(":");
  return `${end > 0 && legacy.startsWith(`:${homeserver}:`, end) ? legacy.slice(0, end) : ""}:${homeserver}`;
}
