// A service in a simulated world: its manager with scripted servers around it, a store that survives its death, and
// people who come and go. Rules that must hold at all times are checked as things happen.

import assert from "node:assert/strict";
import type { Identity, RoomAlias } from "../../lib/livekit/identity.ts";
import type { Delegation } from "../../lib/leave/machine/job.ts";
import { keyText } from "../../lib/leave/machine/job.ts";
import { LeaveManager, type LeaveManagerDeps } from "../../lib/leave/manager.ts";
import { LocalTokenBuckets } from "../../lib/leave/calls/token_bucket.ts";
import type { LeaveStore, ParticipantEvent, Saved, StoredJob, StoreListener } from "../../lib/leave/store/store.ts";
import type { ServerName } from "../../lib/matrix/server_name.ts";
import { RecordingLog } from "../../testing/recording_log.ts";
import { ScriptedHomeserver, SILENT_SERVER, type SynapseLimiter } from "../../testing/scripted_homeserver.ts";
import { personOf, ScriptedSfu } from "./scripted_sfu.ts";
import { settle, VirtualTime } from "../../testing/virtual_time.ts";

/** Keeps jobs through the death of a service, as a disk would. */
export class SurvivingStore {
  readonly jobs = new Map<string, StoredJob>();
  #generation = 0;
  #listener: StoreListener | null = null;

  /** The store as one service sees it; from then on the one before it writes nothing any more. */
  open(): LeaveStore {
    const generation = ++this.#generation;
    const write = (change: () => void) => {
      if (generation === this.#generation) change();
    };
    return {
      description: "survivor",
      open: (listener) => {
        this.#listener = listener;
        listener.adopt([...this.jobs.values()]);
        return Promise.resolve();
      },
      accept: (job): Promise<Saved> => {
        write(() => this.jobs.set(keyText(job), job));
        return Promise.resolve({ owner: "here", isDurable: true });
      },
      update: (job) => write(() => this.jobs.set(keyText(job), job)),
      remove: (key, delayId) =>
        write(() => {
          if (this.jobs.get(keyText(key))?.delayId === delayId) this.jobs.delete(keyText(key));
        }),
      route: () => Promise.resolve("here"),
      leaseMs: () => Infinity,
      close: () => Promise.resolve(),
    };
  }

  /** An event was delegated at another replica, for a room of this one. */
  handIn(job: StoredJob): void {
    this.jobs.set(keyText(job), job);
    this.#listener?.adopt([job]);
  }

  /** An event comes, late, from another replica. */
  deliver(event: ParticipantEvent): void {
    this.#listener?.deliver(event);
  }

  /** The store was away for a moment. */
  gap(): void {
    this.#listener?.gap();
  }
}

/** The server whose users take part. */
export const OURS = "hs.test" as ServerName;
/** A server that takes calls and never answers. */
export const EVIL = SILENT_SERVER as ServerName;

/** How a world is made. */
export interface WorldOptions {
  readonly limiter?: SynapseLimiter;
  readonly pollIntervalMs?: number;
  readonly random?: () => number;
  /** Puts a fault between the service and the world. */
  readonly sabotage?: (deps: LeaveManagerDeps) => LeaveManagerDeps;
  /** Puts a fault between webhooks and the service. */
  readonly sabotageWebhook?: (manager: LeaveManager) => Pick<LeaveManager, "receive">;
}

/** The world. */
export class World {
  readonly time = new VirtualTime();
  readonly sfu = new ScriptedSfu(this.time);
  readonly homeserver: ScriptedHomeserver;
  readonly log = new RecordingLog();
  readonly store = new SurvivingStore();
  readonly delegations = new Map<string, Delegation>();
  /** Delay IDs that the service took charge of. */
  readonly accepted = new Set<string>();
  /** People whose clients are alive and mean to be in the call, by number. */
  readonly alive = new Set<number>();
  /** Rules that were broken. */
  readonly violations: string[] = [];
  #manager: LeaveManager;
  #isRunning = true;
  readonly #closings: Promise<void>[] = [];
  readonly #options: WorldOptions;

  private constructor(options: WorldOptions) {
    this.#options = options;
    this.homeserver = new ScriptedHomeserver(this.time, options.limiter);
    this.homeserver.onSend = (delayId) => this.#checkSend(delayId);
    this.#manager = this.#build();
  }

  /** A world with a service that has started. */
  static async create(options: WorldOptions = {}): Promise<World> {
    const world = new World(options);
    world.sfu.listener = world.#manager;
    await world.#manager.start();
    await settle();
    return world;
  }

  get manager(): LeaveManager {
    return this.#manager;
  }

  /** A client schedules its leave and hands it over. */
  async delegate(delegation: Omit<Delegation, "homeserver">, homeserver = OURS): Promise<void> {
    const full = { ...delegation, homeserver };
    this.homeserver.schedule(full.delayId, full.delayMs);
    this.delegations.set(full.delayId, full);
    this.sfu.expect(full.room, full.watched);
    if (this.#isRunning) {
      const manager = this.#manager;
      this.time.inService(() => {
        if (manager === this.#manager) void manager.accept(full).then(() => this.accepted.add(full.delayId));
      });
    }
    await settle();
  }

  /** The service dies, and comes back after a while with what its store has. */
  async restartService(downMs: number): Promise<void> {
    this.#isRunning = false;
    this.sfu.listener = null;
    // What it had asked for is still answered, to nobody.
    this.#closings.push(this.#manager.close());
    this.time.forgetService();
    this.#manager = this.#build();
    await this.time.advance(downMs);
    this.sfu.listener = this.#manager;
    await this.#manager.start();
    this.#isRunning = true;
    await settle();
  }

  /** Ends everything that could outlive a test. */
  async close(): Promise<void> {
    this.#closings.push(this.#manager.close());
    await this.time.advance(this.time.frozenMs + 10_000);
    await Promise.all(this.#closings);
  }

  /** How the jobs of an event ended, in order. */
  endsOf(delayId: string): unknown[] {
    return this.log.entries.filter(({ fields }) => fields.delay_id === delayId && "end" in fields)
      .map(({ fields }) => fields.end);
  }

  /** Fails when a rule was broken. */
  assertNoViolations(): void {
    assert.deepEqual(this.violations, []);
  }

  #build(): LeaveManager {
    const deps: LeaveManagerDeps = {
      store: this.store.open(),
      buckets: new LocalTokenBuckets(this.time.monotonicNow),
      delayedEvents: this.homeserver,
      sfu: this.sfu,
      clock: this.time,
      random: this.#options.random ?? (() => 0.5),
      log: this.log,
      pollIntervalMs: this.#options.pollIntervalMs ?? 60_000,
    };
    const manager = new LeaveManager(this.#options.sabotage?.(deps) ?? deps);
    const receiver = this.#options.sabotageWebhook?.(manager) ?? manager;
    this.sfu.deliver = (event) => {
      if (this.#isRunning) void receiver.receive(event);
    };
    return manager;
  }

  // A leave may go out only when the service has every reason to believe that nobody is there.
  #checkSend(delayId: string): void {
    const delegation = this.delegations.get(delayId);
    if (delegation === undefined) return;
    const people = delegation.watched.map((identity) => personOf(delegation.room, identity));
    const told = people.map((person) => this.sfu.told.get(person) ?? "unknown");
    const isKnownGone = told.every((outcome) => outcome === "absent");
    const isToldGone = !told.includes("present") && people.some((person) => this.sfu.toldGone.has(person));
    if (!isKnownGone && !isToldGone) this.violations.push(`${delayId}: sent though the SFU said ${told.join(", ")}`);
    const who = delayId.split("_")[1] ?? "";
    const isLast = [...this.delegations.keys()].findLast((id) => id.startsWith(`syd_${who}_`)) === delayId;
    // Who was never seen, and is away when the SFU can be asked at last, can't be told from who never came.
    if (isLast && this.alive.has(Number(who)) && people.some((person) => this.sfu.wasTold(person))) {
      this.violations.push(`${delayId}: sent though its participant never left`);
    }
  }
}

/** A participant for tests: number `n`, in room `room`. */
export function person(n: number, room: number, delayMs: number, delayId = `syd_${n}`): Omit<Delegation, "homeserver"> {
  const identity = `hash-${n}` as Identity;
  return {
    room: `room-${room}` as RoomAlias,
    identity,
    watched: [identity, `@user${n}:hs.test:DEVICE` as Identity],
    delayId,
    delayMs,
  };
}
