// What the benchmark of delegated leaves found: shown as a table, kept as JSON beside the earlier ones.

import type { LeaveLoad } from "./leave_load.ts";
import type { StoreName } from "./leave_rig.ts";

/** Jobs that clients handed over, so many at once. */
export interface Accepted extends LeaveLoad {
  readonly route: string;
  readonly atOnce: number;
  readonly perSecond: number;
  readonly cpuUs: number;
}

/** A start with jobs in the store; all their participants are connected, with a delay of an hour. */
export interface Loaded {
  readonly jobs: number;
  /** From exec to the first 200 on /healthz. */
  readonly startMs: number;
  /** From exec until each room was listed at the SFU: all jobs are at work. */
  readonly atWorkMs: number;
  readonly rssMiB: number;
  readonly stopMs: number;
}

/** What is alive in V8's heap, everybody's restart queued. */
export interface Heap {
  readonly jobs: number;
  readonly mib: number;
  readonly bytesPerJob: number;
}

/** A stretch of time with connected participants. */
export interface Steady {
  readonly jobs: number;
  readonly delayMs: number;
  readonly seconds: number;
  readonly restartsPerSecond: number;
  /** Restarts that came after the event's own timer must have fired. */
  readonly latePerSecond: number;
  /** Seconds of CPU per second. */
  readonly cpu: number;
  readonly rssMiB: number;
}

/** Of one store. */
export interface StoreReport {
  readonly accepted: readonly Accepted[];
  /** By the store alone, without a service. */
  readonly storedPerSecond: number;
  /** null = the service died. */
  readonly loaded: Loaded | null;
  /** Not of an executable. */
  readonly heap: Heap | null;
  readonly most: Steady;
  readonly steady: Steady[];
  /** Warnings and errors of the services, the distinct ones. */
  readonly complaints: string[];
}

/** One benchmark. */
export interface LeaveReport {
  readonly date: string;
  readonly commit: string;
  readonly command: string;
  readonly subject: string;
  readonly loadAverage: readonly number[];
  /** Yardsticks that travel between machines: our own /healthz, and a write that waits for the disk. */
  readonly healthzCpuUs: number;
  readonly fsyncMs: number;
  readonly stores: Readonly<Partial<Record<StoreName, StoreReport>>>;
}

const RESULTS = new URL("./results/leave/", import.meta.url);

/** Prints a report. */
export function show(report: LeaveReport): void {
  const { subject, commit, loadAverage, healthzCpuUs, fsyncMs } = report;
  console.log(`\nDelegated leaves: ${subject}, commit ${commit}, load average ${loadAverage.map(one).join(" ")}`);
  console.log(`/healthz ${one(healthzCpuUs)} µs CPU, a write that waits for the disk ${one(fsyncMs)} ms`);
  for (const [name, store] of Object.entries(report.stores)) {
    console.log(`\n${name}`);
    for (const { route, atOnce, perSecond, p50Ms, p99Ms, cpuUs } of store.accepted) {
      line(`${route}, ${atOnce} at once`, [
        `${perSecond.toFixed(0)} jobs/s`,
        `p50 ${one(p50Ms)} ms, p99 ${one(p99Ms)} ms`,
        `${cpuUs.toFixed(0)} µs CPU a job, ${one(cpuUs / healthzCpuUs)} × /healthz`,
      ]);
    }
    const { storedPerSecond, loaded, heap, most } = store;
    line("the store alone, 200 at once", [`${storedPerSecond.toFixed(0)} jobs/s`]);
    if (loaded !== null) showStart(loaded);
    if (heap !== null) {
      line("memory per job", [
        `${heap.bytesPerJob.toFixed(0)} bytes`,
        `${one(heap.mib)} MiB heap with ${heap.jobs} jobs`,
      ]);
    }
    for (const steady of [most, ...store.steady]) showSteady(steady);
    for (const complaint of store.complaints) console.log(`  ! ${complaint}`);
  }
}

function showStart({ jobs, startMs, atWorkMs, rssMiB, stopMs }: Loaded): void {
  line(`start with ${jobs} jobs`, [
    `listens after ${startMs.toFixed(0)} ms`,
    `all at work after ${atWorkMs.toFixed(0)} ms`,
    `${rssMiB.toFixed(0)} MiB RSS`,
    `stops within ${stopMs.toFixed(0)} ms`,
  ]);
}

function showSteady(steady: Steady): void {
  const { jobs, delayMs, restartsPerSecond, latePerSecond, cpu, rssMiB } = steady;
  line(`${jobs} connected, delay ${delayMs / 1000} s`, [
    `${restartsPerSecond.toFixed(0)} restarts/s (${latePerSecond.toFixed(0)} late)`,
    `${cpu.toFixed(3)} s CPU a second, ${(cpu / jobs * 1000).toFixed(4)} per 1,000 jobs`,
    `${(cpu / restartsPerSecond * 1e6).toFixed(0)} µs a restart`,
    `${rssMiB.toFixed(0)} MiB RSS`,
  ]);
}

/** Keeps a report. */
export async function save(report: LeaveReport): Promise<void> {
  await Deno.mkdir(RESULTS, { recursive: true });
  const name = `${report.date.slice(0, 10)}-${report.commit}.json`;
  await Deno.writeTextFile(new URL(name, RESULTS), `${JSON.stringify(report, null, 2)}\n`);
}

function line(what: string, figures: readonly string[]): void {
  console.log(`  ${what.padEnd(38)} ${figures.join("; ")}`);
}

function one(value: number): string {
  return value.toFixed(1);
}
