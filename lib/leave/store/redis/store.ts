// The store that replicas share: any of them takes any request and any webhook, and each room is worked on by one. While
// Redis is away jobs are kept in memory, and go on: nobody waits for it longer than two seconds.

import type { RoomAlias } from "../../../livekit/identity.ts";
import type { Log } from "../../../log/log.ts";
import { Fifo } from "../../../async/queue.ts";
import type { JobKey } from "../../machine/job.ts";
import { RedisChanges } from "./changes.ts";
import { RedisClaims } from "./claims.ts";
import { type AcceptReply, RedisCommands, type Write, type WriteResult } from "./commands.ts";
import type { RedisConnection } from "./connection.ts";
import { newsOf } from "../news.ts";
import { type HandIn, HandIns } from "./hand_ins.ts";
import { RedisRooms } from "./rooms.ts";
import { RedisUpkeep } from "./upkeep.ts";
import {
  isSameEvent,
  type LeaveStore,
  type ParticipantEvent,
  type Saved,
  type StoredJob,
  type StoreListener,
} from "../store.ts";
import { encodeJob, fieldOf } from "../stored_job.ts";

/** What the store needs from outside. */
export interface RedisStoreDeps {
  /** Opened and closed with the store. */
  readonly redis: RedisConnection;
  readonly now: () => number;
  readonly monotonicNow: () => number;
  readonly setTimer: (run: () => void, delayMs: number) => () => void;
  readonly log: Log;
}

/** The parts that need a listener. */
interface Opened {
  readonly listener: StoreListener;
  readonly rooms: RedisRooms;
  readonly changes: RedisChanges;
  readonly upkeep: RedisUpkeep;
}

const PATIENCE_MS = 1800;
const WRITE_PAUSE_MS = 20;
// Who takes over from a process that dies must not send what was sent.
const REMOVAL_PAUSE_MS = 1;
const HAND_INS_AT_ONCE = 50;
// After a gap everybody is looked up anyway: what these tell beyond that is why somebody left.
const MAX_UNSENT_EVENTS = 1000;

const IN_MEMORY: Saved = { owner: "here", isDurable: false };

/** Keeps jobs in Redis. */
export class RedisStore implements LeaveStore {
  readonly description: string;
  readonly #deps: RedisStoreDeps;
  readonly #commands: RedisCommands;
  readonly #claims: RedisClaims;
  readonly #handIns = new HandIns();
  readonly #unsentEvents = new Fifo<ParticipantEvent>();
  #opened: Opened | null = null;
  #cancelWrite: (() => void) | undefined;
  #isClosed = false;
  #closing: Promise<void> | undefined;

  constructor(deps: RedisStoreDeps) {
    this.#deps = deps;
    this.description = deps.redis.description;
    this.#commands = new RedisCommands(deps.redis);
    this.#claims = new RedisClaims(deps);
  }

  /** Resolves within two seconds: a Redis that does not answer is tried again in the background. */
  async open(listener: StoreListener): Promise<void> {
    const { redis, log, now, monotonicNow, setTimer } = this.#deps;
    const [commands, claims] = [this.#commands, this.#claims];
    const changes = new RedisChanges({ commands, claims, onResult: (...result) => this.#onResult(...result) });
    const isSuperseded = (field: string) => this.#handIns.isAhead(field);
    const handOver = (job: StoredJob) => {
      if (this.#handIns.of(job) === undefined) this.#handIns.add(job).isAnswered = true;
    };
    const rooms = new RedisRooms({ claims, commands, changes, listener, isSuperseded, handOver, now, log });
    const upkeep = new RedisUpkeep({
      ...{ redis, commands, claims, rooms, monotonicNow, setTimer },
      flush: () => this.#flush(),
      onGap: () => listener.gap(),
    });
    this.#opened = { listener, rooms, changes, upkeep };
    upkeep.start();
    const isDone = await this.#inTime(upkeep.firstRound.then(() => true));
    if (isDone === null && !redis.isUp) redis.down("it does not answer");
  }

  async accept(job: StoredJob): Promise<Saved> {
    const handIn = this.#handIns.add(job);
    this.#opened?.changes.forget(handIn.field);
    const saved = this.#deps.redis.isUp ? await this.#inTime(this.#handIn(handIn)) : null;
    handIn.isAnswered = true;
    return saved ?? IN_MEMORY;
  }

  update(job: StoredJob): void {
    const handIn = this.#handIns.of(job);
    if (handIn?.job.delayId === job.delayId) {
      handIn.job = job;
      return;
    }
    // Removed, replaced, or lost to another replica a moment ago: this is late news.
    if (this.#opened?.rooms.holds(job) !== true) return;
    this.#opened.rooms.hold(job);
    this.#opened.changes.put(job);
    this.#writeSoon();
  }

  remove(key: JobKey, delayId: string): void {
    const handIn = this.#handIns.of(key);
    if (handIn !== undefined) {
      // Another event has taken its place, and is about to be written.
      if (handIn.job.delayId !== delayId) return;
      this.#handIns.delete(handIn);
      if (!handIn.wasSent) return;
    }
    this.#opened?.rooms.letGo(key.room, fieldOf(key), delayId);
    this.#opened?.changes.remove(key, delayId);
    this.#writeSoon(REMOVAL_PAUSE_MS);
  }

  /**
   * Where nobody works on the room the event is also left in Redis for five minutes: whoever takes the room up, by a job
   * handed in there, hears of it first.
   */
  async route(event: ParticipantEvent): Promise<"here" | "elsewhere"> {
    if (this.#claims.heldMs(event.room) > 0) return "here";
    // Events of one room stay in their order.
    if (this.#deps.redis.isUp && this.#unsentEvents.length === 0) {
      try {
        return await this.#commands.route(event);
      } catch (error) {
        this.#opened?.upkeep.failed(error);
      }
    }
    this.#keep(event);
    return "here";
  }

  /** See redis_claims.ts for what is sure, and what goes on while Redis is away. */
  leaseMs(room: RoomAlias): number {
    const heldMs = this.#claims.heldMs(room);
    if (heldMs > 0) return heldMs;
    const isOurs = this.#claims.token(room) !== undefined || this.#handIns.hasRoom(room);
    return isOurs ? this.#claims.awayMs() : 0;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelWrite?.();
    const { redis, log } = this.#deps;
    const leave = async () => {
      await this.#opened?.upkeep.stop();
      if (!redis.isUp) return;
      await this.#flush();
      await this.#commands.leave();
    };
    await this.#inTime(leave().catch((error: unknown) => redis.down(error)));
    const unwritten = this.#handIns.size + (this.#opened?.changes.size ?? 0);
    if (unwritten > 0) log.error("Redis is away: changes of delayed leave events are lost", { changes: unwritten });
    await redis.close();
  }

  /** @returns null when Redis has not confirmed it. */
  async #handIn(handIn: HandIn): Promise<Saved | null> {
    const opened = this.#opened;
    if (opened === null) return null;
    handIn.isUnderWay = true;
    handIn.wasSent = true;
    const sent = handIn.job;
    const ask = () => {
      const isKnown = this.#claims.token(sent.room) !== undefined;
      return this.#commands.accept(sent.room, encodeJob(sent), isKnown, handIn.isAnswered);
    };
    try {
      let reply = await ask();
      if (reply.owner === "lapsed") {
        await opened.upkeep.beat();
        // Another event may have come first meanwhile: it must not be overwritten.
        if (!this.#handIns.has(handIn)) return { owner: "here", isDurable: true };
        reply = await ask();
      }
      return this.#settle(opened, handIn, sent, reply);
    } catch (error) {
      opened.upkeep.failed(error);
      return null;
    } finally {
      handIn.isUnderWay = false;
    }
  }

  #settle(opened: Opened, handIn: HandIn, sent: StoredJob, reply: AcceptReply): Saved | null {
    const { rooms, changes, upkeep, listener } = opened;
    const { room } = handIn;
    switch (reply.owner) {
      case "lapsed":
        return null;
      case "elsewhere":
        if (handIn.isAnswered && reply.isKnown && this.#handIns.has(handIn)) this.#tell(handIn.job);
        this.#handIns.delete(handIn);
        if (this.#claims.token(room) !== undefined) upkeep.doubt(room);
        else if (handIn.isAnswered) listener.release(room);
        return { owner: "elsewhere", isDurable: true };
      case "here": {
        if (reply.isSuperseded) this.#handIns.delete(handIn);
        const adopted = rooms.own(room, reply);
        if (this.#handIns.has(handIn)) {
          this.#handIns.delete(handIn);
          // The same event, stored before by another replica that knows more about it.
          if (!adopted.some((job) => isSameEvent(job, sent))) rooms.hold(handIn.job);
          if (handIn.job !== sent || handIn.isAnswered) changes.put(handIn.job);
          // It may have been let go of, when the room was another's for a moment.
          if (handIn.isAnswered) listener.adopt([handIn.job]);
          this.#writeSoon();
        }
        return { owner: "here", isDurable: true };
      }
    }
  }

  async #flush(): Promise<void> {
    const handIns = this.#handIns.waiting();
    while (handIns.length > 0 && this.#deps.redis.isUp) {
      await Promise.all(handIns.splice(0, HAND_INS_AT_ONCE).map((handIn) => this.#handIn(handIn)));
    }
    for (let event = this.#unsentEvents.peek(); event !== undefined; event = this.#unsentEvents.peek()) {
      const owner = await this.#commands.route(event);
      this.#unsentEvents.shift();
      // The job may have come since the event did.
      if (owner === "here") this.#opened?.listener.deliver(event);
    }
    await this.#opened?.changes.flush();
  }

  /** Tells the owner of a room what this replica knows of a participant there. */
  #tell(job: StoredJob): void {
    for (const event of newsOf(job, this.#deps.now())) this.#keep(event);
  }

  #keep(event: ParticipantEvent): void {
    this.#unsentEvents.push(event);
    if (this.#unsentEvents.length > MAX_UNSENT_EVENTS) this.#unsentEvents.shift();
  }

  #writeSoon(pauseMs = WRITE_PAUSE_MS): void {
    if (this.#isClosed || this.#cancelWrite !== undefined && pauseMs === WRITE_PAUSE_MS) return;
    this.#cancelWrite?.();
    this.#cancelWrite = this.#deps.setTimer(() => {
      this.#cancelWrite = undefined;
      // While Redis is away the first heartbeat that is answered has it written.
      if (!this.#deps.redis.isUp) return;
      this.#opened?.changes.flush().catch((error: unknown) => this.#opened?.upkeep.failed(error));
    }, pauseMs);
  }

  #onResult({ room, token, field }: Write, result: WriteResult): void {
    const opened = this.#opened;
    if (opened === null || token === "" || this.#claims.token(room) !== token) return;
    if (result.outcome === "replaced") opened.rooms.adopt(room, [{ field, value: result.value }]);
    else if (result.outcome === "emptied" && !opened.rooms.has(room)) opened.rooms.forget(room);
    else opened.upkeep.doubt(room);
  }

  /** null when it takes too long, or fails. */
  #inTime<Result>(work: Promise<Result>): Promise<Result | null> {
    return new Promise((resolve) => {
      const cancel = this.#deps.setTimer(() => resolve(null), PATIENCE_MS);
      work.then(resolve, () => resolve(null)).finally(cancel);
    });
  }
}
