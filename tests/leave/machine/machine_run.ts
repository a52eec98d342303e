// Runs the machine alone under any sequence of events, answers, faults and clock jumps, beside a plain account of what
// is known about the participant; says what rule was broken.

import fc from "fast-check";
import type { ActionOutcome } from "../../../lib/matrix/delayed_events.ts";
import type { JobEvent, Step } from "../../../lib/leave/machine/events.ts";
import type { Job, JobEnd } from "../../../lib/leave/machine/job.ts";
import { begin, resume, step } from "../../../lib/leave/machine/machine.ts";
import { giveUpAt, wakeAt } from "../../../lib/leave/machine/schedule.ts";
import { DELEGATION, HOUR } from "./machine_table.ts";

/** The function under test. */
export type StepFunction = typeof step;

/** One thing that happens. */
export type Happening =
  | { readonly what: "time"; readonly ms: number }
  | { readonly what: "check"; readonly event: Extract<JobEvent, { type: "present" | "absent" | "unknown" }> }
  | { readonly what: "answer"; readonly outcome: ActionOutcome }
  | { readonly what: "webhook"; readonly event: Extract<JobEvent, { sid: string }> }
  | { readonly what: "gap"; readonly lost: "events" | "time" };

const IDENTITIES = ["hash", "@u:s:D"];
const MINUTE = 60_000;

const identity = fc.constantFrom(...IDENTITIES);
const sid = fc.constantFrom("PA_1", "PA_2", "PA_3");
const reason = fc.constantFrom(
  "CLIENT_INITIATED",
  "CONNECTION_TIMEOUT",
  "DUPLICATE_IDENTITY",
  "MIGRATION",
  "SIGNAL_CLOSE",
);

/** Any happening. Time passes by little, by more than any pause, and by more than any job lasts. */
export const happening: fc.Arbitrary<Happening> = fc.oneof(
  fc.record({
    what: fc.constant("time" as const),
    ms: fc.oneof(fc.nat(3000), fc.nat(200_000), fc.nat(3 * HOUR)),
  }),
  fc.record({
    what: fc.constant("check" as const),
    event: fc.oneof(
      fc.record({ type: fc.constant("present" as const), sessions: fc.dictionary(identity, sid, { minKeys: 1 }) }),
      fc.constant({ type: "absent" as const }),
      fc.constant({ type: "unknown" as const }),
    ),
  }),
  fc.record({
    what: fc.constant("answer" as const),
    outcome: fc.constantFrom<ActionOutcome[]>(
      { kind: "done" },
      { kind: "failed" },
      { kind: "failed" },
      { kind: "limited", retryAfterMs: 964 },
      { kind: "held" },
      { kind: "gone", how: "not-found" },
      { kind: "refused", why: "unsupported" },
    ),
  }),
  fc.record({
    what: fc.constant("webhook" as const),
    event: fc.oneof(
      fc.record({ type: fc.constant("joined" as const), identity, sid }),
      fc.record({ type: fc.constantFrom("left" as const, "aborted" as const), identity, sid, reason }),
    ),
  }),
  fc.record({ what: fc.constant("gap" as const), lost: fc.constantFrom("events" as const, "time" as const) }),
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
  #lastLook: "none" | "present" | "absent" | "unknown" = "none";
  #absentSince: number | null = null;
  #sessions = new Map<string, string>();
  #isToldGone = false;
  #isAborted = false;

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
      if (this.#isChecking) this.#happen({ what: "check", event: { type: "absent" } });
      else if (this.#calls.length > 0) this.#happen({ what: "answer", outcome: { kind: "done" } });
      else {
        // The sweep comes by each minute.
        this.#happen({ what: "time", ms: Math.max(Math.min(wakeAt(this.#job) - this.#now, MINUTE), 1) });
        if (this.#job.state === "connected" && this.#end === null) this.#check({ type: "absent" });
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
        return this.#isChecking ? this.#check(one.event) : undefined;
      case "answer": {
        const action = this.#calls.shift();
        if (action !== undefined) this.#apply({ type: "answered", action, outcome: one.outcome, askedAt: this.#now });
        return;
      }
      case "webhook":
        return this.#webhook(one.event);
      case "gap":
        if (one.lost === "time") this.#absentSince = null;
        return this.#take(resume(this.#job, one.lost, this.#now), null);
    }
  }

  #check(event: Extract<JobEvent, { type: "present" | "absent" | "unknown" }>): void {
    this.#isChecking = false;
    this.#lastLook = event.type;
    if (event.type === "present") {
      this.#sessions = new Map(Object.entries(event.sessions));
      this.#back();
    }
    if (event.type === "absent") this.#absentSince ??= this.#now;
    this.#apply(event);
  }

  #webhook(event: Extract<JobEvent, { sid: string }>): void {
    if (event.type === "joined") {
      this.#sessions.set(event.identity, event.sid);
      this.#back();
    } else {
      const tracked = this.#sessions.get(event.identity);
      const isEnd = event.reason !== "DUPLICATE_IDENTITY" && event.reason !== "MIGRATION";
      const isOurs = tracked === event.sid || tracked === undefined && this.#job.state === "waiting";
      if (isEnd && isOurs) {
        this.#isToldGone = true;
        this.#sessions.delete(event.identity);
      }
      if (event.type === "aborted" && event.reason === "CLIENT_INITIATED") this.#isAborted = true;
    }
    this.#apply(event);
  }

  #back(): void {
    this.#absentSince = null;
    this.#isToldGone = false;
  }

  #apply(event: JobEvent): void {
    this.#take(this.#step(this.#job, event, this.#now, this.#random), event);
  }

  #take(result: Step, event: JobEvent | null): void {
    const before = this.#job;
    if ("end" in result) {
      this.#checkEnd(result.end, event);
      this.#end = result.end;
      return;
    }
    this.#job = result.job;
    for (const effect of result.effects) {
      if (effect === "check") this.#isChecking = true;
      else if (!this.#calls.includes(effect)) this.#calls.push(effect);
      if (effect === "send") this.#checkSend(before);
    }
    const isStuck = !this.#isChecking && this.#calls.length === 0 && wakeAt(this.#job) === Infinity;
    if (isStuck) throw new Error(`nothing will ever happen to it: ${this.#job.state}`);
  }

  #checkSend(before: Job): void {
    const isDecided = before.state !== "connected" || this.#isToldGone ||
      this.#absentSince !== null && this.#now - this.#absentSince >= MINUTE;
    const isFine = this.#lastLook === "absent" && isDecided || this.#lastLook === "unknown" && this.#isToldGone;
    if (!isFine) throw new Error(`sent after "${this.#lastLook}" from ${before.state}`);
  }

  #checkEnd(end: JobEnd, event: JobEvent | null): void {
    const answer = event?.type === "answered" ? event : null;
    const isFine = {
      sent: answer?.action === "send" && answer.outcome.kind === "done",
      gone: answer?.outcome.kind === "gone",
      refused: answer?.outcome.kind === "refused",
      aborted: this.#isAborted && this.#lastLook === "absent" && this.#job.state === "waiting",
      expired: this.#now >= giveUpAt(this.#job),
    }[end];
    if (!isFine) throw new Error(`ended as "${end}" on ${JSON.stringify(event)}`);
  }
}
