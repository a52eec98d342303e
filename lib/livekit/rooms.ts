// Is the room there? With `room.auto_create: false` at the SFU nobody can join a room that was not created for them.

import type { Clock } from "../async/clock.ts";
import { DeadlineError, Deadlines } from "../async/deadline.ts";
import { type CacheCounts, type Loaded, LoadingCache } from "../cache/loading_cache.ts";
import { MatrixError } from "../matrix_error.ts";
import type { RoomAlias } from "./identity.ts";
import type { RoomService, RoomState } from "./room_service.ts";
import { SfuError } from "./sfu_error.ts";

/** What {@link Rooms} needs from outside. */
export interface RoomsOptions {
  readonly roomService: Pick<RoomService, "createRoom">;
  readonly clock: Clock;
}

const CACHED_ROOMS = 5000;
const CREATE_TIMEOUT_MS = 10_000;

// An empty room ends 20 s after its last participant left, whatever CreateRoom is asked meanwhile, and the count of
// participants lags by up to 5 s. Ten seconds of memory leave a client five to join.
const EXISTS_TTL_MS = 10_000;

/** Creates rooms, once per storm. */
export class Rooms {
  readonly #roomService: Pick<RoomService, "createRoom">;
  readonly #existing: LoadingCache<true>;
  readonly #deadlines: Deadlines;

  constructor({ roomService, clock }: RoomsOptions) {
    this.#roomService = roomService;
    this.#existing = new LoadingCache({ capacity: CACHED_ROOMS, clock });
    this.#deadlines = new Deadlines(CREATE_TIMEOUT_MS, clock);
  }

  /** How often a look-up was saved. */
  get cacheCounts(): CacheCounts {
    return this.#existing.counts;
  }

  /**
   * Makes sure that the room exists and stays long enough to be joined.
   *
   * @returns Whether the SFU need not be asked for this request: it was a moment ago, or is for another one.
   * @throws MatrixError 500 when the SFU does not create it.
   */
  async ensure(alias: RoomAlias, signal: AbortSignal): Promise<boolean> {
    let wasKnown = true;
    const load = () => {
      wasKnown = false;
      return this.#create(alias);
    };
    try {
      await this.#existing.get(alias, load, signal);
      return wasKnown;
    } catch (error) {
      throw signal.aborted ? unableToCreate(error) : error;
    }
  }

  /** Forgets a room that has ended: the next request creates it anew. */
  forget(alias: RoomAlias): void {
    this.#existing.delete(alias);
  }

  async #create(alias: RoomAlias): Promise<Loaded<true>> {
    try {
      const room = await this.#deadlines.enforce((signal) => this.#roomService.createRoom(alias, signal));
      return { value: true, ttlMs: isSafeToRemember(room) ? EXISTS_TTL_MS : 0 };
    } catch (error) {
      if (!(error instanceof SfuError || error instanceof DeadlineError)) throw error;
      throw unableToCreate(error, error instanceof SfuError ? error.failure : "timeout");
    }
  }
}

function isSafeToRemember(room: RoomState): boolean {
  return room.participants > 0 || Math.abs(room.ageMs) < EXISTS_TTL_MS;
}

function unableToCreate(cause: unknown, failure = "timeout"): MatrixError {
  const details = { summary: "Cannot create a room on the SFU", fields: { failure } };
  return new MatrixError(500, "M_UNKNOWN", "Unable to create room on SFU", { cause, details });
}
