// Runs the delegated leaves: feeds the pure machine with what happens, and does what it asks for. Each job lives here in
// memory while this process works on it; the store is the truth.

import type { Identity, RoomAlias } from "../livekit/identity.ts";
import type { RoomService } from "../livekit/room_service.ts";
import type { SfuEvent } from "../livekit/sfu_event.ts";
import type { ServerName } from "../matrix/server_name.ts";
import { LeaveCalls, type LeaveCallsDeps } from "./calls/calls.ts";
import { type CallAnswers, LeaveCall } from "./calls/leave_call.ts";
import { type Effect, type JobEvent, type Running, type Step } from "./machine/events.ts";
import { type Delegation, describeJob, type Job, type JobEnd, keyText, NO_FAILURES } from "./machine/job.ts";
import { type CheckEvent, PresenceChecks } from "./presence/checks.ts";
import { adopt, begin, beginAfterLeave, replace, resume, step } from "./machine/machine.ts";
import { RecentLeaves } from "./presence/recent_leaves.ts";
import { type ActiveJob, JobIndex, type LeaveCounts } from "./job_index.ts";
import { SHORT_WAIT_MS, wakeAt } from "./machine/schedule.ts";
import { isWorthStoring, type LeaveStore, type ParticipantEvent, shiftTimes, type StoredJob } from "./store/store.ts";
import { isPastGivingUp } from "./store/stored_job.ts";
import { type Listing, RoomPoll } from "./presence/room_poll.ts";
import { WakeTimers } from "./wake_timers.ts";

export type { LeaveCounts } from "./job_index.ts";

/** What the manager needs from outside. */
export interface LeaveManagerDeps extends LeaveCallsDeps {
  readonly store: LeaveStore;
  readonly sfu: Pick<RoomService, "getParticipant" | "listParticipants">;
  readonly now: () => number;
  /** How often rooms are listed; 0 = never, as long as webhooks arrive. */
  readonly pollIntervalMs: number;
}

// A send may have waited in its queue for an hour: a look older than this is not the latest one that could be had.
const MAX_LOOK_AGE_MS = 10_000;

/** Takes charge of delayed leave events. */
export class LeaveManager {
  readonly #deps: LeaveManagerDeps;
  readonly #index = new JobIndex();
  readonly #recentLeaves: RecentLeaves;
  readonly #timers: WakeTimers;
  readonly #checks: PresenceChecks;
  readonly #calls: LeaveCalls;
  readonly #poll: RoomPoll;
  /** The last event of each participant that is being stored. */
  readonly #handedIn = new Map<string, Delegation>();
  readonly #answers: CallAnswers = {
    confirm: (call) => this.#confirm(call),
    done: (entry, event) => this.#on(entry, event),
  };
  #isClosed = false;

  constructor(deps: LeaveManagerDeps) {
    this.#deps = deps;
    this.#recentLeaves = new RecentLeaves(deps.monotonicNow);
    this.#timers = new WakeTimers({ ...deps, onDue: (key) => this.#on(this.#index.get(key), { type: "due" }) });
    this.#checks = new PresenceChecks({ ...deps, isOver: (...session) => this.#recentLeaves.isOver(...session) });
    this.#calls = new LeaveCalls(deps);
    this.#poll = new RoomPoll({
      ...deps,
      intervalMs: deps.pollIntervalMs,
      rooms: () => this.#index.connectedRooms(),
      onListed: (room, present, askedAt) => this.#onListed(room, present, askedAt, "connected"),
      onGap: () => this.#resumeAll("time"),
    });
  }

  /** Opens the store and goes on with what is in it. */
  async start(): Promise<void> {
    await this.#deps.store.open({
      adopt: (jobs) => this.#adoptAll(jobs),
      release: (room) => this.#index.inRoom(room).forEach((entry) => this.#drop(entry)),
      deliver: (event) => {
        // LiveKit may be pointed at another replica alone.
        this.#poll.webhookSeen();
        this.#deliver(this.#recentLeaves.learn(event));
      },
      gap: () => this.#resumeAll("events"),
    });
    this.#poll.start();
  }

  get counts(): LeaveCounts {
    return this.#index.counts;
  }

  /** Jobs of a homeserver that this process works on. */
  countOf(homeserver: ServerName): number {
    return this.#index.countOf(homeserver);
  }

  /** Jobs that this process works on. */
  get size(): number {
    return this.#index.size;
  }

  /** Those of the user whose job this is, or would be. */
  countOfSameUser(delegation: Delegation): number {
    return this.#index.countOfSameUser(delegation);
  }

  /** Whether there is a job that this one would replace. */
  replaces(delegation: Delegation): boolean {
    return this.#index.of(delegation) !== undefined || this.#index.ofEvent(delegation) !== undefined;
  }

  /** Takes charge of an event; resolves once that outlives the process, as far as the store can do that. */
  async accept(delegation: Delegation): Promise<void> {
    if (this.#isAtWorkOn(delegation)) return;
    const acceptedAt = this.#deps.monotonicNow();
    const { job } = this.#beginning(delegation, acceptedAt);
    const key = keyText(delegation);
    this.#handedIn.set(key, delegation);
    const saved = await this.#deps.store.accept(this.#toStored(job));
    // A newer event of the same participant takes the place, whichever of the two is stored first.
    const isLast = this.#handedIn.get(key) === delegation;
    if (isLast) this.#handedIn.delete(key);
    if (!saved.isDurable) this.#warnNotDurable();
    this.#deps.log.info("Took charge of a delayed leave event", describeJob(job));
    this.#poll.webhookExpected();
    if (!isLast || saved.owner === "elsewhere" || this.#isClosed || this.#isAtWorkOn(delegation)) return;
    // The participant may have come or gone while the job was being stored.
    const first = this.#beginning(delegation, acceptedAt);
    this.#apply(this.#insert(first.job, job), first);
  }

  /** Takes in what the SFU told. */
  async receive(event: SfuEvent): Promise<void> {
    this.#poll.webhookSeen();
    if (event.type === "other") return;
    // Whoever was in it has left: LiveKit may have dropped the webhooks about that.
    if (event.type === "room-finished") return this.#checkAt(event.room);
    // Also where another replica works on the room: the client's job may still come here.
    const learnt = this.#recentLeaves.learn(event);
    if (await this.#deps.store.route(event) === "here") this.#deliver(learnt);
  }

  /** Takes note that events were lost: everybody is looked up. */
  eventsLost(): void {
    this.#resumeAll("events");
  }

  /** Ends all work; what is being asked is finished and noted, and jobs stay stored. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#poll.close();
    this.#timers.close();
    await this.#calls.close();
    await this.#deps.store.close();
  }

  #isAtWorkOn({ homeserver, delayId, delayMs, room, identity }: Delegation): boolean {
    const job = this.#index.of({ room, identity })?.job;
    return job?.homeserver === homeserver && job.delayId === delayId && job.delayMs === delayMs;
  }

  #beginning(delegation: Delegation, now: number): Running {
    const hasLeft = this.#recentLeaves.has(delegation.room, delegation.watched);
    const old = this.#index.predecessorOf(delegation);
    return old === undefined ? begin(delegation, now, hasLeft) : replace(old, delegation, now, hasLeft);
  }

  #deliver(event: ParticipantEvent): void {
    const identity = event.identity as Identity;
    for (const entry of [...this.#index.watching(event.room, identity)]) {
      entry.isCheckStale = entry.isChecking;
      entry.heardAt = this.#deps.monotonicNow();
      if (!this.#isOfEarlier(entry.job, event)) this.#on(entry, event);
      else if (event.type === "joined") void this.#check(entry);
      else if (event.type === "left" && entry.job.state === "connected") {
        this.#apply(entry, beginAfterLeave(entry.job, event, this.#deps.monotonicNow()));
      } else this.#on(entry, { ...event, type: "aborted", reason: "" });
    }
  }

  /** Whether an event was told before the client handed the job's event over: it is about the session before. */
  #isOfEarlier({ state, timerStartedAt, delegatedAt }: Job, { createdAt = Infinity }: ParticipantEvent): boolean {
    if (state === "leaving") return false;
    const begunAt = state === "waiting" ? timerStartedAt : delegatedAt;
    return createdAt < begunAt + this.#deps.now() - this.#deps.monotonicNow();
  }

  #on(entry: ActiveJob | undefined, event: JobEvent): void {
    if (entry === undefined || entry.isEnded) return;
    // Nothing more is asked for, but what was asked has happened: the next process must not ask again.
    if (this.#isClosed && event.type !== "answered") return;
    this.#apply(entry, step(entry.job, event, this.#deps.monotonicNow(), this.#deps.random));
  }

  #apply(entry: ActiveJob, result: Step): void {
    if ("end" in result) return this.#end(entry, result.end);
    const { job, effects } = result;
    if (isWorthStoring(entry.job, job)) this.#deps.store.update(this.#toStored(job));
    entry.job = job;
    if (this.#isClosed) return;
    // A queued call of a state that is over is not wanted any more.
    if (job.state !== (entry.call?.action === "send" ? "leaving" : "connected")) entry.call = null;
    this.#timers.set(entry.key, wakeAt(job));
    for (const effect of effects) this.#perform(entry, effect);
  }

  #perform(entry: ActiveJob, effect: Effect): void {
    if (effect === "check") void this.#check(entry);
    else this.#call(entry, effect);
  }

  /** PresenceChecks, and looks again when something happened meanwhile. */
  async #check(entry: ActiveJob): Promise<void> {
    if (entry.isChecking) {
      entry.isCheckStale = true;
      return;
    }
    entry.isChecking = true;
    let event: CheckEvent;
    let seen: CheckEvent | null = null;
    do {
      entry.isCheckStale = false;
      event = await this.#checks.participant(entry.job);
      if (event.type === "present") seen = event;
    } while (entry.isCheckStale && !entry.isEnded && !this.#isClosed);
    entry.isChecking = false;
    this.#heard(entry);
    // An old answer is better than none: whoever was there in a session that has not ended is there.
    if (event.type === "unknown" && seen !== null) event = this.#checks.withoutEnded(entry.job, seen);
    this.#on(entry, event);
  }

  #heard(entry: ActiveJob): void {
    entry.checkedAt = this.#deps.monotonicNow();
    entry.heardAt = entry.checkedAt;
  }

  #call(entry: ActiveJob, action: "restart" | "send"): void {
    if (entry.call?.action === action) return;
    const call = new LeaveCall(entry, action, this.#answers);
    entry.call = call;
    this.#calls.add(call);
  }

  /** Whether an event is still to be sent: looks once more if the last look is old. */
  async #confirm(call: LeaveCall): Promise<boolean> {
    const { entry } = call;
    if (this.#deps.monotonicNow() - entry.checkedAt <= MAX_LOOK_AGE_MS) return true;
    const event = await this.#checks.participant(entry.job);
    this.#heard(entry);
    if (event.type === "present") this.#on(entry, event);
    return call.isWanted() && (event.type === "absent" || event.type === "unknown" && entry.job.hint === "left");
  }

  #end(entry: ActiveJob, end: JobEnd): void {
    this.#drop(entry);
    this.#deps.store.remove(entry.job, entry.job.delayId);
    const fields = { end, ...describeJob(entry.job) };
    if (end === "expired") this.#deps.log.error("Gave up a delayed leave event: its fate is unknown", fields);
    else this.#deps.log.info("A delayed leave event is settled", fields);
  }

  /** @param stored The job as the store has it. */
  #insert(job: Job, stored: StoredJob): ActiveJob {
    const old = this.#index.of(job);
    if (old !== undefined) this.#drop(old);
    const twin = this.#index.ofEvent(job);
    if (twin !== undefined) {
      this.#drop(twin);
      this.#deps.store.remove(twin.job, twin.job.delayId);
    }
    if (isWorthStoring(stored, job)) this.#deps.store.update(this.#toStored(job));
    return this.#index.add(job);
  }

  #drop(entry: ActiveJob): void {
    if (entry.isEnded) return;
    entry.isEnded = true;
    this.#timers.delete(entry.key);
    this.#index.remove(entry);
  }

  #adoptAll(jobs: readonly StoredJob[]): void {
    let over = 0;
    for (const job of jobs) {
      // One that is handed over anew, here or at another replica, is the client's word against the clocks'.
      const isNews = () => this.#handedIn.has(keyText(job)) || this.#index.of(job) !== undefined;
      if (isPastGivingUp(job, this.#deps.now()) && !isNews()) {
        this.#deps.store.remove(job, job.delayId);
        over++;
      } else this.#adopt(job);
    }
    if (over === 0) return;
    this.#deps.log.info("Dropped delayed leave events that were due over an hour ago", { dropped: over });
  }

  #adopt(stored: StoredJob): void {
    if (this.#index.of(stored)?.job.delayId === stored.delayId || this.#isClosed) return;
    const now = this.#deps.monotonicNow();
    const job: Job = {
      ...shiftTimes(stored, now - this.#deps.now()),
      failures: NO_FAILURES,
      checkAt: Infinity,
      callAt: Infinity,
    };
    // Handed in at another replica, which knows nothing of the session that goes on here, unless Redis was away meanwhile.
    const hasLeft = job.state === "waiting" && this.#recentLeaves.has(job.room, job.watched);
    const old = this.#index.predecessorOf(job);
    const result = old !== undefined && job.state === "waiting"
      ? replace(old, job, now, hasLeft)
      : adopt(hasLeft ? { ...job, waitUntil: Math.min(job.waitUntil, now + SHORT_WAIT_MS) } : job, now);
    this.#resume(this.#insert(result.job, job), result);
  }

  #resumeAll(lost: "events" | "time"): void {
    for (const entry of this.#index.all()) this.#resume(entry, resume(entry.job, lost, this.#deps.monotonicNow()));
  }

  // After a gap many jobs want a look at once: their rooms are listed, each one once.
  #resume(entry: ActiveJob, result: Step): void {
    if ("end" in result) return this.#end(entry, result.end);
    this.#apply(entry, { job: result.job, effects: result.effects.filter((effect) => effect !== "check") });
    if (result.effects.includes("check")) this.#checkAt(entry.job.room);
  }

  #checkAt(room: RoomAlias): void {
    if (this.#index.inRoom(room).length === 0) return;
    this.#checks.roomSoon(room, (...listing) => this.#onListed(...listing, "all"));
  }

  #onListed(room: RoomAlias, present: Listing | null, askedAt: number, which: "connected" | "all"): void {
    for (const entry of this.#index.inRoom(room)) {
      // A look under way, or what was heard since the list was asked for, knows better.
      if (entry.isChecking || entry.heardAt > askedAt) continue;
      if (which === "connected" && entry.job.state !== "connected") continue;
      const event = this.#checks.read(entry.job, present);
      if (event.type !== "unknown") this.#heard(entry);
      this.#on(entry, event);
    }
  }

  #warnNotDurable(): void {
    const { store, log } = this.#deps;
    if (store.description === "memory") return;
    const fields = { store: store.description, throttle: true } as const;
    log.error("A delayed leave event is held in memory only, since the store cannot be written", fields);
  }

  #toStored(job: Job): StoredJob {
    return shiftTimes(job, this.#deps.now() - this.#deps.monotonicNow());
  }
}
