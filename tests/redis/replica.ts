// A replica as its store sees it: connections of its own, and a listener that keeps the jobs it was given, as the manager
// does.

import { setTimeout as sleepFor } from "node:timers/promises";
import type { Clock } from "../../lib/async/clock.ts";
import type { RoomAlias } from "../../lib/livekit/identity.ts";
import { keyText } from "../../lib/leave/machine/job.ts";
import { RedisConnection } from "../../lib/leave/store/redis/connection.ts";
import type { StoreScript } from "../../lib/leave/store/redis/scripts.ts";
import { RedisStore } from "../../lib/leave/store/redis/store.ts";
import { parseRedisUrl, type RedisTarget } from "../../lib/redis/url.ts";
import type { ParticipantEvent, Saved, StoredJob } from "../../lib/leave/store/store.ts";
import { Secret } from "../../lib/secret.ts";
import { sampleJob } from "../leave/sample_jobs.ts";
import { RecordingLog } from "../../testing/recording_log.ts";

/** What a replica is started with, where it is not the usual. */
export interface ReplicaOptions {
  readonly password?: string;
  readonly now?: () => number;
  readonly monotonicNow?: () => number;
}

/** The target of a URL that is known to be good. */
export function targetOf(url: string, password?: string): RedisTarget {
  const target = parseRedisUrl(new Secret(url), password === undefined ? null : new Secret(password));
  if ("problem" in target) throw new TypeError(`${target.problem}, expected ${target.expected}`);
  return target;
}

/** A replica. */
export class Replica implements AsyncDisposable {
  readonly log = new RecordingLog();
  readonly connection: RedisConnection;
  readonly store: RedisStore;
  /** Jobs to work on, by key. */
  readonly jobs = new Map<string, StoredJob>();
  readonly events: ParticipantEvent[] = [];
  readonly released: RoomAlias[] = [];
  /** Rooms about which a homeserver is being asked. */
  readonly busy = new Set<RoomAlias>();
  gaps = 0;
  readonly #timers = new Map<ReturnType<typeof setTimeout>, () => void>();
  /** As many jobs fit, a few more when they come together. */
  fits = Infinity;
  #isDead = false;
  #stalled: PromiseWithResolvers<void> | null = null;

  constructor(url: string, options: ReplicaOptions = {}) {
    const { now = Date.now, monotonicNow = () => performance.now() } = options;
    const target = targetOf(url, options.password);
    this.connection = new RedisConnection({ target, replica: crypto.randomUUID(), log: this.log });
    this.#hold("run");
    this.#hold("wait");
    const setTimer: Clock["setTimer"] = (run, delayMs) => this.#setTimer(run, delayMs);
    // One that is dead never wakes.
    const sleep: Clock["sleep"] = (durationMs) => new Promise((resolve) => setTimer(resolve, durationMs));
    this.store = new RedisStore({
      redis: this.connection,
      clock: { now, monotonicNow, setTimer, sleep },
      log: this.log,
    });
  }

  static async open(url: string, options: ReplicaOptions = {}): Promise<Replica> {
    const replica = new Replica(url, options);
    await replica.open();
    return replica;
  }

  open(): Promise<void> {
    return this.store.open({
      isFull: () => this.jobs.size >= this.fits,
      adopt: (jobs) => {
        for (const job of jobs) this.jobs.set(keyText(job), job);
      },
      release: (room) => {
        this.released.push(room);
        for (const job of [...this.jobs.values()]) {
          if (job.room === room) this.jobs.delete(keyText(job));
        }
      },
      deliver: (event) => void this.events.push(event),
      isBusy: (room) => this.busy.has(room),
      gap: () => void this.gaps++,
    });
  }

  /** Accepts as the manager does. */
  async accept(job: StoredJob): Promise<Saved> {
    const saved = await this.store.accept(job);
    if (saved.owner === "here") this.jobs.set(keyText(job), job);
    return saved;
  }

  /** Whether it may act on the room right now, having jobs there. */
  worksOn(room: RoomAlias): boolean {
    return [...this.jobs.values()].some((job) => job.room === room) && this.store.leaseMs(room) > 0;
  }

  /** Ends without a word, as a process that is killed: no heartbeat any more, connections cut. */
  async die(): Promise<void> {
    this.#isDead = true;
    for (const [timer] of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    await this.connection.close();
  }

  /** No timer fires any more, and nothing is asked or answered: nearly as in a process that is stopped. */
  stall(): void {
    this.#stalled = Promise.withResolvers();
    for (const [timer] of this.#timers) clearTimeout(timer);
  }

  /** All that was due meanwhile is. */
  resume(): void {
    this.#stalled?.resolve();
    this.#stalled = null;
    const due = [...this.#timers.values()];
    this.#timers.clear();
    for (const run of due) run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#stalled !== null) this.resume();
    if (this.#isDead) await this.connection.close();
    else await this.store.close();
  }

  #hold(method: "run" | "wait"): void {
    const ask = this.connection[method].bind(this.connection);
    Reflect.set(this.connection, method, async (...args: Parameters<typeof ask>) => {
      await this.#stalled?.promise;
      const answer = await Reflect.apply(ask, null, args);
      await this.#stalled?.promise;
      return answer;
    });
  }

  #setTimer(run: () => void, delayMs: number): () => void {
    if (this.#isDead) return () => {};
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, delayMs);
    this.#timers.set(timer, run);
    if (this.#stalled !== null) clearTimeout(timer);
    return () => {
      clearTimeout(timer);
      this.#timers.delete(timer);
    };
  }
}

/** Holds a script of a replica back, before it is sent or when it is answered, until the gate is opened. */
export function gate({ connection }: Replica, held: StoreScript, when: "sent" | "answered") {
  const run = connection.run.bind(connection);
  const [opened, reached] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const hold = (script: StoreScript) => {
    if (script !== held) return;
    reached.resolve();
    return opened.promise;
  };
  connection.run = async (script, ...args) => {
    if (when === "sent") await hold(script);
    const reply = await run(script, ...args);
    if (when === "answered") await hold(script);
    return reply;
  };
  return { open: () => opened.resolve(), reached: reached.promise };
}

/** Numbers of sample jobs, below 100, in whose rooms a replica may act right now. */
export function numbersOf(replica: Replica): number[] {
  return Array.from({ length: 100 }, (_, n) => n).filter((n) => replica.store.leaseMs(sampleJob(n).room) > 0);
}

/** Waits until replicas share the rooms among themselves, about equally. */
export async function shared(...replicas: readonly Replica[]): Promise<void> {
  await until(() => {
    const counts = replicas.map((replica) => numbersOf(replica).length);
    const isComplete = counts.reduce((sum, count) => sum + count, 0) === 100;
    return isComplete && Math.min(...counts) >= 100 / replicas.length / 2;
  });
}

/** The number of a sample job in a room of a replica. */
export function numberOf(replica: Replica): number {
  const [number] = numbersOf(replica);
  if (number === undefined) throw new Error("This replica owns no room");
  return number;
}

/** Waits until something holds; throws when it does not in time, which is long unless the test is about it. */
export async function until(holds: () => boolean | Promise<boolean>, withinMs = 20_000): Promise<void> {
  const giveUpAt = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > giveUpAt) throw new Error(`Did not come about within ${withinMs} ms: ${holds}`);
    await sleepFor(10);
  }
}
