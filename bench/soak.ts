// `deno run -A bench/soak.ts [--minutes 10] [--binary PATH]`: the service under mixed traffic and faults for a while.
// Memory must be flat over the last half (of 5 minutes or more), no socket may be left when it is quiet again, and the
// exchanges at the end may not be slower than before. Prints a line per half minute and the verdict; exits with 1 when
// one of the three is broken, or an answer was wrong.

import { parseArgs } from "node:util";
import { setTimeout as sleep } from "node:timers/promises";
import { Homeservers } from "../testing/fake_homeservers.ts";
import { Chaos } from "../testing/chaos.ts";
import { Soaked } from "./soak_service.ts";
import { SoakTraffic } from "./soak_traffic.ts";

const SAMPLE_MS = 5000;
const SHOW_EVERY = 6;
// Longer than the service keeps an idle connection to a homeserver, and than a hanging exchange may take.
const QUIET_MS = 40_000;

const MAX_GROWTH_MIB = 8;
// Before that the caches still fill, and memory says nothing.
const MIN_MINUTES_FOR_MEMORY = 5;
const MAX_LEFT_SOCKETS = 5;
const MAX_TIMES_SLOWER = 1.5;
const NOISE_MS = 5;

interface Sample {
  readonly atMinutes: number;
  readonly rssMiB: number;
  readonly sockets: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const { values: options } = parseArgs({
  args: Deno.args,
  options: { minutes: { type: "string", default: "10" }, binary: { type: "string" } },
});
const minutes = Number(options.minutes);
if (!(minutes > 0)) throw new Error(`Cannot soak for "${options.minutes}" minutes: expected a number above 0`);

await using chaos = await Chaos.start();
await using delayedEvents = await Homeservers.start(1);
const { LIVEKIT_CS_API_URL_OVERRIDES: leadsThere = "" } = delayedEvents.variables("soak");
const overrides = leadsThere.replace(/^[^=]+/, chaos.homeserver.serverName);
await using service = await Soaked.start(chaos, overrides, options.binary ?? null);
const traffic = new SoakTraffic(service.url, chaos, delayedEvents);
const socketsBefore = service.sockets();
const samples: Sample[] = [];
const startedAt = performance.now();
traffic.start();
while (performance.now() - startedAt < minutes * 60_000) {
  await sleep(SAMPLE_MS);
  const { p50Ms, p99Ms } = traffic.takeLatencies();
  const atMinutes = (performance.now() - startedAt) / 60_000;
  const sample = { atMinutes, rssMiB: service.rssMiB(), sockets: service.sockets(), p50Ms, p99Ms };
  samples.push(sample);
  if (samples.length % SHOW_EVERY === 0) show(sample);
}
await traffic.stop();
await sleep(QUIET_MS);

const half = samples.slice(Math.floor(samples.length / 2));
const growthMiB = slope(half.map(({ atMinutes, rssMiB }) => [atMinutes, rssMiB])) * minutes / 2;
const left = service.sockets() - socketsBefore;
const quarter = Math.floor(samples.length / 4);
const before = median(samples.slice(quarter, 2 * quarter).map(({ p50Ms }) => p50Ms));
const after = median(samples.slice(-quarter).map(({ p50Ms }) => p50Ms));
const isSlower = after > before * MAX_TIMES_SLOWER + NOISE_MS;

console.log(`
${traffic.describe()}
memory over the last half      ${growthMiB.toFixed(2)} MiB (${(growthMiB / (minutes / 2)).toFixed(2)} MiB a minute), ${
  service.rssMiB().toFixed(0)
} MiB when quiet
sockets left when quiet        ${left} (${socketsBefore} before)
exchanges, median              ${before.toFixed(1)} ms in the second quarter, ${after.toFixed(1)} ms in the last`);
const isGrowing = minutes >= MIN_MINUTES_FOR_MEMORY && growthMiB > MAX_GROWTH_MIB;
if (isGrowing || left > MAX_LEFT_SOCKETS || isSlower || traffic.wrong > 0) Deno.exitCode = 1;

function show({ atMinutes, rssMiB, sockets, p50Ms, p99Ms }: Sample): void {
  console.log(
    `${atMinutes.toFixed(1).padStart(5)} min  ${rssMiB.toFixed(0)} MiB  ${sockets} sockets  p50 ${
      p50Ms.toFixed(1)
    } ms  p99 ${p99Ms.toFixed(1)} ms`,
  );
}

/** Of the straight line with the least squares through the points. */
function slope(points: readonly (readonly [x: number, y: number])[]): number {
  const mean = (index: 0 | 1) => points.reduce((sum, point) => sum + point[index], 0) / points.length;
  const [meanX, meanY] = [mean(0), mean(1)];
  const covariance = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0);
  return covariance / points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
}

function median(values: readonly number[]): number {
  return values.toSorted((left, right) => left - right)[Math.floor(values.length / 2)] ?? 0;
}
