// The machine under any sequence of events, answers, faults and clock jumps: no send that the latest look, or a leave
// webhook in its stead, does not justify; no end but by an answer; no job that nothing will ever happen to.

import fc from "fast-check";
import type { JobEvent } from "../../../lib/leave/machine/events.ts";
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
  return (job, event, now, random) => step(job, change(event), now, random);
}

Deno.test("a job sends only what a look justifies, ends only by an answer, and always goes on", async () => {
  await holdsOnlyFor(property, step, {
    "a reconnect counts as a leave": reading((event) =>
      event.type === "left" && event.reason === "DUPLICATE_IDENTITY" ? { ...event, reason: "CLIENT_INITIATED" } : event
    ),
    "a migration counts as a leave": reading((event) =>
      event.type === "left" && event.reason === "MIGRATION" ? { ...event, reason: "CLIENT_INITIATED" } : event
    ),
    "what cannot be known counts as an absence": reading((event) =>
      event.type === "unknown" ? { type: "absent" } : event
    ),
    "a leave is sent without a look": (job, event, now, random) => {
      const result = step(job, event, now, random);
      const isLeave = event.type === "left" && event.reason === "CLIENT_INITIATED" && !("end" in result);
      return isLeave ? { job: { ...result.job, state: "leaving" }, effects: ["send"] } : result;
    },
    "any session's leave counts, whoever is tracked": (job, event, now, random) =>
      step(
        job,
        event.type === "left" ? { ...event, sid: job.sessions[event.identity] ?? event.sid } : event,
        now,
        random,
      ),
    "one absence is enough": (job, event, now, random) =>
      step(event.type === "absent" ? { ...job, absentSince: -Infinity } : job, event, now, random),
    "an absence before a lost minute counts": (job, event, now, random) =>
      step(
        event.type === "absent" ? { ...job, absentSince: job.absentSince ?? now - 60_000 } : job,
        event,
        now,
        random,
      ),
    "a deadline that passed ends a job": (job, event, now, random) =>
      event.type === "due" && now > deadlineOf(job) ? { end: "gone" } : step(job, event, now, random),
    "a missing route counts as a missing event": reading((event) =>
      event.type === "answered" && event.outcome.kind === "refused"
        ? { ...event, outcome: { kind: "gone", how: "not-found" } }
        : event
    ),
    "a failure is not followed up": (job, event, now, random) => {
      const isFailure = event.type === "answered" && event.outcome.kind === "failed";
      return isFailure ? { job, effects: [] } : step(job, event, now, random);
    },
    "whoever comes back is sent off all the same": (job, event, now, random) => {
      const isBack = job.state === "leaving" && event.type === "present";
      return isBack ? { job: { ...job, checkAt: Infinity }, effects: ["send"] } : step(job, event, now, random);
    },
  });
});
