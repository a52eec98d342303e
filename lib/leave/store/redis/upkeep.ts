// The heartbeat, and all that follows from it: one script call that keeps this replica's lease up and says what there is to
// do. That is done one thing after another, and done again when Redis fails in between.

import type { RoomAlias } from "../../../livekit/identity.ts";
import { HEARTBEAT_MS, LEASE_MS, type RedisClaims } from "./claims.ts";
import { readRoom, type RedisCommands } from "./commands.ts";
import type { RedisConnection } from "./connection.ts";
import type { RedisRooms } from "./rooms.ts";

/** What the upkeep needs from outside. */
export interface RedisUpkeepDeps {
  readonly redis: RedisConnection;
  readonly commands: RedisCommands;
  readonly claims: RedisClaims;
  readonly rooms: RedisRooms;
  /** Writes and sends all that waits for Redis. */
  readonly flush: () => Promise<void>;
  /** What other replicas sent may be lost. */
  readonly onGap: () => void;
  readonly monotonicNow: () => number;
  readonly setTimer: (run: () => void, delayMs: number) => () => void;
}

// Soon enough for the next heartbeat to be in time after one that was not answered.
const MIN_PAUSE_MS = 100;
const REPAIR_INTERVAL_MS = 10 * 60_000;
// While a replica of release 0.6.0 runs beside this one, there is always something new.
const MIN_REPAIR_INTERVAL_MS = 5000;

/** Keeps a replica alive. */
export class RedisUpkeep {
  readonly #deps: RedisUpkeepDeps;
  readonly #arrivals = new Set<RoomAlias>();
  readonly #doubted = new Set<RoomAlias>();
  #beating: Promise<void> | null = null;
  #working: Promise<void> | null = null;
  #session: string | null = null;
  #hasBeenUp = false;
  #mustRecover = false;
  #mustRepair = true;
  #mayClaim = false;
  #mustFlush = false;
  #repairedAt = -Infinity;
  #cancelTimer: (() => void) | undefined;
  #isStopped = false;
  #onFirstRound: (() => void) | undefined;
  /** Resolves once Redis was asked for everything there is to do, for the first time. */
  readonly firstRound: Promise<void>;

  constructor(deps: RedisUpkeepDeps) {
    this.#deps = deps;
    this.firstRound = new Promise((resolve) => this.#onFirstRound = resolve);
  }

  start(): void {
    this.#deps.redis.start({
      connected: () => {
        // Redis may be another one than before, or without its data.
        this.#mustRecover ||= this.#hasBeenUp;
        void this.beat();
      },
      woken: (roomText) => {
        const room = roomText === null ? null : readRoom(roomText);
        if (room === null) return void this.beat();
        this.#arrivals.add(room);
        this.#work();
      },
      roomsFreed: () => {
        this.#mayClaim = true;
        this.#work();
      },
    });
    this.#beatIn(HEARTBEAT_MS);
  }

  /** Sends a heartbeat, unless one is under way; resolves when it is answered. */
  beat(): Promise<void> {
    this.#beating ??= this.#beat().finally(() => this.#beating = null);
    return this.#beating;
  }

  /** Redis did not do what it was asked: until the next heartbeat is answered nobody waits for it. */
  failed(error: unknown): void {
    this.#deps.redis.down(error);
    this.#mustRecover = true;
  }

  /** A room of ours may be another's. */
  doubt(room: RoomAlias): void {
    this.#doubted.add(room);
    this.#work();
  }

  /** Ends the heartbeat, and waits for what is under way. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancelTimer?.();
    await this.#beating;
    await this.#working;
  }

  async #beat(): Promise<void> {
    if (this.#isStopped) return;
    this.#cancelTimer?.();
    const { commands, claims, redis, monotonicNow } = this.#deps;
    const sentAt = claims.moment();
    try {
      const reply = await commands.beat(LEASE_MS);
      claims.renewed(sentAt);
      if (reply.session !== this.#session) {
        this.#session = reply.session;
        claims.doubt();
        this.#mustRecover ||= this.#hasBeenUp;
      }
      redis.up(reply.replicas);
      for (const room of reply.rooms) this.#arrivals.add(room);
      this.#mayClaim ||= reply.freeRooms > 0;
      this.#mustFlush = true;
      this.#planRepair(reply.isIndexed);
      this.#work();
    } catch (error) {
      claims.failed();
      this.failed(error);
    }
    const pauseMs = Math.max(HEARTBEAT_MS - (monotonicNow() - sentAt.monotonic), MIN_PAUSE_MS);
    this.#beatIn(pauseMs);
  }

  #beatIn(delayMs: number): void {
    if (!this.#isStopped) this.#cancelTimer = this.#deps.setTimer(() => void this.beat(), delayMs);
  }

  #planRepair(isIndexed: boolean): void {
    const sinceMs = this.#deps.monotonicNow() - this.#repairedAt;
    this.#mustRepair ||= sinceMs >= (isIndexed ? REPAIR_INTERVAL_MS : MIN_REPAIR_INTERVAL_MS);
  }

  #work(): void {
    this.#working ??= this.#doAll()
      .catch((error: unknown) => this.failed(error))
      .finally(() => this.#working = null);
  }

  async #doAll(): Promise<void> {
    while (this.#deps.redis.isUp && !this.#isStopped && await this.#doNext());
    if (!this.#deps.redis.isUp) return;
    this.#hasBeenUp = true;
    this.#onFirstRound?.();
  }

  /** @returns Whether there was anything to do. */
  async #doNext(): Promise<boolean> {
    const { rooms, commands, flush, onGap } = this.#deps;
    if (this.#mustRecover) {
      // Redis may be lost again meanwhile.
      this.#mustRecover = false;
      await rooms.reclaimAll();
      this.#mustRepair = true;
      if (this.#hasBeenUp) onGap();
    } else if (this.#doubted.size > 0) {
      await rooms.reclaim(takeAll(this.#doubted));
    } else if (this.#arrivals.size > 0) {
      await rooms.take(takeAll(this.#arrivals));
    } else if (this.#mustRepair) {
      await commands.repair();
      this.#mustRepair = false;
      this.#repairedAt = this.#deps.monotonicNow();
      this.#mayClaim = true;
    } else if (this.#mayClaim) {
      this.#mayClaim = false;
      await rooms.claimFree();
    } else if (this.#mustFlush) {
      this.#mustFlush = false;
      await flush();
    } else {
      return false;
    }
    return true;
  }
}

function takeAll<Item>(items: Set<Item>): Item[] {
  const all = [...items];
  items.clear();
  return all;
}
