// What a benchmark found: shown as a table, kept as JSON, compared with the latest one kept.

/** Smallest, middle and largest of the runs. */
export interface Spread {
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

/** One benchmark. */
export interface Report {
  readonly date: string;
  readonly commit: string;
  readonly command: string;
  readonly subject: string;
  readonly rows: Readonly<
    Record<string, {
      readonly cpuUs: Spread;
      readonly timesHealthz: Spread;
      readonly perSecond: Spread;
      readonly p50Us: Spread;
      readonly p99Us: Spread;
    }>
  >;
  readonly oneAtATimeP50Us: number;
  readonly fiftyMsAway: { readonly p50Ms: number; readonly besideHangingP50Ms: number };
  readonly startMs: number;
  readonly idleRssMiB: number;
  readonly soak: {
    readonly exchanges: number;
    readonly rssMiB: readonly number[];
    readonly connectionsPerExchange: number;
  };
  readonly wrongAnswers: number;
}

const RESULTS = new URL("./results/", import.meta.url);

/** Of an odd number of runs. */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((left, right) => left - right);
  const at = (index: number) => Math.round((sorted[index] ?? NaN) * 100) / 100;
  return { min: at(0), median: at(Math.floor(sorted.length / 2)), max: at(sorted.length - 1) };
}

/** Prints a report beside the latest one kept. */
export async function compare(report: Report): Promise<void> {
  const before = await latest();
  console.log(`\n${report.subject}, commit ${report.commit}; CPU per exchange, median of the runs (min to max)\n`);
  for (const [name, row] of Object.entries(report.rows)) {
    const { min, median, max } = row.cpuUs;
    const old = before?.rows[name]?.timesHealthz.median;
    const change = old === undefined ? "" : `, was ${old.toFixed(1)} ×`;
    console.log(
      `${name.padEnd(30)} ${median.toFixed(0).padStart(5)} µs (${min.toFixed(0)} to ${max.toFixed(0)})` +
        `  ${row.timesHealthz.median.toFixed(1).padStart(5)} × /healthz${change}` +
        `  ${row.perSecond.median.toFixed(0)}/s, p50 ${ms(row.p50Us)} ms, p99 ${ms(row.p99Us)} ms`,
    );
  }
  const { soak, fiftyMsAway } = report;
  console.log(`
one at a time                  p50 ${(report.oneAtATimeP50Us / 1000).toFixed(2)} ms
50 ms away, 250 at a time      p50 ${fiftyMsAway.p50Ms.toFixed(1)} ms; beside 500 hanging look-ups ${
    fiftyMsAway.besideHangingP50Ms.toFixed(1)
  } ms
start to first 200             ${report.startMs} ms
memory                         ${report.idleRssMiB} MiB idle; over ${soak.exchanges} exchanges ${
    soak.rssMiB.join(", ")
  } MiB
connections per exchange       ${soak.connectionsPerExchange.toFixed(4)}
wrong answers                  ${report.wrongAnswers}
`);
}

/** Keeps a report. */
export async function save(report: Report): Promise<void> {
  await Deno.mkdir(RESULTS, { recursive: true });
  const name = `${report.date.slice(0, 10)}-${report.commit}.json`;
  await Deno.writeTextFile(new URL(name, RESULTS), `${JSON.stringify(report, null, 2)}\n`);
}

async function latest(): Promise<Report | null> {
  const names = await Array.fromAsync(Deno.readDir(RESULTS), ({ name }) => name).catch(() => []);
  const newest = names.filter((name) => name.endsWith(".json")).sort().at(-1);
  return newest === undefined ? null : JSON.parse(await Deno.readTextFile(new URL(newest, RESULTS)));
}

function ms({ median }: Spread): string {
  return (median / 1000).toFixed(1);
}
