// `deno task bench`: what an exchange costs. Each row runs five times against the service and against a bare handler in
// turn (bare_handler.ts), so that the ratio of the two travels between machines and times of day; CPU is that of the
// process alone. Any wrong answer makes it exit with 1. `--save` keeps the result in bench/results/; `--check` exits with
// 1 when a ratio is more than a tenth above the one kept. `--quick` makes one short run of each row.
//
// Needs wrk and taskset (Debian: wrk, util-linux). `--binary PATH` measures an executable instead of the source.

import { parseArgs } from "node:util";
import { kept, type Report, type Row, save, show, spreadOf, worse } from "./report.ts";
import { type Load, Rig, type Subject } from "./rig.ts";

const AT_ONCE = 64;
const FAR_AWAY_MS = 50;
const FAR_AT_ONCE = 250;
const BODIES = 60_000;
const SOAK_EXCHANGES = 50_000;

const { values: options } = parseArgs({
  args: Deno.args,
  options: {
    save: { type: "boolean", default: false },
    check: { type: "boolean", default: false },
    quick: { type: "boolean", default: false },
    binary: { type: "string" },
  },
});
const runs = options.quick ? 1 : 5;
const seconds = options.quick ? 2 : 3;
const warmUpRequests = options.quick ? 5000 : 15_000;

let serial = 0;
let wrongAnswers = 0;

await using rig = await Rig.start(options.binary ?? null);
const { service, bare } = rig;
const idleRssMiB = service.rssMiB();
const { local, federated, hanging } = rig.fakes;

// Warm-up: V8 takes some ten thousand requests until it has compiled what matters.
for (const subject of [service, bare]) {
  for (const warm of [() => bodies(local, "room"), () => bodies(local, null, 1)]) {
    for (let done = 0; done < warmUpRequests;) done += (await load(subject, warm(), AT_ONCE, seconds)).requests;
  }
}
const rows: Record<string, Row> = {
  "full access, distinct rooms": await measure(() => bodies(local, "room")),
  "join storm, one room": await measure(() => bodies(local, null)),
  "restricted": await measure(() => bodies(federated, null)),
  "repeated token": await measure(() => bodies(local, null, 1)),
  "/healthz": await measure(() => null),
};
const oneAtATime = await both((subject) => load(subject, bodies(local, "room"), 1, seconds));

await rig.control(FAR_AWAY_MS);
const far = await both((subject) => load(subject, bodies(local, null), FAR_AT_ONCE, 2 * seconds));
const besideHanging = await withHanging(500, () => load(service, bodies(local, null), FAR_AT_ONCE, 2 * seconds));
await rig.control(0);

const report: Report = {
  date: new Date().toISOString(),
  commit: await git("rev-parse", "--short", "HEAD"),
  command: `deno task bench ${Deno.args.join(" ")}`.trim(),
  subject: options.binary === undefined ? `source, Deno ${Deno.version.deno}` : "executable",
  loadAverage: Deno.loadavg()[0] ?? 0,
  rows,
  oneAtATimeP50Ms: { service: oneAtATime.service.p50Us / 1000, bare: oneAtATime.bare.p50Us / 1000 },
  fiftyMsAwayP50Ms: {
    service: far.service.p50Us / 1000,
    bare: far.bare.p50Us / 1000,
    besideHanging: besideHanging.p50Us / 1000,
  },
  startMs: Math.round(service.startMs),
  idleRssMiB: Math.round(idleRssMiB),
  soak: options.quick ? null : await soakTest(),
  wrongAnswers,
};
const before = await kept();
show(report, before);
if (options.save) await save(report);
if (wrongAnswers > 0) {
  console.error(`${wrongAnswers} wrong answers`);
  Deno.exitCode = 1;
}
if (options.check) {
  for (const line of before === null ? ["No result is kept to check against"] : worse(report, before)) {
    console.error(line);
    Deno.exitCode = 1;
  }
}

/** Runs a row against both, in turn, each time with tokens never seen before. */
async function measure(make: () => string[] | null): Promise<Row> {
  const results: { service: Load & { cpuUs: number }; bare: Load & { cpuUs: number } }[] = [];
  for (let run = 0; run < runs; run++) results.push(await both((subject) => load(subject, make(), AT_ONCE, seconds)));
  const ofService = results.map((result) => result.service);
  return {
    cpuUs: spreadOf(ofService.map(({ cpuUs }) => cpuUs)),
    bareCpuUs: spreadOf(results.map(({ bare }) => bare.cpuUs)),
    timesBare: spreadOf(results.map(({ service, bare }) => service.cpuUs / bare.cpuUs)),
    perSecond: spreadOf(ofService.map(({ requests, durationUs }) => requests / durationUs * 1e6)),
    p50Us: spreadOf(ofService.map(({ p50Us }) => p50Us)),
    p99Us: spreadOf(ofService.map(({ p99Us }) => p99Us)),
  };
}

async function both<T>(run: (subject: Subject) => Promise<T>): Promise<{ service: T; bare: T }> {
  return { service: await run(service), bare: await run(bare) };
}

async function load(subject: Subject, sent: string[] | null, connections: number, forSeconds: number) {
  const result = await rig.load(subject, sent, connections, forSeconds);
  wrongAnswers += result.wrong + result.errors;
  return result;
}

/** Memory and connections over 50,000 exchanges. */
async function soakTest() {
  const before = await rig.control(0);
  const samples: number[] = [];
  let done = 0;
  while (done < SOAK_EXCHANGES) {
    done += (await load(service, bodies(local, "room"), AT_ONCE, 2)).requests;
    samples.push(service.rssMiB());
  }
  const after = await rig.control(0);
  const opened = after.homeserverConnections + after.sfuConnections - before.homeserverConnections -
    before.sfuConnections;
  return { exchanges: done, rssMiB: samples.map(Math.round), connectionsPerExchange: opened / done };
}

/** Runs a load while look-ups at another homeserver hang. */
async function withHanging(count: number, run: () => Promise<Load>): Promise<Load> {
  const abort = new AbortController();
  const hung = bodies(hanging, null, count).map((body) =>
    fetch(`${service.url}/sfu/get`, { method: "POST", body, signal: abort.signal }).catch(() => null)
  );
  const result = await run();
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

async function git(...args: string[]): Promise<string> {
  const { stdout } = await new Deno.Command("git", { args }).output();
  return new TextDecoder().decode(stdout).trim();
}
