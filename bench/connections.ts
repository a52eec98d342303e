// Idle and half-headed connections by the thousand against the real process: does /healthz still answer within a second,
// and what do they cost? Usage: deno run -A bench/connections.ts [how many, by default 10000]

const ROOT = new URL("../", import.meta.url);
const DEFAULT_COUNT = 10_000;
const SPARE_DESCRIPTORS = 200;
const MAX_ANSWER_MS = 1000;
const PROBES = 10;
const HALF_A_HEAD = new TextEncoder().encode("POST /sfu/get HTTP/1.1\r\nHost: x\r\nContent-Le");

const wanted = Number(Deno.args[0] ?? DEFAULT_COUNT);
const limit = await descriptorLimit();
const count = Math.min(wanted, limit - SPARE_DESCRIPTORS);
if (count < wanted) console.log(`ulimit -n is ${limit}: ${count} connections instead of ${wanted}`);

const child = new Deno.Command(Deno.execPath(), {
  args: ["run", "-P=service", "--no-prompt", "main.ts"],
  cwd: ROOT,
  env: {
    LIVEKIT_URL: "wss://sfu.example.com",
    LIVEKIT_KEY: "devkey",
    LIVEKIT_SECRET: "a secret of at least 32 characters",
    LIVEKIT_FULL_ACCESS_HOMESERVERS: "example.com",
    LIVEKIT_JWT_BIND: "127.0.0.1:0",
  },
  stderr: "piped",
  stdout: "null",
}).spawn();
const connections: Deno.TcpConn[] = [];
let isFast = true;
try {
  const port = await portOf(child.stderr);
  await report(port);
  for (let index = 0; index < count; index++) {
    const connection = await Deno.connect({ hostname: "127.0.0.1", port });
    connections.push(connection);
    if (index % 2 === 0) await connection.write(HALF_A_HEAD);
  }
  isFast = await report(port) <= MAX_ANSWER_MS;
} finally {
  child.kill("SIGKILL");
  for (const connection of connections) connection.close();
  await child.status;
}
Deno.exit(isFast ? 0 : 1);

/** Prints how /healthz fares, and gives the slowest answer in ms. */
async function report(port: number): Promise<number> {
  let slowestMs = 0;
  for (let probe = 0; probe < PROBES; probe++) {
    const startedAt = performance.now();
    // A client of its own: each probe opens a connection.
    using client = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
    const response = await fetch(`http://127.0.0.1:${port}/healthz`, { client });
    await response.body?.cancel();
    if (response.status !== 200) throw new Error(`/healthz answered ${response.status}, expected 200`);
    slowestMs = Math.max(slowestMs, performance.now() - startedAt);
  }
  const memory = /VmRSS:\s+(\d+)/.exec(await Deno.readTextFile(`/proc/${child.pid}/status`))?.[1] ?? "0";
  const rssMiB = Math.round(Number(memory) / 1024);
  console.log(`${connections.length} connections: /healthz within ${slowestMs.toFixed(1)} ms, ${rssMiB} MiB resident`);
  return slowestMs;
}

async function portOf(log: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<number> {
  let text = "";
  for await (const chunk of log.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const port = /Listening on \S+:(\d+)\n/.exec(text)?.[1];
    if (port !== undefined) return Number(port);
  }
  throw new Error(`The service did not start:\n${text}`);
}

async function descriptorLimit(): Promise<number> {
  const limits = await Deno.readTextFile("/proc/self/limits");
  return Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? 1024);
}
