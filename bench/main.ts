// `deno task bench`: what an exchange costs. Each row runs three times; CPU is that of the service alone, and is also
// given as a multiple of our own /healthz in the same run, which travels between machines. Any wrong answer makes it
// exit with 1. `--save` writes the result to bench/results/, beside the earlier ones; without it the result is only
// compared with the latest saved one.
//
// Needs wrk and taskset (Debian: wrk, util-linux). `--binary PATH` measures an executable instead of the source.

import { parseArgs } from "node:util";
import { compare, type Report, save, type Spread, spreadOf } from "./report.ts";
import { type Load, Rig } from "./rig.ts";

const RUNS = 3;
const SECONDS = 4;
const WARM_UP_SECONDS = 8;
const AT_ONCE = 64;
const BODIES = 60_000;
const SOAK_EXCHANGES = 50_000;

const { values: options } = parseArgs({
  args: Deno.args,
  options: { save: { type: "boolean", default: false }, binary: { type: "string" } },
});

let serial = 0;
let wrongAnswers = 0;

interface Row {
  readonly cpuUs: Spread;
  readonly timesHealthz: Spread;
  readonly perSecond: Spread;
  readonly p50Us: Spread;
  readonly p99Us: Spread;
}

await using rig = await Rig.start(options.binary ?? null);
const idleRssMiB = rig.rssMiB();
const { local, federated, hanging } = rig.fakes;

// Warm-up: V8 takes some ten thousand requests until it has compiled what matters.
for (const warm of [() => bodies(local, "room"), () => bodies(local, null, 1)]) {
  await rig.load(warm(), AT_ONCE, WARM_UP_SECONDS);
}
const healthz = await measure(null);
const rows: Record<string, Row> = { "/healthz": healthz };
rows["full access, distinct rooms"] = await measure(() => bodies(local, "room"));
rows["join storm, one room"] = await measure(() => bodies(local, null));
rows["restricted"] = await measure(() => bodies(federated, null));
rows["repeated token"] = await measure(() => bodies(local, null, 1));
const oneAtATime = await rig.load(bodies(local, "room"), 1, SECONDS);
note(oneAtATime);

await rig.control(50);
const far = await rig.load(bodies(local, null), 250, SECONDS);
note(far);
const besideHanging = await withHanging(500, () => rig.load(bodies(local, null), 250, SECONDS));
note(besideHanging);
await rig.control(0);

const soak = await soakTest();

const report: Report = {
  date: new Date().toISOString(),
  commit: await git("rev-parse", "--short", "HEAD"),
  command: `deno task bench ${Deno.args.join(" ")}`.trim(),
  subject: options.binary === undefined ? `source, Deno ${Deno.version.deno}` : "executable",
  rows,
  oneAtATimeP50Us: oneAtATime.p50Us,
  fiftyMsAway: { p50Ms: far.p50Us / 1000, besideHangingP50Ms: besideHanging.p50Us / 1000 },
  startMs: Math.round(rig.startMs),
  idleRssMiB: Math.round(idleRssMiB),
  soak,
  wrongAnswers,
};
await compare(report);
if (options.save) await save(report);
if (wrongAnswers > 0) {
  console.error(`${wrongAnswers} wrong answers`);
  Deno.exitCode = 1;
}

/** Three runs of a row, each with tokens never seen before. */
async function measure(make: (() => string[]) | null): Promise<Row> {
  const runs: (Load & { cpuUs: number })[] = [];
  for (let run = 0; run < RUNS; run++) {
    const before = rig.cpuUs();
    const load = await rig.load(make?.() ?? null, AT_ONCE, SECONDS);
    note(load);
    runs.push({ ...load, cpuUs: (rig.cpuUs() - before) / load.requests });
  }
  const yardstick = make === null ? undefined : healthz.cpuUs.median;
  const spread = (read: (run: Load & { cpuUs: number }) => number) => spreadOf(runs.map(read));
  const cpuUs = spread((run) => run.cpuUs);
  return {
    cpuUs,
    timesHealthz: spread((run) => run.cpuUs / (yardstick ?? cpuUs.median)),
    perSecond: spread((run) => run.requests / run.durationUs * 1e6),
    p50Us: spread((run) => run.p50Us),
    p99Us: spread((run) => run.p99Us),
  };
}

/** Memory and connections over 50,000 exchanges. */
async function soakTest() {
  const before = await rig.control(0);
  const samples: number[] = [];
  let done = 0;
  while (done < SOAK_EXCHANGES) {
    const load = await rig.load(bodies(local, "room"), AT_ONCE, 2);
    note(load);
    done += load.requests;
    samples.push(rig.rssMiB());
  }
  const after = await rig.control(0);
  const opened = after.homeserverConnections + after.sfuConnections - before.homeserverConnections -
    before.sfuConnections;
  return {
    exchanges: done,
    rssMiB: samples.map(Math.round),
    connectionsPerExchange: opened / done,
  };
}

/** Runs a load while look-ups at another homeserver hang. */
async function withHanging(count: number, load: () => Promise<Load>): Promise<Load> {
  const abort = new AbortController();
  const hung = bodies(hanging, null, count).map((body) =>
    fetch(`${rig.serviceUrl}/sfu/get`, { method: "POST", body, signal: abort.signal }).catch(() => null)
  );
  const result = await load();
  abort.abort();
  await Promise.all(hung);
  return result;
}

function bodies(server: string, room: string | null, count = BODIES): string[] {
  return Array.from({ length: count }, () => {
    const n = serial++;
    return JSON.stringify({
      room: room === null ? "!storm:example.com" : `!${room}-${n}:example.com`,
      openid_token: { access_token: `user-${n}`, token_type: "Bearer", matrix_server_name: server, expires_in: 3600 },
      device_id: "BENCHMARK",
    });
  });
}

function note(load: Load): void {
  wrongAnswers += load.wrong + load.errors;
}

async function git(...args: string[]): Promise<string> {
  const { stdout } = await new Deno.Command("git", { args }).output();
  return new TextDecoder().decode(stdout).trim();
}
