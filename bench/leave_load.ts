// Sends an exact number of requests, so many at once, over connections that stay open, at as little cost as possible: the
// benchmark's own work must not be what limits the service.

/** What came of a load. */
export interface LeaveLoad {
  readonly requests: number;
  readonly seconds: number;
  /** Answers other than 200. */
  readonly wrong: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const HEAD_END = "\r\n\r\n";
const ENCODER = new TextEncoder();
const DECODER = new TextDecoder();

/**
 * Posts each body once.
 *
 * @param url With the path; without bodies left to send each connection ends.
 */
export async function post(url: URL, bodies: readonly string[], connections: number): Promise<LeaveLoad> {
  const requests = bodies.map((body) => {
    const length = ENCODER.encode(body).length;
    return ENCODER.encode(
      `POST ${url.pathname} HTTP/1.1\r\nhost: ${url.host}\r\ncontent-type: application/json\r\n` +
        `content-length: ${length}\r\n\r\n${body}`,
    );
  });
  return await send(url, requests, connections);
}

/** Asks for `/healthz` so many times. */
export async function get(url: URL, count: number, connections: number): Promise<LeaveLoad> {
  const request = ENCODER.encode(`GET ${url.pathname} HTTP/1.1\r\nhost: ${url.host}\r\n\r\n`);
  return await send(url, Array.from({ length: count }, () => request), connections);
}

async function send(url: URL, requests: readonly Uint8Array[], connections: number): Promise<LeaveLoad> {
  const latencies: number[] = [];
  let next = 0;
  let wrong = 0;
  const work = async () => {
    using connection = await Deno.connect({ hostname: url.hostname, port: Number(url.port) });
    const buffer = new Uint8Array(16_384);
    for (let request = requests[next++]; request !== undefined; request = requests[next++]) {
      const sentAt = performance.now();
      await write(connection, request);
      const status = await readStatus(connection, buffer);
      latencies.push(performance.now() - sentAt);
      if (status !== 200) wrong++;
    }
  };
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: Math.min(connections, requests.length) }, work));
  const seconds = (performance.now() - startedAt) / 1000;
  const sorted = Float64Array.from(latencies).sort();
  const at = (share: number) => sorted[Math.min(Math.floor(sorted.length * share), sorted.length - 1)] ?? NaN;
  return { requests: requests.length, seconds, wrong, p50Ms: at(0.5), p99Ms: at(0.99) };
}

async function write(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  let written = await connection.write(bytes);
  while (written < bytes.length) written += await connection.write(bytes.subarray(written));
}

/** Reads one answer to its end. */
async function readStatus(connection: Deno.Conn, buffer: Uint8Array): Promise<number> {
  let filled = 0;
  for (;;) {
    const count = await connection.read(buffer.subarray(filled));
    if (count === null) throw new Error("The service closed a connection in the middle of an answer");
    filled += count;
    const text = DECODER.decode(buffer.subarray(0, filled));
    const headEnd = text.indexOf(HEAD_END);
    if (headEnd < 0) continue;
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(text.slice(0, headEnd))?.[1] ?? 0);
    if (text.length >= headEnd + HEAD_END.length + length) return Number(text.slice(9, 12));
  }
}
