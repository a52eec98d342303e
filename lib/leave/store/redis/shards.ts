// The shards that this replica owns, with their jobs as Redis should have them: a Redis that comes back without its data
// gets them again. One heartbeat keeps all of them, and tells which are ours; what follows from it is done one thing after
// another, and done again when Redis fails in between.

import type { Clock } from "../../../async/clock.ts";
import type { RoomAlias } from "../../../livekit/identity.ts";
import type { Log } from "../../../log/log.ts";
import type { StoredJob, StoreListener } from "../store.ts";
import { decodeJob, fieldOf, type StoredTexts } from "../stored_job.ts";
import type { RedisChanges } from "./changes.ts";
import { type BeatReply, type Entries, type Entry, type RedisCommands, shardOf } from "./commands.ts";
import type { RedisConnection } from "./connection.ts";
import { HEARTBEAT_MS, Lease, LEASE_MS } from "./lease.ts";

/** What the shards need from outside. */
export interface RedisShardsDeps {
  readonly redis: RedisConnection;
  readonly commands: RedisCommands;
  readonly changes: RedisChanges;
  readonly listener: StoreListener;
  /** Whether a newer job of this field is in memory and on its way to Redis. */
  readonly isAhead: (field: string) => boolean;
  /** Gives a job to the owner of its shard; `isChanged`: something happened to it that Redis was not told. */
  readonly handOver: (job: StoredJob, isChanged: boolean) => void;
  /** Redis may have lost what it had. */
  readonly onRecover: () => void;
  /** Writes and passes on all that waits for Redis. */
  readonly flush: () => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
}

/** A shard of ours, under one fencing token. */
interface Shard {
  readonly number: number;
  readonly token: string;
  /** By field. */
  readonly jobs: Map<string, StoredJob>;
  /** The last entry of its stream that was taken in; null while its jobs are being loaded. */
  position: string | null;
  /** Entries that were taken in and stand there still. */
  taken: string[];
  /** About to be another's: nothing new is begun. */
  isReleasing: boolean;
}

// Soon enough for the next heartbeat to be in time after one that was not answered.
const MIN_PAUSE_MS = 100;
const READ_RETRY_MS = 100;
// So long, those whose leases were over, all at once perhaps, leave each other what they own.
const RETURN_MS = LEASE_MS;
// A homeserver's answer is waited for before a shard moves, lest the next owner ask the same again.
const MAX_BUSY_MS = 1000;
const BUSY_POLL_MS = 20;
// As long as the manager remembers leaves.
const EVENTS_TTL_MS = 5 * 60_000;

/** Keeps shards. */
export class RedisShards {
  readonly #deps: RedisShardsDeps;
  readonly #lease: Lease;
  readonly #owned = new Map<number, Shard>();
  readonly #toScan = new Set<number>();
  readonly #stopping = new AbortController();
  #share = 0;
  #session = "";
  #hasBeenUp = false;
  /** When the lease was last over. */
  #lapsedAt = -Infinity;
  #mustRecover = false;
  #mustFlush = false;
  #beating: Promise<void> | null = null;
  #working: Promise<void> | null = null;
  #scanning: Promise<void> | null = null;
  #reading: Promise<void> | undefined;
  #cancelTimer: (() => void) | undefined;
  #onFirstRound: (() => void) | undefined;
  /** Resolves once Redis was asked for everything there is to do, for the first time. */
  readonly firstRound: Promise<void>;

  constructor(deps: RedisShardsDeps) {
    this.#deps = deps;
    this.#lease = new Lease(deps.clock);
    this.firstRound = new Promise((resolve) => this.#onFirstRound = resolve);
  }

  start(): void {
    this.#deps.redis.start(() => {
      // Redis may be another one than before, or without its data.
      this.#mustRecover ||= this.#hasBeenUp;
      void this.beat();
    });
    this.#beatIn(HEARTBEAT_MS);
    this.#reading = this.#read();
  }

  /** Ends the heartbeat, and waits for what is under way. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#cancelTimer?.();
    await this.#beating;
    await this.#working;
  }

  /** Resolves when nothing is read any more: after {@link stop}, and the end of the connection. */
  async ended(): Promise<void> {
    await this.#reading;
  }

  /** The fencing token of a shard; empty when it is not ours. */
  tokenOf(shard: number): string {
    return this.#owned.get(shard)?.token ?? "";
  }

  get tokens(): (readonly [shard: number, token: string])[] {
    return [...this.#owned.values()].map(({ number, token }) => [number, token] as const);
  }

  /** For how many ms from now a room's events and calls are ours for sure. */
  heldMs(room: RoomAlias): number {
    const shard = this.#owned.get(shardOf(room));
    return shard === undefined || shard.isReleasing ? 0 : this.#lease.heldMs();
  }

  /** For how many ms from now work can go on without Redis; 0 = Redis may well be there for others. */
  awayMs(): number {
    return this.#lease.awayMs();
  }

  owns(room: RoomAlias): boolean {
    return this.#owned.has(shardOf(room));
  }

  /** Whether a room is ours and stays so, as far as is known. */
  keeps(room: RoomAlias): boolean {
    return this.#owned.get(shardOf(room))?.isReleasing === false;
  }

  /** Whether a room's jobs are all known here. */
  isLoaded(room: RoomAlias): boolean {
    return typeof this.#owned.get(shardOf(room))?.position === "string";
  }

  /** Remembers a job as Redis has it, or is about to; false when its shard is not ours. */
  hold(job: StoredJob): boolean {
    return this.#owned.get(shardOf(job.room))?.jobs.set(fieldOf(job), job) !== undefined;
  }

  /** The job of ours that stands in the place of another. */
  holding(job: StoredJob): StoredJob | undefined {
    return this.#owned.get(shardOf(job.room))?.jobs.get(fieldOf(job));
  }

  /** Forgets a job that is over. */
  letGo(room: RoomAlias, field: string, delayId: string): void {
    const jobs = this.#owned.get(shardOf(room))?.jobs;
    if (jobs?.get(field)?.delayId === delayId) jobs.delete(field);
  }

  /**
   * Makes the stored jobs of our shards known, but for those that are known better here.
   *
   * @param isScanned The texts may be older than what is known.
   * @returns How many could not be read.
   */
  adopt(stored: readonly StoredTexts[], isScanned: boolean): number {
    const { changes, listener, isAhead, clock } = this.#deps;
    const now = clock.now();
    const adopted: StoredJob[] = [];
    let dropped = 0;
    for (const texts of stored) {
      const job = decodeJob(texts, now);
      if (job === null) {
        dropped++;
        changes.drop(texts);
        continue;
      }
      const shard = this.#owned.get(shardOf(job.room));
      if (shard === undefined || isAhead(texts.field) || changes.removes(texts.field, job.delayId)) continue;
      const known = shard.jobs.get(texts.field);
      if (known?.delayId === job.delayId) continue;
      // 0.6.0 does not write when an event was delegated: 0.
      const isOlder = known !== undefined && job.delegatedAt > 0 && job.delegatedAt < known.delegatedAt;
      if (isScanned && isOlder) continue;
      shard.jobs.set(texts.field, job);
      adopted.push(job);
    }
    if (adopted.length > 0) listener.adopt(adopted);
    return dropped;
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

  async #beat(): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    this.#cancelTimer?.();
    const { commands, redis, listener, clock } = this.#deps;
    const sentAt = this.#lease.moment();
    let pauseMs = HEARTBEAT_MS;
    try {
      const isFull = listener.isFull();
      const isSettled = sentAt.monotonic - this.#lapsedAt >= RETURN_MS;
      const claims = isFull || !isSettled ? "none" : this.#hasBeenUp ? "unless lapsed" : "free";
      const held = this.#owned.values().filter(({ isReleasing }) => !isReleasing).map(({ number }) => number);
      const reply = await commands.beat({ leaseMs: LEASE_MS, isFull, claims, held });
      this.#learn(reply);
      this.#lease.renewed(sentAt);
      redis.up(reply.replicas);
      this.#mustFlush = true;
      // The shards of whoever does not renew the lease can be claimed then.
      pauseMs = Math.min(HEARTBEAT_MS, reply.nextEndMs + 1);
      this.#work();
    } catch (error) {
      this.#lease.failed();
      this.failed(error);
    }
    this.#beatIn(Math.max(pauseMs - (clock.monotonicNow() - sentAt.monotonic), MIN_PAUSE_MS));
  }

  #beatIn(delayMs: number): void {
    if (this.#stopping.signal.aborted) return;
    this.#cancelTimer = this.#deps.clock.setTimer(() => void this.beat(), delayMs);
  }

  #learn({ session, share, tokens }: BeatReply): void {
    if (session !== this.#session && this.#hasBeenUp) {
      this.#mustRecover = true;
      this.#lapsedAt = this.#deps.clock.monotonicNow();
    }
    this.#session = session;
    this.#share = share;
    for (const shard of [...this.#owned.values()]) if (!tokens.has(shard.number)) this.#lose(shard);
    for (const [number, token] of tokens) {
      const known = this.#owned.get(number);
      if (known?.token === token) continue;
      // It may have been another's, or Redis may have lost it.
      if (known !== undefined) this.#mustRecover = true;
      const jobs = known?.jobs ?? new Map<string, StoredJob>();
      this.#owned.set(number, { number, token, jobs, position: null, taken: [], isReleasing: false });
      this.#toScan.add(number);
    }
  }

  /** A shard has become another's while this replica was out of touch: the new owner may not know all its jobs. */
  #lose({ number, jobs }: Shard): void {
    const { changes, listener, handOver } = this.#deps;
    this.#owned.delete(number);
    this.#toScan.delete(number);
    for (const room of roomsOf(jobs)) listener.release(room);
    for (const [field, job] of jobs) {
      const isChanged = changes.has(field);
      changes.forget(field);
      handOver(job, isChanged);
    }
  }

  #work(): void {
    this.#working ??= this.#doAll()
      .catch((error: unknown) => this.failed(error))
      .finally(() => this.#working = null);
  }

  async #doAll(): Promise<void> {
    while (this.#deps.redis.isUp && !this.#stopping.signal.aborted && await this.#doNext());
    if (!this.#deps.redis.isUp) return;
    this.#hasBeenUp = true;
    this.#onFirstRound?.();
  }

  /** @returns Whether there was anything to do. */
  async #doNext(): Promise<boolean> {
    if (this.#mustRecover) {
      // Redis may be lost again meanwhile.
      this.#mustRecover = false;
      this.#recover();
    } else if (this.#toScan.size > 0 && !this.#deps.listener.isFull()) {
      this.#scanning = this.#scan().finally(() => this.#scanning = null);
      await this.#scanning;
    } else if (this.#mustFlush) {
      this.#mustFlush = false;
      await this.#deps.flush();
    } else if (this.#owned.size > this.#share) {
      await this.#releaseSurplus();
    } else {
      return false;
    }
    return true;
  }

  /** Has all jobs written anew, since Redis may have lost what it had, and looked for that others wrote meanwhile. */
  #recover(): void {
    for (const { number, jobs } of this.#owned.values()) {
      for (const [field, job] of jobs) if (!this.#deps.changes.has(field)) this.#deps.changes.put(job);
      this.#toScan.add(number);
    }
    this.#deps.onRecover();
    if (this.#hasBeenUp) this.#deps.listener.gap();
  }

  /** Goes through the hash once for all shards that are to be scanned. */
  async #scan(): Promise<void> {
    const { commands, listener, log } = this.#deps;
    const shards = [...this.#toScan].flatMap((number) => this.#owned.get(number) ?? []);
    this.#toScan.clear();
    const count = () => shards.reduce((sum, { jobs }) => sum + jobs.size, 0);
    const [isTakeOver, before] = [shards.some(({ position }) => position === null), count()];
    let dropped = 0;
    let isDone = false;
    try {
      for await (const { jobs, tooLong } of commands.scan(new Set(shards.map(({ number }) => number)))) {
        dropped += tooLong + this.adopt(jobs, true);
        if (listener.isFull() || this.#stopping.signal.aborted) break;
      }
      isDone = !listener.isFull();
    } finally {
      // From the beginning, when Redis is there again and the jobs fit.
      for (const shard of shards) {
        if (isDone) shard.position ??= "0";
        else this.#toScan.add(shard.number);
      }
    }
    if (dropped > 0) log.warning("Dropped delayed leave events that cannot be read", { dropped });
    const events = count() - before;
    if (isTakeOver && events > 0) log.info("Took delayed leave events over", { shards: shards.length, events });
  }

  /** Gives what is more than our share to the others, without anything under way. */
  async #releaseSurplus(): Promise<void> {
    const { commands, listener, changes, clock } = this.#deps;
    const surplus = [...this.#owned.values()].slice(this.#share);
    for (const shard of surplus) shard.isReleasing = true;
    const rooms = surplus.flatMap(({ jobs }) => [...roomsOf(jobs)]);
    const giveUpAt = clock.monotonicNow() + MAX_BUSY_MS;
    while (rooms.some((room) => listener.isBusy(room)) && clock.monotonicNow() < giveUpAt) {
      await clock.sleep(BUSY_POLL_MS, this.#stopping.signal).catch(() => {});
      if (this.#stopping.signal.aborted) return;
    }
    for (const room of rooms) listener.release(room);
    try {
      await changes.flush();
      await commands.release(surplus.map(({ number, token }) => [number, token]), false);
    } catch (error) {
      // They are ours until somebody says otherwise.
      for (const shard of surplus) {
        shard.isReleasing = false;
        if (this.#owned.get(shard.number) === shard) listener.adopt([...shard.jobs.values()]);
      }
      throw error;
    }
    for (const shard of surplus) {
      if (this.#owned.get(shard.number) === shard) this.#owned.delete(shard.number);
      // What came meanwhile is the next owner's as well.
      for (const room of roomsOf(shard.jobs)) listener.release(room);
    }
  }

  /**
   * Takes in what is passed on to us next, or a second later nothing.
   *
   * @param ownership The last entry of the stream by which replicas hear of each other.
   * @returns Where to go on.
   * @throws RedisError
   */
  async takeNext(ownership: string): Promise<string> {
    const shards = [...this.#owned.values()].filter(({ position, isReleasing }) => position !== null && !isReleasing);
    const positions = new Map(shards.map(({ number, position }) => [number, position ?? "0"]));
    const arrivals = await this.#deps.commands.next({ shards: positions, ownership });
    for (const [number, entries] of arrivals.shards) {
      const shard = shards.find((shard) => shard.number === number);
      if (shard !== undefined) await this.#take(shard, entries);
    }
    await this.#trim(shards);
    if (arrivals.ownership === null) return ownership;
    if (arrivals.mustScan) { for (const number of this.#owned.keys()) this.#toScan.add(number); }
    // One that is under way may have been answered before.
    await this.#beating;
    await this.beat();
    // What is ours now is read from then on.
    await this.#scanning;
    return arrivals.ownership;
  }

  /** Waits until all is done that a heartbeat told to do. */
  async idle(): Promise<void> {
    await this.#working;
  }

  async #read(): Promise<void> {
    let ownership = "0";
    while (!this.#stopping.signal.aborted) {
      try {
        ownership = await this.takeNext(ownership);
      } catch {
        await this.#deps.clock.sleep(READ_RETRY_MS, this.#stopping.signal).catch(() => {});
      }
    }
  }

  async #take(shard: Shard, entries: Entries): Promise<void> {
    const fields = entries.flatMap(([, entry]) => entry.type === "job" ? [entry.field] : []);
    const jobs = fields.length === 0 ? null : await this.#deps.commands.read(fields);
    for (const [id, entry] of entries) {
      if (this.#owned.get(shard.number) !== shard || shard.isReleasing || this.#stopping.signal.aborted) return;
      shard.position = id;
      shard.taken.push(id);
      this.#takeIn(entry, jobs);
    }
  }

  #takeIn(entry: Entry, jobs: ReadonlyMap<string, StoredTexts> | null): void {
    if (entry.type === "event") {
      const { createdAt = Infinity } = entry.event;
      if (createdAt > this.#deps.clock.now() - EVENTS_TTL_MS) this.#deps.listener.deliver(entry.event);
    } else if (entry.type === "job") {
      const job = jobs?.get(entry.field);
      if (job !== undefined) this.adopt([job], false);
    }
  }

  async #trim(shards: readonly Shard[]): Promise<void> {
    const trimmed = shards.filter(({ taken }) => taken.length > 0);
    if (trimmed.length === 0) return;
    const wereFull = await this.#deps.commands.trim(
      trimmed.map(({ number, token, taken }) => ({ shard: number, token, ids: [...taken] })),
    );
    for (const [i, shard] of trimmed.entries()) {
      shard.taken = [];
      if (wereFull[i] !== true) continue;
      // Word of a job may be among what is lost, or of who came and went.
      this.#toScan.add(shard.number);
      this.#deps.listener.gap();
      this.#work();
    }
  }
}

function roomsOf(jobs: ReadonlyMap<string, StoredJob>): Set<RoomAlias> {
  return new Set(jobs.values().map(({ room }) => room));
}
