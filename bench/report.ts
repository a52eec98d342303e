// What a benchmark found: shown as a table, kept as JSON, compared with the latest one kept.

import * as v from "valibot";

const Spread = v.object({ min: v.number(), median: v.number(), max: v.number() });
const Row = v.object({
  cpuUs: Spread,
  bareCpuUs: Spread,
  timesBare: Spread,
  perSecond: Spread,
  p50Us: Spread,
  p99Us: Spread,
});
const Report = v.object({
  date: v.string(),
  commit: v.string(),
  command: v.string(),
  subject: v.string(),
  loadAverage: v.number(),
  rows: v.record(v.string(), Row),
  oneAtATimeP50Ms: v.object({ service: v.number(), bare: v.number() }),
  fiftyMsAwayP50Ms: v.object({ service: v.number(), bare: v.number(), besideHanging: v.number() }),
  startMs: v.number(),
  idleRssMiB: v.number(),
  soak: v.nullable(
    v.object({ exchanges: v.number(), rssMiB: v.array(v.number()), connectionsPerExchange: v.number() }),
  ),
  wrongAnswers: v.number(),
});

/** Smallest, middle and largest of the runs. */
export type Spread = v.InferOutput<typeof Spread>;
/** One kind of request; `timesBare` is the service's CPU by that of the bare handler, run by run. */
export type Row = v.InferOutput<typeof Row>;
/** One benchmark. */
export type Report = v.InferOutput<typeof Report>;

const RESULTS = new URL("./results/", import.meta.url);
const YARDSTICK = "/healthz";
/** A ratio may be so much above the one kept. */
const TOLERANCE = 1.1;

/** Of an odd number of runs. */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((left, right) => left - right);
  const at = (index: number) => Math.round((sorted[index] ?? NaN) * 100) / 100;
  return { min: at(0), median: at(Math.floor(sorted.length / 2)), max: at(sorted.length - 1) };
}

/** Prints a report beside an earlier one. */
export function show(report: Report, before: Report | null): void {
  const { soak, fiftyMsAwayP50Ms: far, oneAtATimeP50Ms: alone } = report;
  console.log(
    `\n${report.subject}, commit ${report.commit}, load average ${report.loadAverage.toFixed(1)}; ` +
      `CPU per request, median of the runs (min to max)\n`,
  );
  console.log(
    "| | CPU µs | bare | × bare | kept | × /healthz | per s | p50 ms | p99 ms |\n|---|---|---|---|---|---|---|---|---|",
  );
  for (const [name, row] of Object.entries(report.rows)) {
    const cells = [
      name,
      range(row.cpuUs, 0),
      row.bareCpuUs.median.toFixed(0),
      range(row.timesBare, 2),
      before?.rows[name]?.timesBare.median.toFixed(2) ?? "",
      timesHealthz(report, row).toFixed(1),
      row.perSecond.median.toFixed(0),
      (row.p50Us.median / 1000).toFixed(1),
      (row.p99Us.median / 1000).toFixed(1),
    ];
    console.log(`| ${cells.join(" | ")} |`);
  }
  console.log(`
one at a time, p50             ${alone.service.toFixed(2)} ms (bare ${alone.bare.toFixed(2)})
50 ms away, 250 at a time, p50 ${far.service.toFixed(1)} ms (bare ${
    far.bare.toFixed(1)
  }); beside 500 hanging look-ups ${far.besideHanging.toFixed(1)} ms
start to first 200             ${report.startMs} ms
memory                         ${report.idleRssMiB} MiB idle${
    soak === null ? "" : `; over ${soak.exchanges} exchanges ${soak.rssMiB.join(", ")} MiB
connections per exchange       ${soak.connectionsPerExchange.toFixed(4)}`
  }
wrong answers                  ${report.wrongAnswers}
`);
}

/** What a report has that is more than a tenth worse than an earlier one, a line each. */
export function worse(report: Report, before: Report): string[] {
  return Object.entries(report.rows).flatMap(([name, row]) => {
    const now = row.timesBare.median;
    const then = before.rows[name]?.timesBare.median ?? Infinity;
    return now > then * TOLERANCE ? [`${name}: ${now} × bare, was ${then} ×`] : [];
  });
}

/** Keeps a report. */
export async function save(report: Report): Promise<void> {
  await Deno.mkdir(RESULTS, { recursive: true });
  const name = `${report.date.slice(0, 10)}-${report.commit}.json`;
  await Deno.writeTextFile(new URL(name, RESULTS), `${JSON.stringify(report, null, 2)}\n`);
}

/** The latest report kept; null when there is none of this form. */
export async function kept(): Promise<Report | null> {
  const names = await Array.fromAsync(Deno.readDir(RESULTS), ({ name }) => name).catch(() => []);
  const reports = await Promise.all(
    names.filter((name) => name.endsWith(".json"))
      .map(async (name) => v.safeParse(Report, JSON.parse(await Deno.readTextFile(new URL(name, RESULTS))))),
  );
  const valid = reports.flatMap(({ success, output }) => success ? [output] : []);
  return valid.sort((left, right) => left.date < right.date ? 1 : -1)[0] ?? null;
}

function timesHealthz(report: Report, row: Row): number {
  return row.cpuUs.median / (report.rows[YARDSTICK]?.cpuUs.median ?? NaN);
}

function range({ min, median, max }: Spread, digits: number): string {
  return `${median.toFixed(digits)} (${min.toFixed(digits)} to ${max.toFixed(digits)})`;
}
