// How many delayed leave events are taken: per user, per homeserver that the operator did not name, and in all, so that
// nobody can fill the memory or the store with events that only they know of.

import type { Log } from "../log/log.ts";
import type { ServerName } from "../matrix/server_name.ts";
import { jobBytes, MAX_JOB_BYTES } from "./job_bytes.ts";
import { hostOf, type JobIndex } from "./job_index.ts";
import { type Delegation, userOf } from "./machine/job.ts";

/** What the limits need from outside. */
export interface JobLimitsDeps {
  readonly jobs: Pick<
    JobIndex,
    "size" | "bytes" | "largestHost" | "countOfHost" | "countOfSameUser" | "countOfSameUserInRoom" | "of" | "ofEvent"
  >;
  /** Whether the operator named a homeserver. */
  readonly isListed: (homeserver: ServerName) => boolean;
  /** Whether the operator named any: where none is, the one with the most jobs counts as the operator's own. */
  readonly namesServers: boolean;
  readonly log: Log;
}

/** One participation each: nobody is in that many calls at once. */
export const MAX_JOBS_PER_USER = 20;
/** Devices, and clients of one device. */
export const MAX_JOBS_PER_USER_AND_ROOM = 4;
/** Of a homeserver that the operator did not name, whatever its ports. */
export const MAX_JOBS_PER_HOMESERVER = 1000;
/** Of all those together: so many fit beside everything else into the 200 MiB that packagers allow the service. */
export const MAX_UNLISTED_JOBS = 4000;
/** Where no homeserver is named, of all but the one with the most: the other half is kept for that one. */
export const MAX_STRANGERS_JOBS = 2000;
/** In all; fewer where their texts are long, by {@linkcode MAX_JOB_BYTES}. */
export const MAX_JOBS = 20_000;

const NAME_IT = "name your homeservers in LIVEKIT_FULL_ACCESS_HOMESERVERS or LIVEKIT_ALLOWED_HOMESERVERS";
const ALL_TAKEN = "Too many delayed events are delegated already";

/** Limits jobs. A job that takes another one's place is always let in. */
export class JobLimits {
  readonly #deps: JobLimitsDeps;
  /** Being stored: not counted by the index yet. */
  readonly #underWay = new Map<string, number>();
  /** Limits that the log knows about. */
  readonly #reached = new Set<number>();

  constructor(deps: JobLimitsDeps) {
    this.#deps = deps;
  }

  /** Why there is no room for a job, for the client; null when there is. */
  refusal(delegation: Delegation): string | null {
    const { jobs, isListed, namesServers } = this.#deps;
    const { homeserver } = delegation;
    if (jobs.of(delegation) !== undefined || jobs.ofEvent(delegation) !== undefined) return null;
    const ofUser = jobs.countOfSameUser(delegation) + (this.#underWay.get(userOf(delegation)) ?? 0);
    if (ofUser >= MAX_JOBS_PER_USER) {
      return `Too many delayed events of this user are delegated already (${MAX_JOBS_PER_USER} at most)`;
    }
    // Who has fewer in all has no more in the room.
    if (ofUser >= MAX_JOBS_PER_USER_AND_ROOM && jobs.countOfSameUserInRoom(delegation) >= MAX_JOBS_PER_USER_AND_ROOM) {
      return `Too many delayed events of this user are delegated for this room (${MAX_JOBS_PER_USER_AND_ROOM} at most)`;
    }
    if (jobs.bytes + jobBytes(delegation) > MAX_JOB_BYTES) {
      return this.#reach(MAX_JOB_BYTES, "add a replica", ALL_TAKEN);
    }
    if (isListed(homeserver)) return jobs.size < MAX_JOBS ? null : this.#reach(MAX_JOBS, "add a replica", ALL_TAKEN);
    if (jobs.size >= MAX_UNLISTED_JOBS) return this.#reach(MAX_UNLISTED_JOBS, NAME_IT, ALL_TAKEN);
    const host = hostOf(homeserver);
    if (!namesServers && host === jobs.largestHost) return null;
    if (jobs.countOfHost(host) >= MAX_JOBS_PER_HOMESERVER) {
      const refusal =
        `Too many delayed events of this homeserver are delegated already (${MAX_JOBS_PER_HOMESERVER} at most)`;
      return this.#reach(MAX_JOBS_PER_HOMESERVER, NAME_IT, refusal, homeserver);
    }
    const ofStrangers = jobs.size - jobs.countOfHost(jobs.largestHost);
    if (namesServers || ofStrangers < MAX_STRANGERS_JOBS) return null;
    return this.#reach(MAX_STRANGERS_JOBS, NAME_IT, ALL_TAKEN);
  }

  /** Counts a job of a user while it is being stored. */
  async during(delegation: Delegation, store: () => Promise<void>): Promise<void> {
    const user = userOf(delegation);
    this.#underWay.set(user, (this.#underWay.get(user) ?? 0) + 1);
    try {
      await store();
    } finally {
      const left = (this.#underWay.get(user) ?? 1) - 1;
      if (left > 0) this.#underWay.set(user, left);
      else this.#underWay.delete(user);
    }
  }

  /** Warns once in a process per limit. */
  #reach(limit: number, advice: string, refusal: string, homeserver?: ServerName): string {
    if (!this.#reached.has(limit)) {
      this.#reached.add(limit);
      const fields = { limit, advice, ...(homeserver === undefined ? {} : { homeserver }) };
      this.#deps.log.warning("A limit of delegated leave events is reached: more of them are refused", fields);
    }
    return refusal;
  }
}
