// `deno task bench:leave`: what delegated leaves cost, with SQLite and with Redis, in under four minutes: jobs accepted
// durably, a start with 20,000 of them, memory of each, restarts that can be kept up, CPU of those who are connected. CPU is
// that of the service alone. A wrong answer, or a service that dies, makes it exit with 1.
//
// Needs redis-server and taskset (Debian: redis-server, util-linux). `--save` writes the result to bench/results/leave/,
// `--binary PATH` measures an executable instead of the source, `--store SQLite` one store alone.

import { parseArgs } from "node:util";
import { setTimeout as sleep } from "node:timers/promises";
import { get, post } from "./leave_load.ts";
import { PEOPLE_PER_ROOM, requestOf } from "./leave_people.ts";
import { type Accepted, type LeaveReport, type Loaded, save, show } from "./leave_report.ts";
import type { Steady, StoreReport } from "./leave_report.ts";
import { LeaveService, Others, Place, ServiceEnded, type StoreName } from "./leave_rig.ts";
import { seed } from "./leave_seed.ts";

const HOUR_MS = 3_600_000;
const AT_ONCE = 64;
const WARM_UP_JOBS = 3000;
const ACCEPTED_JOBS = 5000;
const ONE_BY_ONE_JOBS = 200;
const STORED_JOBS = 20_000;
const HEAP_JOBS = { few: 2000, many: 20_000 };
const LOAD_TIMEOUT_MS = 60_000;
// More than one process can keep up, so that what it does is the most it can do.
const MOST = { jobs: 12_000, delayMs: 5000, warmUpMs: 16_000, windowMs: 8000 };
// One minute, in which each room is listed once.
const STEADY = [
  { jobs: 4000, delayMs: 10_000, warmUpMs: 10_000, windowMs: 60_000 },
  { jobs: 10_000, delayMs: HOUR_MS, warmUpMs: 10_000, windowMs: 60_000 },
];

const { values: options } = parseArgs({
  args: Deno.args,
  options: { save: { type: "boolean", default: false }, binary: { type: "string" }, store: { type: "string" } },
});
const binary = options.binary ?? null;
const stores = (["SQLite", "Redis"] as const).filter((name) => options.store === undefined || options.store === name);
if (stores.length === 0) throw new Error(`Cannot measure the store "${options.store}": expected SQLite or Redis`);

let wrongAnswers = 0;
let deaths = 0;
let healthzCpuUs = NaN;
await using others = await Others.start();
const reports = new Map<StoreName, StoreReport>();
for (const name of stores) reports.set(name, await measureStore(name));
await measureSteadyStates();

const report: LeaveReport = {
  date: new Date().toISOString(),
  commit: await commit(),
  command: `deno task bench:leave ${Deno.args.join(" ")}`.trim(),
  subject: binary === null ? `source, Deno ${Deno.version.deno}` : "executable",
  loadAverage: Deno.loadavg(),
  healthzCpuUs,
  fsyncMs: await fsyncMs(),
  stores: Object.fromEntries(reports),
};
show(report);
if (options.save) await save(report);
if (wrongAnswers + deaths > 0) {
  console.error(`${wrongAnswers} wrong answers, ${deaths} services that died`);
  Deno.exitCode = 1;
}

async function measureStore(name: StoreName): Promise<StoreReport> {
  const complaints: string[] = [];
  const accepted = await measureAcceptance(name, complaints);
  const load = await measureLoad(name, complaints);
  await others.populate(MOST.jobs, MOST.delayMs);
  await using place = await seeded(name, MOST.jobs, MOST.delayMs);
  const most = await measureSteady(place, MOST, complaints);
  return { accepted, ...load, most, steady: [], complaints };
}

/** Clients hand their events over, each another user. */
async function measureAcceptance(name: StoreName, complaints: string[]): Promise<Accepted[]> {
  await using place = await Place.make(name);
  await others.populate(WARM_UP_JOBS + 2 * ACCEPTED_JOBS + ONE_BY_ONE_JOBS, HOUR_MS);
  await using service = await LeaveService.start(others, place, { binary });
  let next = 0;
  const accept = async (route: string, count: number, atOnce: number): Promise<Accepted> => {
    const bodies = Array.from({ length: count }, () => requestOf(next++, HOUR_MS));
    const before = service.cpuSeconds();
    const load = await post(new URL(route, service.url), bodies, atOnce);
    const cpuUs = (service.cpuSeconds() - before) / count * 1e6;
    wrongAnswers += load.wrong;
    return { ...load, route, atOnce, perSecond: count / load.seconds, cpuUs };
  };
  await accept("/delegate_delayed_leave", WARM_UP_JOBS, AT_ONCE);
  if (Number.isNaN(healthzCpuUs)) healthzCpuUs = await measureHealthz(service);
  const rows = [
    await accept("/delegate_delayed_leave", ACCEPTED_JOBS, AT_ONCE),
    await accept("/get_token", ACCEPTED_JOBS, AT_ONCE),
    await accept("/delegate_delayed_leave", ONE_BY_ONE_JOBS, 1),
  ];
  await service.stop();
  note(service, complaints);
  return rows;
}

/** A start with many stored jobs: how long it takes, and what each costs in memory. */
async function measureLoad(
  name: StoreName,
  complaints: string[],
): Promise<Pick<StoreReport, "storedPerSecond" | "loaded" | "heap">> {
  await using place = await Place.make(name);
  const storedPerSecond = await seed(place, STORED_JOBS, HOUR_MS);
  const loaded = await measureStart(place, complaints).catch((error: unknown) => {
    if (!(error instanceof ServiceEnded)) throw error;
    complaints.push(error.message);
    deaths++;
    return null;
  });
  if (binary !== null) return { storedPerSecond, loaded, heap: null };

  const many = await heapBytes(name, HEAP_JOBS.many);
  const few = await heapBytes(name, HEAP_JOBS.few);
  const bytesPerJob = (many - few) / (HEAP_JOBS.many - HEAP_JOBS.few);
  return { storedPerSecond, loaded, heap: { jobs: HEAP_JOBS.many, mib: many / 2 ** 20, bytesPerJob } };
}

async function measureStart(place: Place, complaints: string[]): Promise<Loaded> {
  await others.populate(STORED_JOBS, HOUR_MS);
  await using service = await LeaveService.start(others, place, { binary });
  const atWorkMs = await untilAtWork(service, STORED_JOBS);
  const rssMiB = service.rssMiB();
  const stopMs = await service.stop();
  note(service, complaints);
  return { jobs: STORED_JOBS, startMs: service.startMs, atWorkMs, rssMiB, stopMs };
}

async function heapBytes(name: StoreName, jobs: number): Promise<number> {
  await using place = await seeded(name, jobs, HOUR_MS);
  await others.populate(jobs, HOUR_MS);
  await using service = await LeaveService.start(others, place, { binary, inspects: true });
  await untilAtWork(service, jobs);
  const bytes = await service.heapBytes();
  await service.stop();
  return bytes;
}

/** @returns ms since the process began. */
async function untilAtWork(service: LeaveService, jobs: number): Promise<number> {
  const rooms = Math.ceil(jobs / PEOPLE_PER_ROOM);
  while ((await service.counted()).roomsListed < rooms) {
    service.assertRuns();
    if (performance.now() - service.startedAt > LOAD_TIMEOUT_MS) throw new Error("The stored jobs are not taken up");
    await sleep(20);
  }
  return performance.now() - service.startedAt;
}

/** Both stores and both delays at once: there is time for that, and to spare. */
async function measureSteadyStates(): Promise<void> {
  await using places = new AsyncDisposableStack();
  const runs: (() => Promise<void>)[] = [];
  for (const [name, report] of reports) {
    for (const [index, plan] of STEADY.entries()) {
      const place = places.use(await seeded(name, plan.jobs, plan.delayMs));
      runs.push(async () => {
        report.steady[index] = await measureSteady(place, plan, report.complaints);
      });
    }
  }
  await others.populate(Math.max(...STEADY.map(({ jobs }) => jobs)), Math.min(...STEADY.map(({ delayMs }) => delayMs)));
  await Promise.all(runs.map((run) => run()));
}

async function seeded(name: StoreName, jobs: number, delayMs: number): Promise<Place> {
  const place = await Place.make(name);
  await seed(place, jobs, delayMs);
  return place;
}

/** Everybody is connected, and homeservers and SFU know them. */
async function measureSteady(
  place: Place,
  { jobs, delayMs, warmUpMs, windowMs }: typeof MOST,
  complaints: string[],
): Promise<Steady> {
  await using service = await LeaveService.start(others, place, { binary });
  await sleep(warmUpMs);
  const before = { ...await service.counted(), cpu: service.cpuSeconds(), at: performance.now() };
  await sleep(windowMs);
  service.assertRuns();
  const after = { ...await service.counted(), cpu: service.cpuSeconds(), at: performance.now() };
  const seconds = (after.at - before.at) / 1000;
  const steady = {
    ...{ jobs, delayMs, seconds },
    restartsPerSecond: (after.restarts - before.restarts) / seconds,
    latePerSecond: (after.late - before.late) / seconds,
    cpu: (after.cpu - before.cpu) / seconds,
    rssMiB: service.rssMiB(),
  };
  await service.stop();
  note(service, complaints);
  return steady;
}

async function measureHealthz(service: LeaveService): Promise<number> {
  const count = 20_000;
  const url = new URL("/healthz", service.url);
  await get(url, count / 2, AT_ONCE);
  const before = service.cpuSeconds();
  await get(url, count, AT_ONCE);
  return (service.cpuSeconds() - before) / count * 1e6;
}

/** A write of 4 KiB that waits for the disk, where the stores are: the median. */
async function fsyncMs(): Promise<number> {
  const path = await Deno.makeTempFile({ prefix: "lk-jwt-bench-" });
  using file = await Deno.open(path, { write: true });
  const times: number[] = [];
  for (let n = 0; n < 51; n++) {
    const startedAt = performance.now();
    await file.write(new Uint8Array(4096));
    await file.sync();
    times.push(performance.now() - startedAt);
  }
  await Deno.remove(path);
  return times.sort((left, right) => left - right)[25] ?? NaN;
}

/** Each message once, whoever it is about. */
function note(service: LeaveService, complaints: string[]): void {
  for (const line of service.complaints) {
    const [message = ""] = line.replace(/^\S+ /, "").split(/ \w+=/, 1);
    if (!complaints.includes(message)) complaints.push(message);
  }
}

async function commit(): Promise<string> {
  const { stdout } = await new Deno.Command("git", { args: ["rev-parse", "--short", "HEAD"] }).output();
  return new TextDecoder().decode(stdout).trim();
}
