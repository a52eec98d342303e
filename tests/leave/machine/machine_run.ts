// Runs the machine alone under any sequence of events, answers, faults and clock jumps, beside a plain account of what
// is known about the participant; says what rule was broken.

import fc from "fast-check";
import type { ActionOutcome } from "../../../lib/matrix/delayed_events.ts";
import type { Job, JobEnd, JobEvent, Step } from "../../../lib/leave/machine/job.ts";
import { begin, resume, step } from "../../../lib/leave/machine/machine.ts";
import { deadlineOf, giveUpAt, wakeAt } from "../../../lib/leave/machine/schedule.ts";
import { DELEGATION, HOUR } from "./machine_table.ts";

/** The function under test. */
export type StepFunction = typeof step;

/** One thing that happens. */
export type Happening =
  | { readonly what: "time"; readonly ms: number }
  /** `askedAt` counts from now. */
  | { readonly what: "check"; readonly event: Extract<JobEvent, { type: "present" | "unknown" }> }
  /** A check finds nobody, in a room that is older than any session, younger, or not there. */
  | { readonly what: "absent"; readonly room: "older" | "younger" | "none" }
  | { readonly what: "answer"; readonly outcome: ActionOutcome }
  /** `at` counts from now. */
  | { readonly what: "webhook"; readonly event: Extract<JobEvent, { sid: string }> }
  | { readonly what: "gap"; readonly lostMs: 0 | null };

const IDENTITIES = ["hash", "@u:s:D"];
const MINUTE = 60_000;

const identity = fc.constantFrom(...IDENTITIES);
const sid = fc.constantFrom("PA_1", "PA_2", "PA_3");
const reason = fc.constantFrom(
  "CLIENT_INITIATED",
  "CONNECTION_TIMEOUT",
  "DUPLICATE_IDENTITY",
  "MIGRATION",
  "STATE_MISMATCH",
  "SERVER_SHUTDOWN",
  "SIGNAL_CLOSE",
);
const at = fc.oneof(fc.constant(0), fc.integer({ min: -30_000, max: 0 }));

/** Any happening. Time passes by little, by more than any pause, and by more than any job lasts. */
export const happening: fc.Arbitrary<Happening> = fc.oneof(
  fc.record({
    what: fc.constant("time" as const),
    ms: fc.oneof(fc.nat(3000), fc.nat(200_000), fc.nat(3 * HOUR)),
  }),
  fc.record({
    what: fc.constant("check" as const),
    event: fc.oneof(
      fc.record({
        type: fc.constant("present" as const),
        sessions: fc.dictionary(identity, sid, { minKeys: 1 }),
        askedAt: fc.integer({ min: -2000, max: 0 }),
      }),
      fc.constant({ type: "unknown" as const }),
    ),
  }),
  fc.record({ what: fc.constant("absent" as const), room: fc.constantFrom("older", "younger", "none") }),
  fc.record({
    what: fc.constant("answer" as const),
    outcome: fc.constantFrom<ActionOutcome[]>(
      { kind: "done" },
      { kind: "failed", how: "unreachable" },
      { kind: "failed", how: "silent" },
      { kind: "failed", how: "bare-404" },
      { kind: "limited", retryAfterMs: 964 },
      { kind: "held" },
      { kind: "gone", how: "not-found" },
      { kind: "refused", why: "unsupported" },
    ),
  }),
  fc.record({
    what: fc.constant("webhook" as const),
    event: fc.oneof(
      fc.record({ type: fc.constant("joined" as const), identity, sid, at }),
      fc.record({ type: fc.constantFrom("left" as const, "aborted" as const), identity, sid, reason, at }),
    ),
  }),
  fc.record({ what: fc.constant("gap" as const), lostMs: fc.constantFrom(0 as const, null) }),
);

/** One job's life. Throws when a rule is broken. */
export class MachineRun {
  readonly #step: StepFunction;
  readonly #random: () => number;
  #now = 0;
  #job: Job;
  #end: JobEnd | null = null;
  #isChecking = false;
  #calls: ("restart" | "send")[] = [];
  // What is known of the participant.
  #lastCheck: "none" | "present" | "absent" | "unknown" = "none";
  #absentSince: number | null = null;
  #sessions = new Map<string, string>();
  #isToldGone = false;
  #isAborted = false;
  #isRoomOlder = false;

  constructor(stepFunction: StepFunction, delayMs: number, random: () => number) {
    this.#step = stepFunction;
    this.#random = random;
    const first = begin({ ...DELEGATION, delayMs }, 0, false);
    this.#job = first.job;
    this.#take(first, null);
  }

  play(happenings: readonly Happening[]): void {
    for (const one of happenings) if (this.#end === null) this.#happen(one);
  }

  /** The participant has gone for good, and everybody answers: the job must end, and soon. */
  goWell(): void {
    const { state, waitUntil } = this.#job;
    const until = (state === "waiting" ? Math.max(waitUntil, this.#now) : this.#now) + 3 * MINUTE;
    while (this.#end === null && this.#now < until) {
      if (this.#isChecking) this.#happen({ what: "absent", room: "none" });
      else if (this.#calls.length > 0) this.#happen({ what: "answer", outcome: { kind: "done" } });
      else {
        // Rooms are polled each minute.
        this.#happen({ what: "time", ms: Math.max(Math.min(wakeAt(this.#job) - this.#now, MINUTE), 1) });
        if (this.#job.state === "connected" && this.#end === null) this.#check({ type: "absent", roomSince: null });
      }
    }
    if (this.#end === null) throw new Error(`no end within the bound: ${this.#job.state}`);
  }

  #happen(one: Happening): void {
    switch (one.what) {
      case "time":
        this.#now += one.ms;
        if (wakeAt(this.#job) <= this.#now) this.#apply({ type: "due" });
        return;
      case "check":
        return this.#isChecking ? this.#check(fromNow(one.event, this.#now)) : undefined;
      case "absent": {
        const roomSince = { older: -1e9, younger: this.#now + 1, none: null }[one.room];
        return this.#isChecking ? this.#check({ type: "absent", roomSince }) : undefined;
      }
      case "answer": {
        const action = this.#calls.shift();
        if (action !== undefined) this.#apply({ type: "answered", action, outcome: one.outcome, askedAt: this.#now });
        return;
      }
      case "webhook":
        return this.#webhook({ ...one.event, at: this.#now + one.event.at });
      case "gap":
        if (one.lostMs !== null) this.#absentSince = null;
        return this.#take(resume(this.#job, one.lostMs, this.#now), null);
    }
  }

  #check(event: Extract<JobEvent, { type: "present" | "absent" | "unknown" }>): void {
    this.#isChecking = false;
    this.#lastCheck = event.type;
    if (event.type === "present") {
      this.#sessions = new Map(Object.entries(event.sessions));
      this.#back();
    }
    if (event.type === "absent") this.#absentSince ??= this.#now;
    // A session that is forgotten can't be older or younger than anything.
    this.#isRoomOlder = event.type === "absent" && (event.roomSince ?? 0) < 0 && this.#sessions.size > 0;
    this.#apply(event);
  }

  #webhook(event: Extract<JobEvent, { sid: string }>): void {
    if (event.type === "joined") {
      // Delegated at 0.
      if (event.at >= -6000 || this.#job.state === "leaving") {
        this.#sessions.set(event.identity, event.sid);
        this.#back();
      }
    } else if (event.type === "left") {
      const isOurs = this.#sessions.get(event.identity) === event.sid ||
        !this.#sessions.has(event.identity) && this.#job.state === "waiting";
      const isReplaced = event.reason === "DUPLICATE_IDENTITY" || event.reason === "MIGRATION";
      const isInterrupted = event.reason === "STATE_MISMATCH" || event.reason === "SERVER_SHUTDOWN";
      const isEarlier = event.at < (event.reason === "CONNECTION_TIMEOUT" ? 20_000 : 0);
      if (isOurs && !isReplaced && !isInterrupted && !isEarlier) this.#isToldGone = true;
      if (isOurs && !isReplaced) this.#sessions.delete(event.identity);
    } else {
      if (this.#sessions.get(event.identity) === event.sid) this.#sessions.delete(event.identity);
      if (event.reason === "CLIENT_INITIATED") this.#isAborted = true;
    }
    this.#apply(event);
  }

  #back(): void {
    this.#absentSince = null;
    this.#isToldGone = false;
  }

  #apply(event: JobEvent): void {
    this.#take(this.#step(this.#job, event, { now: this.#now, random: this.#random, absenceMs: MINUTE }), event);
  }

  #take(result: Step, event: JobEvent | null): void {
    const before = this.#job;
    if ("end" in result) {
      this.#checkEnd(result.end, event, before);
      this.#end = result.end;
      return;
    }
    this.#job = result.job;
    // A job that leaves forgets its sessions.
    if (result.job.state === "leaving") this.#sessions.clear();
    for (const effect of result.effects) {
      if (effect === "check") this.#isChecking = true;
      else if (!this.#calls.includes(effect)) this.#calls.push(effect);
      if (effect === "send") this.#checkSend(before);
    }
    const isStuck = !this.#isChecking && this.#calls.length === 0 && wakeAt(this.#job) === Infinity;
    if (isStuck) throw new Error(`nothing will ever happen to it: ${this.#job.state}`);
  }

  #checkSend(before: Job): void {
    const isWaitOver = before.state === "waiting" && this.#now >= before.waitUntil;
    const isAbsenceLong = this.#absentSince !== null && this.#now - this.#absentSince >= MINUTE;
    const isDecided = before.state === "leaving" || this.#isToldGone || isWaitOver || isAbsenceLong ||
      this.#isRoomOlder && this.#now >= MINUTE && this.#absentSince !== null && this.#now - this.#absentSince >= 1000;
    const isFine = this.#lastCheck === "absent" && isDecided || this.#lastCheck === "unknown" && this.#isToldGone;
    if (!isFine) throw new Error(`sent after "${this.#lastCheck}" from ${before.state}`);
  }

  #checkEnd(end: JobEnd, event: JobEvent | null, before: Job): void {
    const answer = event?.type === "answered" ? event : null;
    const isFine = {
      sent: answer?.action === "send" && answer.outcome.kind === "done",
      gone: answer?.outcome.kind === "gone" || answer?.outcome.kind === "failed" && this.#now >= deadlineOf(before),
      refused: answer?.outcome.kind === "refused" && this.#now >= deadlineOf(before),
      aborted: this.#isAborted && this.#lastCheck === "absent" && before.state === "waiting" &&
        this.#now >= before.waitUntil,
      expired: this.#now >= giveUpAt(this.#job),
    }[end];
    if (!isFine) throw new Error(`ended as "${end}" on ${JSON.stringify(event)}`);
  }
}

function fromNow(event: Extract<JobEvent, { type: "present" | "unknown" }>, now: number): typeof event {
  return event.type === "present" ? { ...event, askedAt: now + event.askedAt } : event;
}
