// How many delegated leaves are taken charge of: per user, per homeserver that the operator did not name, and in all, so
// that nobody can fill the memory or the store with events that only they know of.

import type { ServerName } from "../matrix/server_name.ts";
import type { Delegation } from "./machine/job.ts";
import type { LeaveManager } from "./manager.ts";

/** What the caps need from outside. */
export interface JobLimitsDeps {
  readonly manager: Pick<LeaveManager, "size" | "countOf" | "countOfSameUser" | "replaces">;
  /** Whether the operator named a homeserver. */
  readonly isListed: (homeserver: ServerName) => boolean;
}

/** One participation each: nobody is in that many calls at once. */
export const MAX_JOBS_PER_USER = 20;
/** Of a homeserver that the operator did not name. */
export const MAX_JOBS_PER_HOMESERVER = 1000;
/** Of all those together: so many fit beside everything else into the 200 MiB that packagers allow the service. */
export const MAX_UNLISTED_JOBS = 20_000;
/** In all. */
export const MAX_JOBS = 100_000;

/** Caps jobs. A job that takes another one's place is always let in. */
export class JobLimits {
  readonly #deps: JobLimitsDeps;
  /** Being stored: not counted by the manager yet. */
  readonly #underWay = new Map<string, number>();

  constructor(deps: JobLimitsDeps) {
    this.#deps = deps;
  }

  /** Why there is no room for a job, for the client; null when there is. */
  refusal(user: string, delegation: Delegation): string | null {
    const { manager, isListed } = this.#deps;
    const { homeserver } = delegation;
    if (manager.replaces(delegation)) return null;
    if (manager.countOfSameUser(delegation) + (this.#underWay.get(user) ?? 0) >= MAX_JOBS_PER_USER) {
      return `Too many delayed events of this user are delegated already (${MAX_JOBS_PER_USER} at most)`;
    }
    if (!isListed(homeserver) && manager.countOf(homeserver) >= MAX_JOBS_PER_HOMESERVER) {
      return `Too many delayed events of this homeserver are delegated already (${MAX_JOBS_PER_HOMESERVER} at most)`;
    }
    if (manager.size < (isListed(homeserver) ? MAX_JOBS : MAX_UNLISTED_JOBS)) return null;
    return "Too many delayed events are delegated already";
  }

  /** Counts a job of a user while it is being stored. */
  async during(user: string, store: () => Promise<void>): Promise<void> {
    this.#underWay.set(user, (this.#underWay.get(user) ?? 0) + 1);
    try {
      await store();
    } finally {
      const left = (this.#underWay.get(user) ?? 1) - 1;
      if (left > 0) this.#underWay.set(user, left);
      else this.#underWay.delete(user);
    }
  }
}
