// Is the room there? With `room.auto_create: false` at the SFU nobody can join a room that was not created for them.

import { DeadlineError, Deadlines, within } from "../async/deadline.ts";
import { FlightCache, type Loaded } from "../cache/loading_cache.ts";
import { MatrixError } from "../matrix_error.ts";
import type { Log } from "../log/log.ts";
import type { RoomAlias } from "./identity.ts";
import type { RoomService, RoomState } from "./room_service.ts";
import { SfuError } from "./sfu_error.ts";

/** What {@link Rooms} needs from outside. */
export interface RoomsDeps {
  readonly roomService: Pick<RoomService, "createRoom">;
  readonly monotonicNow: () => number;
  readonly log: Log;
}

const CACHED_ROOMS = 10_000;
const CREATE_TIMEOUT_MS = 10_000;

// An empty room ends 20 s after its last participant left, whatever CreateRoom is asked meanwhile, and the count of
// participants lags by up to 5 s. Ten seconds of memory leave a client five to join.
const EXISTS_TTL_MS = 10_000;

/** Creates rooms, once per storm. */
export class Rooms {
  readonly #deps: RoomsDeps;
  readonly #existing: FlightCache<true>;
  readonly #deadlines = new Deadlines(CREATE_TIMEOUT_MS);

  constructor(deps: RoomsDeps) {
    this.#deps = deps;
    this.#existing = new FlightCache({ capacity: CACHED_ROOMS, monotonicNow: deps.monotonicNow });
  }

  /**
   * Makes sure that the room exists and stays long enough to be joined.
   *
   * @throws MatrixError 500 when the SFU does not create it; the cause is logged.
   */
  async ensure(alias: RoomAlias, signal: AbortSignal): Promise<void> {
    if (this.#existing.get(alias) !== undefined) return;
    const flight = this.#existing.getOrLoad(alias, () => this.#create(alias));
    try {
      await within(flight, signal);
    } catch (error) {
      throw signal.aborted ? unableToCreate(error) : error;
    }
  }

  /** The SFU says that the room has ended: the next request creates it anew. */
  forget(alias: RoomAlias): void {
    this.#existing.delete(alias);
  }

  async #create(alias: RoomAlias): Promise<Loaded<true>> {
    try {
      const create = (signal: AbortSignal) => this.#deps.roomService.createRoom(alias, signal);
      const room = await this.#deadlines.limit(create);
      return { value: true, ttlMs: isSafeToRemember(room) ? EXISTS_TTL_MS : 0 };
    } catch (error) {
      if (!(error instanceof SfuError || error instanceof DeadlineError)) throw error;
      const failure = error instanceof SfuError ? error.failure : "timeout";
      this.#deps.log.error("Cannot create a room on the SFU", { room: alias, failure, cause: error.message });
      throw unableToCreate(error);
    }
  }
}

function isSafeToRemember(room: RoomState): boolean {
  return room.participants > 0 || Math.abs(room.ageMs) < EXISTS_TTL_MS;
}

function unableToCreate(cause: unknown): MatrixError {
  return new MatrixError(500, "M_UNKNOWN", "Unable to create room on SFU", { cause });
}
