// Runs the delegated leaves: feeds the pure machine with what happens, and does what it asks for. Each job lives here in
// memory while this process works on it; the store is the truth.

import type { Clock } from "../async/clock.ts";
import type { Log } from "../log/log.ts";
import type { RoomAlias } from "../livekit/identity.ts";
import type { SfuEvent } from "../livekit/sfu_event.ts";
import type { ActionOutcome, DelayedEvents } from "../matrix/delayed_events.ts";
import { LeaveCalls } from "./calls/calls.ts";
import { LeaveCall } from "./calls/leave_call.ts";
import type { TokenBuckets } from "./calls/token_bucket.ts";
import { MAX_JOB_BYTES } from "./job_bytes.ts";
import { type ActiveJob, JobIndex, type LeaveCounts } from "./job_index.ts";
import {
  type Delegation,
  describeJob,
  type Effect,
  type Job,
  type JobEnd,
  type JobEvent,
  keyText,
  type Running,
  type Step,
} from "./machine/job.ts";
import { adopt, begin, replace, resume, step } from "./machine/machine.ts";
import { absenceFor, callPause, SHORT_WAIT_MS, wakeAt } from "./machine/schedule.ts";
import { type CheckEvent, isAgeDecisive, type PresenceApi, PresenceChecks } from "./presence/checks.ts";
import { GapWatch } from "./presence/gap_watch.ts";
import { RecentLeaves } from "./presence/recent_leaves.ts";
import { RoomPoll } from "./presence/room_poll.ts";
import type { LeaveStore, ParticipantEvent, StoredJob } from "./store/store.ts";
import { isPastGivingUp, isWorthStoring, shiftTimes } from "./store/stored_job.ts";
import { WakeTimers } from "./wake_timers.ts";

/** What the manager needs from outside. */
export interface LeaveManagerDeps {
  readonly store: LeaveStore;
  readonly buckets: TokenBuckets;
  readonly sfu: PresenceApi;
  readonly delayedEvents: Pick<DelayedEvents, "act" | "apiOf">;
  readonly clock: Clock;
  /** From 0 (inclusive) to 1 (exclusive). */
  readonly random: () => number;
  readonly log: Log;
  /** How often rooms are polled; 0 = as rarely as possible. */
  readonly pollIntervalMs: number;
  /** Called with each leave that a homeserver has taken, and how long after its sign; null where that is not known. */
  readonly onSent?: (reason: string, afterMs: number | null) => void;
}

// A send may have waited in its queue for an hour: a check older than this is not the latest one that could be had.
const MAX_CHECK_AGE_MS = 10_000;
const MAX_CANCEL_ATTEMPTS = 5;

/** Takes delegated leave events. */
export class LeaveManager {
  readonly #deps: LeaveManagerDeps;
  readonly #index = new JobIndex();
  readonly #recentLeaves: RecentLeaves;
  readonly #timers: WakeTimers;
  readonly #checks: PresenceChecks;
  readonly #calls: LeaveCalls;
  readonly #poll: RoomPoll;
  readonly #watch: GapWatch;
  readonly #absenceMs: number;
  /** The last event of each participant that is being stored. */
  readonly #unconfirmed = new Map<string, Delegation>();
  /** Rooms whose list is waited for, and was not asked for yet. */
  readonly #listings = new Map<RoomAlias, Promise<boolean>>();
  #isClosed = false;
  #isDurable = true;

  constructor(deps: LeaveManagerDeps) {
    this.#deps = deps;
    const { clock, log } = deps;
    this.#absenceMs = absenceFor(deps.pollIntervalMs);
    this.#recentLeaves = new RecentLeaves(clock.monotonicNow);
    this.#timers = new WakeTimers({ clock, onDue: (key) => this.#on(this.#index.get(key), { type: "due" }) });
    const isOver: RecentLeaves["isOver"] = (...session) => this.#recentLeaves.isOver(...session);
    this.#checks = new PresenceChecks({ sfu: deps.sfu, isOver, clock, log });
    this.#calls = new LeaveCalls({
      ...deps,
      owner: {
        isWanted: (call) => this.#isWanted(call),
        confirm: (call) => this.#confirm(call),
        done: (call, outcome) => this.#done(call, outcome),
      },
    });
    this.#watch = new GapWatch({ clock, log, onGap: (lostMs) => this.#resumeAll(lostMs) });
    this.#poll = new RoomPoll({
      clock,
      intervalMs: deps.pollIntervalMs,
      webhooks: () => this.#watch.webhooks,
      rooms: () => this.#index.connectedRooms(),
      list: (room) => this.#listRoom(room),
    });
  }

  /** Opens the store and goes on with what is in it. */
  async start(): Promise<void> {
    await this.#deps.store.open({
      isFull: () => this.#index.bytes >= MAX_JOB_BYTES,
      adopt: (jobs) => this.#adoptAll(jobs),
      release: (room) => this.#index.inRoom(room).forEach((active) => this.#drop(active)),
      deliver: (event) => {
        // LiveKit may be pointed at another replica alone.
        this.#watch.webhookSeen();
        this.#deliver(this.#recentLeaves.learn(event));
      },
      isBusy: (room) => this.#calls.isUnderWayIn(room),
      gap: () => this.#resumeAll(null),
    });
    this.#watch.start();
    this.#poll.start();
  }

  get counts(): LeaveCounts {
    return this.#index.counts;
  }

  /** Calls that wait or are under way, for all homeservers together. */
  get waitingCalls(): number {
    return this.#calls.load;
  }

  /** Whether the last event that was taken will outlive the process; true before the first one. */
  get isDurable(): boolean {
    return this.#isDurable;
  }

  /** The jobs that this process works on. */
  get jobs(): Omit<JobIndex, "add" | "remove"> {
    return this.#index;
  }

  /** Takes an event; resolves once that outlives the process, as far as the store can do that. */
  async accept(delegation: Delegation): Promise<void> {
    if (this.#isAtWorkOn(delegation)) return;
    const acceptedAt = this.#deps.clock.monotonicNow();
    const { job } = this.#beginning(delegation, acceptedAt);
    const key = keyText(delegation);
    this.#unconfirmed.set(key, delegation);
    const saved = await this.#deps.store.accept(this.#toStored(job));
    // A newer event of the same participant takes the place, whichever of the two is stored first.
    const isLast = this.#unconfirmed.get(key) === delegation;
    if (isLast) this.#unconfirmed.delete(key);
    this.#isDurable = saved.isDurable;
    if (!saved.isDurable) this.#warnNotDurable();
    this.#deps.log.info("A leave event is delegated", { ...describeJob(job), delay_ms: job.delayMs });
    this.#watch.webhookExpected();
    if (!isLast || saved.owner === "elsewhere" || this.#isClosed || this.#isAtWorkOn(delegation)) return;
    // The participant may have come or gone while the job was being stored.
    const first = this.#beginning(delegation, acceptedAt);
    this.#apply(this.#insert(first.job, job), first);
  }

  /** Takes a webhook in. */
  async receive(event: SfuEvent): Promise<void> {
    this.#watch.webhookSeen();
    if (event.type === "other") return;
    // Whoever was in it has left: LiveKit may have dropped the webhooks about that.
    if (event.type === "room-finished") return void this.#poll.list(event.room);
    // Also where another replica works on the room: the client's job may still come here.
    const learnt = this.#recentLeaves.learn(event);
    if (await this.#deps.store.route(event) === "here") this.#deliver(learnt);
  }

  /** Takes note that webhooks were lost: everybody is checked. */
  eventsLost(): void {
    this.#resumeAll(null);
  }

  /** Ends all work; what is being asked is finished and noted, and jobs stay stored. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#watch.close();
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
    const now = this.#deps.clock.monotonicNow();
    // What comes from another clock is no later than now.
    const at = Math.min((event.createdAt ?? Infinity) - this.#deps.clock.now(), 0) + now;
    for (const active of [...this.#index.watching(event.room, event.identity)]) {
      active.isCheckStale = active.isChecking;
      active.heardAt = now;
      this.#on(active, { ...event, at });
    }
  }

  #on(active: ActiveJob | undefined, event: JobEvent): void {
    if (active === undefined || active.isEnded) return;
    // Nothing more is asked for, but what was asked has happened: the next process must not ask again.
    if (this.#isClosed && event.type !== "answered") return;
    const context = {
      now: this.#deps.clock.monotonicNow(),
      random: this.#deps.random,
      absenceMs: this.#absenceMs,
    };
    this.#apply(active, step(active.job, event, context));
  }

  #apply(active: ActiveJob, result: Step): void {
    if ("end" in result) return this.#end(active, result.end);
    const { job, effects } = result;
    if (isWorthStoring(active.job, job)) this.#deps.store.update(this.#toStored(job));
    active.job = job;
    if (this.#isClosed) return;
    // A queued call of a state that is over is not wanted any more.
    if (job.state !== (active.call?.action === "send" ? "leaving" : "connected")) active.call = null;
    this.#timers.set(active.key, wakeAt(job));
    for (const effect of effects) this.#perform(active, effect);
  }

  #perform(active: ActiveJob, effect: Effect): void {
    if (effect === "check") return void this.#check(active);
    if (active.call?.action === effect) return;
    const call = new LeaveCall(effect, active.job, active);
    active.call = call;
    this.#calls.add(call);
  }

  /** Checks presence, and again when something happened meanwhile. */
  async #check(active: ActiveJob): Promise<void> {
    if (active.isChecking) {
      active.isCheckStale = true;
      return;
    }
    active.isChecking = true;
    let event: CheckEvent;
    let seen: CheckEvent | null = null;
    do {
      active.isCheckStale = false;
      const { hint, state, failures } = active.job;
      const isPrompt = hint === "left" || state === "leaving" || failures.checks === 0;
      event = await this.#checks.participant(active.job, isPrompt ? "prompt" : "routine");
      if (event.type === "present") seen = event;
    } while (active.isCheckStale && !active.isEnded && !this.#isClosed);
    active.isChecking = false;
    this.#heard(active);
    // An old answer is better than none: whoever was there in a session that has not ended is there.
    if (event.type === "unknown" && seen !== null) event = this.#checks.withoutEnded(active.job, seen);
    this.#on(active, event);
  }

  #heard(active: ActiveJob): void {
    active.checkedAt = this.#deps.clock.monotonicNow();
    active.heardAt = active.checkedAt;
  }

  #isWanted(call: LeaveCall): boolean {
    return call.active === null ? !this.#isClosed : !call.active.isEnded && call.active.call === call;
  }

  /** Whether an event is still to be sent: checks once more if the last check is old. */
  async #confirm(call: LeaveCall): Promise<boolean> {
    const { active } = call;
    if (active === null || this.#deps.clock.monotonicNow() - active.checkedAt <= MAX_CHECK_AGE_MS) return true;
    const event = await this.#checks.participant(active.job, "prompt");
    this.#heard(active);
    if (event.type === "present") this.#on(active, event);
    return this.#isWanted(call) && (event.type === "absent" || event.type === "unknown" && active.job.hint === "left");
  }

  #done(call: LeaveCall, outcome: ActionOutcome): void {
    const { active, action, askedAt } = call;
    if (active === null || action === "cancel") return this.#canceled(call, outcome);
    if (active.call === call) active.call = null;
    this.#on(active, { type: "answered", action, outcome, askedAt });
  }

  /** An event that another one replaced would fire in the middle of the call: best effort. */
  #cancel(job: Job): void {
    this.#deps.log.info("A delegated leave event is replaced by another one", describeJob(job));
    this.#calls.add(new LeaveCall("cancel", job, null));
  }

  #canceled(call: LeaveCall, outcome: ActionOutcome): void {
    if (outcome.kind === "done" || outcome.kind === "gone" || ++call.attempts >= MAX_CANCEL_ATTEMPTS) return;
    const pauseMs = outcome.kind === "limited" ? outcome.retryAfterMs : callPause(call.attempts, this.#deps.random);
    this.#deps.clock.setTimer(() => this.#calls.add(call), pauseMs);
  }

  #end(active: ActiveJob, end: JobEnd): void {
    const { job } = active;
    this.#drop(active);
    this.#deps.store.remove(job, job.delayId);
    const { log, clock } = this.#deps;
    const reason = job.departure?.reason ?? "unknown since a restart";
    const afterMs = job.departure === null ? null : Math.round(clock.monotonicNow() - job.departure.at);
    const after = afterMs === null ? {} : { after_ms: afterMs };
    const fields = { end, ...describeJob(job), ...(job.state === "leaving" ? { reason, ...after } : {}) };
    if (end === "sent") {
      log.info("A leave was sent", fields);
      this.#deps.onSent?.(reason, afterMs);
    } else if (end === "expired") log.error("Gave up a delegated leave event: its fate is unknown", fields);
    else log.info(END_MESSAGES[end], fields);
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
    const isReplaced = old !== undefined &&
      (old.job.delayId !== job.delayId || old.job.homeserver !== job.homeserver);
    if (isReplaced) this.#cancel(old.job);
    if (isWorthStoring(stored, job)) this.#deps.store.update(this.#toStored(job));
    return this.#index.add(job);
  }

  #drop(active: ActiveJob): void {
    if (active.isEnded) return;
    active.isEnded = true;
    this.#timers.delete(active.key);
    this.#index.remove(active);
  }

  #adoptAll(jobs: readonly StoredJob[]): void {
    let over = 0;
    for (const job of jobs) {
      // One that is delegated anew, here or at another replica, is the client's word against the clocks'.
      const isNews = () => this.#unconfirmed.has(keyText(job)) || this.#index.of(job) !== undefined;
      if (isPastGivingUp(job, this.#deps.clock.now()) && !isNews()) {
        this.#deps.store.remove(job, job.delayId);
        over++;
      } else this.#adopt(job);
    }
    if (over === 0) return;
    this.#deps.log.info("Dropped delegated leave events that were due over an hour ago", { dropped: over });
  }

  #adopt(stored: StoredJob): void {
    if (this.#index.of(stored)?.job.delayId === stored.delayId || this.#isClosed) return;
    const { clock } = this.#deps;
    const now = clock.monotonicNow();
    const job = shiftTimes(stored, now - clock.now());
    // Delegated at another replica, which knows nothing of the session that goes on here, unless Redis was away meanwhile.
    const hasLeft = job.state === "waiting" && this.#recentLeaves.has(job.room, job.watched);
    const old = this.#index.predecessorOf(job);
    const result = old !== undefined && job.state === "waiting"
      ? replace(old, job, now, hasLeft)
      : adopt(hasLeft ? { ...job, waitUntil: Math.min(job.waitUntil, now + SHORT_WAIT_MS) } : job, now);
    this.#resume(this.#insert(result.job, job), result);
  }

  #resumeAll(lostMs: number | null): void {
    const now = this.#deps.clock.monotonicNow();
    for (const active of this.#index.all()) this.#resume(active, resume(active.job, lostMs, now));
  }

  // After a gap many jobs want a check at once: their rooms are listed, each one once.
  #resume(active: ActiveJob, { job, effects }: Running): void {
    this.#apply(active, { job, effects: effects.filter((effect) => effect !== "check") });
    if (effects.includes("check")) void this.#poll.list(active.job.room);
  }

  /** Lists a room in its turn: once, however often that is wanted until then. */
  #listRoom(room: RoomAlias): Promise<boolean> {
    const listing = this.#listings.get(room) ?? Promise.resolve().then(() => this.#list(room));
    this.#listings.set(room, listing);
    return listing;
  }

  async #list(room: RoomAlias): Promise<boolean> {
    this.#listings.delete(room);
    if (!this.#index.has(room)) return true;
    const listing = await this.#checks.list(
      room,
      (listing) =>
        this.#index.inRoom(room).some(({ job }) =>
          isAgeDecisive(job) && this.#checks.read(job, listing).type === "absent"
        ),
    );
    if (listing === null) return false;
    for (const active of this.#index.inRoom(room)) {
      // A check under way, or what was heard since the list was asked for, knows better.
      if (active.isChecking || active.heardAt > listing.askedAt) continue;
      this.#heard(active);
      this.#on(active, this.#checks.read(active.job, listing));
    }
    return true;
  }

  #warnNotDurable(): void {
    const { store, log } = this.#deps;
    if (store.description === "memory") return;
    const fields = { store: store.description, throttle: true } as const;
    log.error("A delegated leave event is held in memory only, since the store cannot be written", fields);
  }

  #toStored(job: Job): StoredJob {
    return shiftTimes(job, this.#deps.clock.now() - this.#deps.clock.monotonicNow());
  }
}

const END_MESSAGES: Readonly<Record<Exclude<JobEnd, "sent" | "expired">, string>> = {
  gone: "A delegated leave event is over: the homeserver has it no more",
  refused: "A delegated leave event is over: the homeserver refused to manage it until its time",
  aborted: "A delegated leave event is left to its client, which gave up connecting",
};
