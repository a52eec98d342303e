// The store that replicas share: any of them takes any request and any webhook, and each shard of the rooms has one owner.
// While Redis is away jobs are kept in memory, and go on: nobody waits for it longer than two seconds.

import type { Clock } from "../../../async/clock.ts";
import { Fifo } from "../../../async/queue.ts";
import type { RoomAlias } from "../../../livekit/identity.ts";
import type { Log } from "../../../log/log.ts";
import type { JobKey } from "../../machine/job.ts";
import type { LeaveStore, ParticipantEvent, Saved, StoredJob, StoreListener } from "../store.ts";
import { encodeJob, fieldOf } from "../stored_job.ts";
import { RedisChanges } from "./changes.ts";
import { type Accepted, RedisCommands, shardOf, type Write, type WriteResult } from "./commands.ts";
import { type RedisConnection, RedisError } from "./connection.ts";
import { RedisEvents } from "./events.ts";
import { RedisShards } from "./shards.ts";
import { eventsOf, type Unconfirmed, UnconfirmedJobs } from "./unconfirmed.ts";

/** What the store needs from outside. */
export interface RedisStoreDeps {
  /** Opened and closed with the store. */
  readonly redis: RedisConnection;
  readonly clock: Clock;
  readonly log: Log;
}

/** The parts that need a listener. */
interface Opened {
  readonly listener: StoreListener;
  readonly shards: RedisShards;
  readonly changes: RedisChanges;
  readonly events: RedisEvents;
}

/** A job on its way to Redis. */
interface Acceptance {
  readonly unconfirmed: Unconfirmed;
  readonly done: (saved: Saved | null) => void;
}

/** A job that was stored for another owner, who may not have read of it yet. */
interface PassedOn {
  readonly job: StoredJob;
  /** ms of the monotonic clock. */
  readonly at: number;
}

const PATIENCE_MS = 1800;
const WRITE_PAUSE_MS = 20;
// Who takes over from a process that dies must not send what was sent.
const REMOVAL_PAUSE_MS = 1;
const BATCH = 100;

// A Redis that fails over, or comes back without its data, may have lost both the job and the word of it.
const PASSED_ON_MS = 10_000;
const MAX_PASSED_ON = 250;

const IN_MEMORY: Saved = { owner: "here", isDurable: false };

/** Keeps jobs in Redis. */
export class RedisStore implements LeaveStore {
  readonly description: string;
  readonly #deps: RedisStoreDeps;
  readonly #commands: RedisCommands;
  readonly #unconfirmed = new UnconfirmedJobs();
  readonly #acceptances = new Fifo<Acceptance>();
  readonly #passedOn = new Fifo<PassedOn>();
  #opened: Opened | null = null;
  #isAccepting = false;
  #cancelWrite: (() => void) | undefined;
  #isClosed = false;
  #closing: Promise<void> | undefined;

  constructor(deps: RedisStoreDeps) {
    this.#deps = deps;
    this.description = deps.redis.description;
    this.#commands = new RedisCommands(deps.redis);
  }

  /**
   * Resolves within two seconds: a Redis that does not answer is tried again in the background.
   *
   * @throws RedisError when it refuses the database.
   */
  async open(listener: StoreListener): Promise<void> {
    const { redis, log, clock } = this.#deps;
    const commands = this.#commands;
    const changes: RedisChanges = new RedisChanges({
      commands,
      tokenOf: (shard) => shards.tokenOf(shard),
      onResult: (write, result) => this.#onResult(write, result),
    });
    const shards = new RedisShards({
      ...{ redis, commands, changes, listener, clock, log },
      isAhead: (field) => this.#unconfirmed.isAhead(field),
      handOver: (job, isChanged) => this.#handOver(job, isChanged),
      onRecover: () => this.#passOnAgain(),
      flush: () => this.#flush(),
    });
    const events = new RedisEvents({ redis, commands, shards, listener });
    this.#opened = { listener, shards, changes, events };
    shards.start();
    const outcome = await this.#inTime(Promise.race([shards.firstRound, redis.refusal]));
    if (outcome instanceof RedisError) {
      await this.close();
      throw outcome;
    }
    if (outcome === null && !redis.isUp) redis.down("it does not answer");
  }

  async accept(job: StoredJob): Promise<Saved> {
    const unconfirmed = this.#unconfirmed.add(job);
    this.#opened?.changes.forget(unconfirmed.field);
    const saved = this.#deps.redis.isUp ? await this.#inTime(this.#confirm(unconfirmed)) : null;
    unconfirmed.isAnswered = true;
    return saved ?? IN_MEMORY;
  }

  update(job: StoredJob): void {
    const unconfirmed = this.#unconfirmed.of(job);
    if (unconfirmed?.job.delayId === job.delayId) {
      unconfirmed.job = job;
      unconfirmed.isChanged = true;
      return;
    }
    // Removed, replaced, or lost to another replica a moment ago: this comes late.
    if (this.#opened?.shards.holding(job)?.delayId !== job.delayId) return;
    this.#opened.shards.hold(job);
    this.#opened.changes.put(job);
    this.#writeSoon();
  }

  remove(key: JobKey, delayId: string): void {
    const unconfirmed = this.#unconfirmed.of(key);
    if (unconfirmed !== undefined) {
      // Another event has taken its place, and is about to be written.
      if (unconfirmed.job.delayId !== delayId) return;
      this.#unconfirmed.delete(unconfirmed);
      if (!unconfirmed.wasSent) return;
    }
    this.#opened?.shards.letGo(key.room, fieldOf(key), delayId);
    this.#opened?.changes.remove(key, delayId);
    this.#writeSoon(REMOVAL_PAUSE_MS);
  }

  async route(event: ParticipantEvent): Promise<"here" | "elsewhere"> {
    if (this.#opened === null || this.#opened.shards.heldMs(event.room) > 0) return "here";
    return await this.#opened.events.pass(event) ? "elsewhere" : "here";
  }

  /** See lease.ts for what is sure, and what goes on while Redis is away. */
  leaseMs(room: RoomAlias): number {
    const shards = this.#opened?.shards;
    if (shards === undefined) return 0;
    const heldMs = shards.heldMs(room);
    if (heldMs > 0) return heldMs;
    return shards.owns(room) || this.#unconfirmed.hasRoom(room) ? shards.awayMs() : 0;
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
      await this.#opened?.shards.stop();
      if (!redis.isUp) return;
      await this.#flush();
      await this.#commands.release(this.#opened?.shards.tokens ?? [], true);
    };
    await this.#inTime(leave().catch((error: unknown) => redis.down(error)));
    const unwritten = this.#unconfirmed.size + (this.#opened?.changes.size ?? 0);
    if (unwritten > 0) log.error("Redis is away: changes of delayed leave events are lost", { changes: unwritten });
    this.#opened?.events.stopWaiting();
    await redis.close();
    await this.#opened?.shards.ended();
  }

  /** @returns null when Redis has not confirmed it. */
  #confirm(unconfirmed: Unconfirmed): Promise<Saved | null> {
    unconfirmed.isUnderWay = true;
    unconfirmed.wasSent = true;
    return new Promise((done) => {
      this.#acceptances.push({ unconfirmed, done });
      void this.#acceptAll();
    });
  }

  /** Stores what waits, one group after another: a later event of a participant is stored later. */
  async #acceptAll(): Promise<void> {
    if (this.#isAccepting) return;
    this.#isAccepting = true;
    await null; // others come in the same turn
    while (this.#acceptances.length > 0) {
      const batch: Acceptance[] = [];
      for (let next = this.#acceptances.shift(); next !== undefined; next = this.#acceptances.shift()) {
        batch.push(next);
        if (batch.length === BATCH) break;
      }
      try {
        await this.#acceptBatch(batch);
      } catch (error) {
        this.#opened?.shards.failed(error);
      }
      for (const { unconfirmed, done } of batch) {
        unconfirmed.isUnderWay = false;
        done(null); // unless it was stored
      }
    }
    this.#isAccepting = false;
  }

  async #acceptBatch(batch: readonly Acceptance[]): Promise<void> {
    const opened = this.#opened;
    if (opened === null || !this.#deps.redis.isUp) return;
    if (await this.#tryBatch(opened, batch)) return;
    await opened.shards.beat();
    // Another event may have come first meanwhile.
    const isCurrent = ({ unconfirmed }: Acceptance) => this.#unconfirmed.has(unconfirmed);
    for (const { done } of batch.filter((acceptance) => !isCurrent(acceptance))) {
      done({ owner: "here", isDurable: true });
    }
    await this.#tryBatch(opened, batch.filter(isCurrent));
  }

  /** @returns Whether this replica's lease was good for it. */
  async #tryBatch(opened: Opened, batch: readonly Acceptance[]): Promise<boolean> {
    if (batch.length === 0) return true;
    const sent = batch.map(({ unconfirmed: { job, isAnswered } }) => {
      const kind = isAnswered ? "late" : opened.shards.isLoaded(job.room) ? "loaded" : "new";
      return { ...encodeJob(job), job, shard: shardOf(job.room), kind } as const;
    });
    const results = await this.#commands.accept(sent);
    for (const [i, accepted] of (results ?? []).entries()) {
      const [acceptance, job] = [batch[i], sent[i]?.job];
      if (acceptance === undefined || job === undefined) continue;
      acceptance.done({ owner: this.#settle(opened, acceptance.unconfirmed, job, accepted), isDurable: true });
    }
    return results !== null;
  }

  /** @returns Whose the job is: not ours where the shard was given away since. */
  #settle(
    { shards, changes, listener, events }: Opened,
    unconfirmed: Unconfirmed,
    sent: StoredJob,
    { outcome, owner, value }: Accepted,
  ): Saved["owner"] {
    const { job, field, room, isAnswered, isChanged } = unconfirmed;
    const isCurrent = this.#unconfirmed.has(unconfirmed);
    this.#unconfirmed.delete(unconfirmed);
    if (owner === "elsewhere") {
      if (isCurrent && isAnswered && isChanged && outcome === "known") {
        for (const event of eventsOf(job, this.#deps.clock.now())) events.keep(event);
      }
      if (isAnswered) listener.release(room);
      else if (outcome === "stored") this.#rememberPassedOn(sent);
      // It was ours when it was handed over for the last time.
      if (shards.owns(room)) void shards.beat();
      return owner;
    }
    if (value !== null) {
      // The same event, stored before by another replica that knows more about it, or a later one.
      shards.adopt([{ field, value }], false);
    } else if (isCurrent && shards.hold(job)) {
      if (job !== sent) changes.put(job);
      // It may have been let go of, when the shard was another's for a moment.
      if (isAnswered) listener.adopt([job]);
      this.#writeSoon();
    }
    return shards.keeps(room) ? owner : "elsewhere";
  }

  #rememberPassedOn(job: StoredJob): void {
    const now = this.#deps.clock.monotonicNow();
    this.#passedOn.push({ job, at: now });
    const isOld = (passed: PassedOn | undefined) => passed !== undefined && now - passed.at > PASSED_ON_MS;
    while (this.#passedOn.length > MAX_PASSED_ON || isOld(this.#passedOn.peek())) this.#passedOn.shift();
  }

  #passOnAgain(): void {
    const since = this.#deps.clock.monotonicNow() - PASSED_ON_MS;
    for (let passed = this.#passedOn.shift(); passed !== undefined; passed = this.#passedOn.shift()) {
      if (passed.at >= since) this.#handOver(passed.job, false);
    }
  }

  #handOver(job: StoredJob, isChanged: boolean): void {
    if (this.#unconfirmed.of(job) !== undefined) return;
    const unconfirmed = this.#unconfirmed.add(job);
    unconfirmed.isAnswered = true;
    unconfirmed.isChanged = isChanged;
  }

  async #flush(): Promise<void> {
    await Promise.all(this.#unconfirmed.waiting().map((unconfirmed) => this.#confirm(unconfirmed)));
    if (!this.#deps.redis.isUp) return;
    await this.#opened?.events.flush();
    await this.#opened?.changes.flush();
  }

  #writeSoon(pauseMs = WRITE_PAUSE_MS): void {
    if (this.#isClosed || this.#cancelWrite !== undefined && pauseMs === WRITE_PAUSE_MS) return;
    this.#cancelWrite?.();
    this.#cancelWrite = this.#deps.clock.setTimer(() => {
      this.#cancelWrite = undefined;
      // While Redis is away the first heartbeat that is answered has it written.
      if (!this.#deps.redis.isUp) return;
      this.#opened?.changes.flush().catch((error: unknown) => this.#opened?.shards.failed(error));
    }, pauseMs);
  }

  #onResult({ shard, token, field }: Write, result: WriteResult): void {
    const shards = this.#opened?.shards;
    if (shards === undefined || token === "" || shards.tokenOf(shard) !== token) return;
    if (result.outcome === "replaced") shards.adopt([{ field, value: result.value }], false);
    else void shards.beat();
  }

  /** null when it takes too long, or fails. */
  #inTime<Result>(work: Promise<Result>): Promise<Result | null> {
    return new Promise((resolve) => {
      const cancel = this.#deps.clock.setTimer(() => resolve(null), PATIENCE_MS);
      work.then(resolve, () => resolve(null)).finally(cancel);
    });
  }
}
