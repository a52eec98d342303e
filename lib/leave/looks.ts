// Looks at the SFU on behalf of jobs: one participant at a time when something happened to them, a whole room at a time
// after a gap. A bounded number goes on at once, whatever happens to all calls together.

import { withDeadline } from "../deadline.ts";
import type { RoomAlias } from "../livekit/identity.ts";
import type { RoomService } from "../livekit/room_service.ts";
import type { Job } from "./job.ts";
import type { JobEvent } from "./machine.ts";

/** What a look found. */
export type LookEvent = Extract<JobEvent, { type: "present" | "absent" | "unknown" }>;

/** What the looks need from outside. */
export interface LooksDeps {
  readonly sfu: Pick<RoomService, "getParticipant" | "listParticipants">;
}

const LOOK_TIMEOUT_MS = 5000;
const LOOKS_AT_ONCE = 32;

/** Asks the SFU who is there. */
export class Looks {
  readonly #deps: LooksDeps;
  #queue: (() => Promise<void>)[] = [];
  #next = 0;
  #underWay = 0;

  constructor(deps: LooksDeps) {
    this.#deps = deps;
  }

  /** Looks for all identities of a job. Never rejects; waits for its turn. */
  participant({ room, watched }: Job): Promise<LookEvent> {
    return this.#inTurn(async () => {
      const look = (signal: AbortSignal) =>
        Promise.all(watched.map(async (identity) => {
          return [identity, await this.#deps.sfu.getParticipant(room, identity, signal)] as const;
        }));
      const found = await withDeadline(LOOK_TIMEOUT_MS, look).catch(() => []);
      const present = found.flatMap(([identity, result]) =>
        result.outcome === "present" ? [[identity, result.sid] as const] : []
      );
      if (present.length > 0) return { type: "present", sessions: Object.fromEntries(present) };
      const isCertain = found.length > 0 && found.every(([, result]) => result.outcome === "absent");
      return { type: isCertain ? "absent" : "unknown" };
    });
  }

  /** Everybody in a room; null when the SFU did not say. Never rejects; waits for its turn. */
  room(room: RoomAlias): Promise<ReadonlyMap<string, string> | null> {
    return this.#inTurn(() => {
      const list = (signal: AbortSignal) => this.#deps.sfu.listParticipants(room, signal);
      return withDeadline(LOOK_TIMEOUT_MS, list).catch(() => null);
    });
  }

  #inTurn<T>(look: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#queue.push(() => look().then(resolve, reject));
      this.#pump();
    });
  }

  #pump(): void {
    while (this.#underWay < LOOKS_AT_ONCE) {
      const look = this.#queue[this.#next];
      if (look === undefined) break;
      this.#next++;
      this.#underWay++;
      void look().finally(() => {
        this.#underWay--;
        this.#pump();
      });
    }
    // Shifting a long array one by one would cost its length each time.
    if (this.#next > this.#queue.length / 2) {
      this.#queue = this.#queue.slice(this.#next);
      this.#next = 0;
    }
  }
}

/** What a room's list says about a job. */
export function readList(job: Job, present: ReadonlyMap<string, string> | null): LookEvent {
  if (present === null) return { type: "unknown" };
  const sessions = job.watched.flatMap((identity) => {
    const sid = present.get(identity);
    return sid === undefined ? [] : [[identity, sid] as const];
  });
  return sessions.length > 0 ? { type: "present", sessions: Object.fromEntries(sessions) } : { type: "absent" };
}
