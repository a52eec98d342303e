// Runs the delegated leaves: feeds the pure machine with what happens, and does what it asks for. Each job lives here in
// memory while this process works on it; the store is the truth.

import type { Identity, RoomAlias } from "../livekit/identity.ts";
import type { RoomService } from "../livekit/room_service.ts";
import type { SfuEvent } from "../livekit/webhook.ts";
import type { ServerName } from "../matrix/server_name.ts";
import { Rarely } from "../ops/rarely.ts";
import { Calls, type CallsDeps } from "./calls.ts";
import { type Delegation, describeJob, type Job, type JobEnd, keyText } from "./job.ts";
import { Looks, readList } from "./looks.ts";
import { begin, type Effect, type JobEvent, replace, resume, type Step, step, wakeAt } from "./machine.ts";
import { RecentLeaves } from "./recent_leaves.ts";
import { isWorthStoring, type LeaveStore, type ParticipantEvent, shiftTimes, type StoredJob } from "./store.ts";
import { Sweep } from "./sweep.ts";
import { Timers } from "./timers.ts";

/** What the manager needs from outside. */
export interface LeaveManagerDeps extends CallsDeps {
  readonly store: LeaveStore;
  readonly sfu: Pick<RoomService, "getParticipant" | "listParticipants">;
  readonly now: () => number;
  /** How often rooms are listed; 0 = never, as long as webhooks arrive. */
  readonly sweepIntervalMs: number;
}

/** Jobs by state, for logs and metrics. */
export type LeaveCounts = { readonly [State in Job["state"]]: number };

interface Entry {
  job: Job;
  isLooking: boolean;
  /** Something happened during a look: its answer is already old. */
  isLookStale: boolean;
  /** The call that is wanted; one that waits in the queue and is not this very one is dropped. */
  call: { readonly action: "restart" | "send" } | null;
  isEnded: boolean;
}

/** Takes charge of delayed leave events. */
export class LeaveManager {
  readonly #deps: LeaveManagerDeps;
  readonly #entries = new Map<string, Entry>();
  readonly #rooms = new Map<RoomAlias, Set<Entry>>();
  readonly #byDelayId = new Map<string, Entry>();
  readonly #perHomeserver = new Map<ServerName, number>();
  readonly #recentLeaves: RecentLeaves;
  readonly #timers: Timers;
  readonly #looks: Looks;
  readonly #calls: Calls;
  readonly #sweep: Sweep;
  readonly #rarely: Rarely;
  readonly #roomsToList = new Set<RoomAlias>();
  #isClosed = false;

  constructor(deps: LeaveManagerDeps) {
    this.#deps = deps;
    this.#rarely = new Rarely(deps.monotonicNow);
    this.#recentLeaves = new RecentLeaves(deps.monotonicNow);
    this.#timers = new Timers({ ...deps, onDue: (key) => this.#on(this.#entries.get(key), { type: "due" }) });
    this.#looks = new Looks(deps);
    this.#calls = new Calls(deps);
    this.#sweep = new Sweep({
      ...deps,
      intervalMs: deps.sweepIntervalMs,
      rooms: () => this.#connectedRooms(),
      onListed: (room, present) => this.#onListed(room, present, "connected"),
      onGap: () => this.#resumeAll(),
    });
  }

  /** Opens the store and goes on with what is in it. */
  async start(): Promise<void> {
    await this.#deps.store.open({
      adopt: (jobs) => jobs.forEach((job) => this.#adopt(job)),
      release: (room) => this.#release(room),
      deliver: (event) => this.#deliver(event),
      gap: () => this.#resumeAll(),
    });
    this.#sweep.start();
  }

  get counts(): LeaveCounts {
    const counts = { waiting: 0, connected: 0, leaving: 0 };
    for (const { job } of this.#entries.values()) counts[job.state]++;
    return counts;
  }

  /** Jobs of a homeserver that this process works on. */
  countOf(homeserver: ServerName): number {
    return this.#perHomeserver.get(homeserver) ?? 0;
  }

  /** Takes charge of an event; resolves once that outlives the process, as far as the store can do that. */
  async accept(delegation: Delegation): Promise<void> {
    const existing = this.#entries.get(keyText(delegation))?.job;
    if (existing?.delayId === delegation.delayId && existing.homeserver === delegation.homeserver) return;
    const now = this.#deps.monotonicNow();
    const hasLeft = this.#recentLeaves.has(delegation.room, delegation.watched);
    const first = existing === undefined ? begin(delegation, now, hasLeft) : replace(existing, delegation, now);

    const saved = await this.#deps.store.accept(this.#toStored(first.job));
    if (!saved.isDurable) this.#warnNotDurable();
    this.#deps.log.info("Took charge of a delayed leave event", describeJob(first.job));
    if (saved.owner === "here") this.#apply(this.#insert(first.job), first);
  }

  /** Takes in what the SFU told. */
  async receive(event: SfuEvent): Promise<void> {
    this.#sweep.webhookSeen();
    if (event.type === "other" || event.type === "room-finished") return;
    if (await this.#deps.store.route(event) === "here") this.#deliver(event);
  }

  /** Ends all work; jobs stay stored. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#sweep.close();
    this.#timers.close();
    await this.#calls.close();
    await this.#deps.store.close();
  }

  #deliver(event: ParticipantEvent): void {
    const identity = event.identity as Identity;
    if (event.type === "joined") this.#recentLeaves.forget(event.room, identity);
    else this.#recentLeaves.add(event.room, identity);
    for (const entry of this.#rooms.get(event.room) ?? []) {
      if (!entry.job.watched.includes(identity)) continue;
      entry.isLookStale = entry.isLooking;
      this.#on(entry, event);
    }
  }

  #on(entry: Entry | undefined, event: JobEvent): void {
    if (entry === undefined || entry.isEnded || this.#isClosed) return;
    this.#apply(entry, step(entry.job, event, this.#deps.monotonicNow(), this.#deps.random));
  }

  #apply(entry: Entry, result: Step): void {
    if ("end" in result) return this.#end(entry, result.end);
    const { job, effects } = result;
    if (isWorthStoring(entry.job, job)) this.#deps.store.update(this.#toStored(job));
    entry.job = job;
    // A queued call of a state that is over is not wanted any more.
    if (job.state !== (entry.call?.action === "send" ? "leaving" : "connected")) entry.call = null;
    this.#timers.set(keyText(job), wakeAt(job));
    for (const effect of effects) this.#perform(entry, effect);
  }

  #perform(entry: Entry, effect: Effect): void {
    if (this.#isClosed) return;
    if (effect === "look") void this.#look(entry);
    else this.#call(entry, effect);
  }

  async #look(entry: Entry): Promise<void> {
    if (entry.isLooking) {
      entry.isLookStale = true;
      return;
    }
    entry.isLooking = true;
    const event = await this.#looks.participant(entry.job);
    entry.isLooking = false;
    const isStale = entry.isLookStale;
    entry.isLookStale = false;
    if (!isStale) this.#on(entry, event);
    else if (!entry.isEnded && !this.#isClosed) await this.#look(entry);
  }

  #call(entry: Entry, action: "restart" | "send"): void {
    if (entry.call?.action === action) return;
    const call = { action };
    entry.call = call;
    this.#calls.add({
      job: entry.job,
      action,
      isWanted: () => !entry.isEnded && entry.call === call,
      done: (outcome) => {
        if (entry.call === call) entry.call = null;
        this.#on(entry, { type: "answered", action, outcome });
      },
    });
  }

  #end(entry: Entry, end: JobEnd): void {
    this.#drop(entry);
    this.#deps.store.remove(entry.job, entry.job.delayId);
    const fields = { end, ...describeJob(entry.job) };
    if (end === "expired") this.#deps.log.error("Gave up a delayed leave event: its fate is unknown", fields);
    else this.#deps.log.info("A delayed leave event is settled", fields);
  }

  #insert(job: Job): Entry {
    const old = this.#entries.get(keyText(job));
    if (old !== undefined) this.#drop(old);
    // The client may hand the same event over under another identity: one job for it is enough.
    const sameEvent = this.#byDelayId.get(eventKey(job));
    if (sameEvent !== undefined) {
      this.#drop(sameEvent);
      this.#deps.store.remove(sameEvent.job, sameEvent.job.delayId);
    }
    const entry: Entry = { job, isLooking: false, isLookStale: false, call: null, isEnded: false };
    this.#entries.set(keyText(job), entry);
    this.#byDelayId.set(eventKey(job), entry);
    this.#count(job.homeserver, 1);
    const room = this.#rooms.get(job.room);
    if (room === undefined) this.#rooms.set(job.room, new Set([entry]));
    else room.add(entry);
    return entry;
  }

  #drop(entry: Entry): void {
    if (entry.isEnded) return;
    const { job } = entry;
    entry.isEnded = true;
    this.#count(job.homeserver, -1);
    this.#timers.delete(keyText(job));
    this.#entries.delete(keyText(job));
    this.#byDelayId.delete(eventKey(job));
    const room = this.#rooms.get(job.room);
    room?.delete(entry);
    if (room?.size === 0) this.#rooms.delete(job.room);
  }

  #count(homeserver: ServerName, change: 1 | -1): void {
    const count = this.countOf(homeserver) + change;
    if (count > 0) this.#perHomeserver.set(homeserver, count);
    else this.#perHomeserver.delete(homeserver);
  }

  #adopt(stored: StoredJob): void {
    if (this.#entries.get(keyText(stored))?.job.delayId === stored.delayId) return;
    const job = this.#fromStored(stored);
    this.#resume(this.#insert(job));
  }

  #release(room: RoomAlias): void {
    for (const entry of [...this.#rooms.get(room) ?? []]) this.#drop(entry);
  }

  #resumeAll(): void {
    for (const entry of [...this.#entries.values()]) this.#resume(entry);
  }

  // After a gap many jobs want a look at once: their rooms are listed, each one once.
  #resume(entry: Entry): void {
    const result = resume(entry.job, this.#deps.monotonicNow());
    if ("end" in result) return this.#end(entry, result.end);
    this.#apply(entry, { job: result.job, effects: result.effects.filter((effect) => effect !== "look") });
    this.#listSoon(entry.job.room);
  }

  #listSoon(room: RoomAlias): void {
    if (this.#roomsToList.has(room)) return;
    this.#roomsToList.add(room);
    queueMicrotask(async () => {
      const present = await this.#looks.room(room);
      this.#roomsToList.delete(room);
      this.#onListed(room, present, "all");
    });
  }

  #onListed(room: RoomAlias, present: ReadonlyMap<string, string> | null, which: "connected" | "all"): void {
    for (const entry of [...this.#rooms.get(room) ?? []]) {
      // A look under way knows better than a list that was asked for earlier.
      if (entry.isLooking || which === "connected" && entry.job.state !== "connected") continue;
      this.#on(entry, readList(entry.job, present));
    }
  }

  #connectedRooms(): RoomAlias[] {
    return [...this.#rooms]
      .filter(([, entries]) => [...entries].some(({ job }) => job.state === "connected"))
      .map(([room]) => room);
  }

  #warnNotDurable(): void {
    const { store, log } = this.#deps;
    if (store.description === "memory") return;
    this.#rarely.once(
      "not durable",
      () =>
        log.error("A delayed leave event is held in memory only, since the store cannot be written", {
          store: store.description,
        }),
    );
  }

  #toStored(job: Job): StoredJob {
    return shiftTimes(job, this.#deps.now() - this.#deps.monotonicNow());
  }

  #fromStored(stored: StoredJob): Job {
    const job = shiftTimes(stored, this.#deps.monotonicNow() - this.#deps.now());
    return { ...job, failures: 0, lookAt: Infinity, actAt: Infinity };
  }
}

function eventKey({ homeserver, delayId }: Delegation): string {
  return `${homeserver} ${delayId}`;
}
