// The machine under any sequence of events, answers, faults and clock jumps: no send that the latest check, or a leave
// webhook in its stead, does not justify; no end but by an answer; no job that nothing will ever happen to.

import fc from "fast-check";
import type { JobEvent } from "../../../lib/leave/machine/job.ts";
import { step } from "../../../lib/leave/machine/machine.ts";
import { deadlineOf } from "../../../lib/leave/machine/schedule.ts";
import { holdsOnlyFor } from "../../../testing/refutable.ts";
import { happening, MachineRun, type StepFunction } from "./machine_run.ts";

const delays = fc.constantFrom(500, 10_000, 3_600_000, 86_400_000);
const happenings = fc.array(happening, { maxLength: 60, size: "max" });

function property(stepFunction: StepFunction) {
  return fc.property(happenings, delays, fc.double({ min: 0, max: 0.999, noNaN: true }), (script, delayMs, random) => {
    const run = new MachineRun(stepFunction, delayMs, () => random);
    run.play(script);
    run.goWell();
  });
}

function reading(change: (event: JobEvent) => JobEvent): StepFunction {
  return (job, event, context) => step(job, change(event), context);
}

Deno.test("a job sends only what a presence check justifies, ends only by an answer, and always goes on", async () => {
  await holdsOnlyFor(property, step, {
    "a reconnect counts as a leave": reading((event) =>
      event.type === "left" && event.reason === "DUPLICATE_IDENTITY" ? { ...event, reason: "CLIENT_INITIATED" } : event
    ),
    "a migration counts as a leave": reading((event) =>
      event.type === "left" && event.reason === "MIGRATION" ? { ...event, reason: "CLIENT_INITIATED" } : event
    ),
    "what cannot be known counts as an absence": reading((event) =>
      event.type === "unknown" ? { type: "absent", roomSince: null } : event
    ),
    "a leave is sent without a check": (job, event, context) => {
      const result = step(job, event, context);
      const isLeave = event.type === "left" && event.reason === "CLIENT_INITIATED" && !("end" in result);
      return isLeave ? { job: { ...result.job, state: "leaving" }, effects: ["send"] } : result;
    },
    "a full reconnect counts as a leave": reading((event) =>
      event.type === "left" && event.reason === "STATE_MISMATCH" ? { ...event, reason: "CLIENT_INITIATED" } : event
    ),
    "a session that died before the delegation counts": reading((event) =>
      event.type === "left" && event.reason === "CONNECTION_TIMEOUT" ? { ...event, reason: "CLIENT_INITIATED" } : event
    ),
    "when a session ended does not matter": reading((event) => "at" in event ? { ...event, at: Infinity } : event),
    "an attempt given up ends the delegation": (job, event, context) =>
      event.type === "absent" && job.hint === "aborted" ? { end: "aborted" } : step(job, event, context),
    "any session's leave counts, whoever is tracked": (job, event, context) =>
      step(job, event.type === "left" ? { ...event, sid: job.sessions[event.identity] ?? event.sid } : event, context),
    "one absence is enough": (job, event, context) =>
      step(event.type === "absent" ? { ...job, absentSince: -Infinity } : job, event, context),
    "an absence before a lost minute counts": (job, event, context) =>
      step(
        event.type === "absent" ? { ...job, absentSince: job.absentSince ?? context.now - 60_000 } : job,
        event,
        context,
      ),
    "a deadline that passed ends a job": (job, event, context) =>
      event.type === "due" && context.now > deadlineOf(job) ? { end: "gone" } : step(job, event, context),
    "a missing route counts as a missing event": reading((event) =>
      event.type === "answered" && event.outcome.kind === "refused"
        ? { ...event, outcome: { kind: "gone", how: "not-found" } }
        : event
    ),
    "a failure is not followed up": (job, event, context) => {
      const isFailure = event.type === "answered" && event.outcome.kind === "failed";
      return isFailure ? { job, effects: [] } : step(job, event, context);
    },
    "whoever comes back is sent off all the same": (job, event, context) => {
      const isBack = job.state === "leaving" && event.type === "present";
      return isBack ? { job: { ...job, checkAt: Infinity }, effects: ["send"] } : step(job, event, context);
    },
  });
});
