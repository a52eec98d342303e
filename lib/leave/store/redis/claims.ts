// Which rooms this replica works on, and for how long that is sure. A lease is measured from the moment at which the
// heartbeat that renewed it was sent, so that it ends here before it ends in Redis.
//
// Two cases look alike from inside and are told apart here. A process that was stopped finds its lease over: the rooms may
// be another's, and nothing is done until a heartbeat has said. When Redis cannot be reached, heartbeat after heartbeat
// fails: then nobody can take a room over, and work goes on. (A replica that alone is cut off works on as well, beside the
// one that took over: a second restart or send of an event does no harm, a missing one does.)

import type { RoomAlias } from "../../../livekit/identity.ts";

/** A moment on both clocks: the monotonic one stands still while a host is suspended, the other one can be set. */
export interface Moment {
  readonly monotonic: number;
  readonly wall: number;
}

/** What the claims need from outside. */
export interface RedisClaimsDeps {
  readonly now: () => number;
  readonly monotonicNow: () => number;
}

/** How long a heartbeat keeps a replica's rooms in Redis, in ms. */
export const LEASE_MS = 3000;
/** How often a heartbeat is sent, in ms. */
export const HEARTBEAT_MS = 700;
// Two clocks never run at quite the same speed.
const MARGIN_MS = 200;
// After so long without Redis it is away for everybody, as far as this replica can tell.
const AWAY_AFTER_MS = 3000;
const MAX_GAP_BETWEEN_FAILURES_MS = 3000;
const LEASE_WHILE_AWAY_MS = 5000;

interface Claim {
  readonly token: string;
  /** False until Redis has said, after a stretch out of touch, that the room is still ours. */
  readonly isSure: boolean;
}

/** Claims of this replica. */
export class RedisClaims {
  readonly #deps: RedisClaimsDeps;
  readonly #claims = new Map<RoomAlias, Claim>();
  #renewedAt: Moment | null = null;
  #failingSince: Moment | null = null;
  #failedAt: Moment | null = null;

  constructor(deps: RedisClaimsDeps) {
    this.#deps = deps;
  }

  get size(): number {
    return this.#claims.size;
  }

  /** Now, on both clocks. */
  moment(): Moment {
    return { monotonic: this.#deps.monotonicNow(), wall: this.#deps.now() };
  }

  /** A heartbeat has renewed the lease. */
  renewed(sentAt: Moment): void {
    this.#renewedAt = sentAt;
    this.#failingSince = null;
    this.#failedAt = null;
  }

  /** A heartbeat has failed. */
  failed(): void {
    // Failures with a long pause between them are no proof: in the pause Redis may have answered others.
    const isStreak = this.#failedAt !== null && this.#since(this.#failedAt) <= MAX_GAP_BETWEEN_FAILURES_MS;
    this.#failedAt = this.moment();
    if (!isStreak) this.#failingSince = this.#failedAt;
  }

  /** The lease ran out in Redis before it was renewed: any room may be another's. */
  doubt(): void {
    for (const [room, { token }] of this.#claims) this.#claims.set(room, { token, isSure: false });
  }

  set(room: RoomAlias, token: string): void {
    this.#claims.set(room, { token, isSure: true });
  }

  delete(room: RoomAlias): void {
    this.#claims.delete(room);
  }

  token(room: RoomAlias): string | undefined {
    return this.#claims.get(room)?.token;
  }

  rooms(): RoomAlias[] {
    return [...this.#claims.keys()];
  }

  /** For how many ms this replica works on a room by itself; 0 = not, or not any more. */
  heldMs(room: RoomAlias): number {
    if (this.#renewedAt === null || this.#claims.get(room)?.isSure !== true) return 0;
    return Math.max(LEASE_MS - MARGIN_MS - this.#since(this.#renewedAt), 0);
  }

  /** For how many ms from now work on rooms of ours can go on without Redis; 0 = Redis may well be there for others. */
  awayMs(): number {
    if (this.#failingSince === null || this.#failedAt === null) return 0;
    const isAway = this.#since(this.#failingSince) >= AWAY_AFTER_MS &&
      this.#since(this.#failedAt) <= MAX_GAP_BETWEEN_FAILURES_MS;
    return isAway ? LEASE_WHILE_AWAY_MS : 0;
  }

  #since({ monotonic, wall }: Moment): number {
    return Math.max(this.#deps.monotonicNow() - monotonic, this.#deps.now() - wall);
  }
}
