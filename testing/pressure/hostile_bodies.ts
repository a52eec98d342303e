// Clients whose requests' bodies are slow, huge, of no declared length, or all of that, on every route.

import { connectionsTo } from "./raw_connections.ts";
import { lonelySettings } from "./settings.ts";
import { inLoops, type Pressure } from "./pressure.ts";

// Each connection may hold 300 KiB in the server underneath: how many there are is the business of the proxy.
const LOOPS_PER_KIND = 40;
const HOLD_MS = 8000;
const KIB = 1024;

// The head of a request, and how its body comes: pieces of so many bytes, with a pause after each.
interface Way {
  readonly path: string;
  readonly length: string;
  readonly piece: (bytes: number) => string;
  readonly bytes: number;
  readonly totalBytes: number;
  readonly pauseMs: number;
}

const plain = (bytes: number) => " ".repeat(bytes);
const chunk = (bytes: number) => `${bytes.toString(16)}\r\n${plain(bytes)}\r\n`;
const CHUNKED = "transfer-encoding: chunked";

const WAYS: readonly Way[] = [
  {
    path: "/sfu/get",
    length: "content-length: 65536",
    piece: plain,
    bytes: 32 * KIB,
    totalBytes: 65_535,
    pauseMs: 100,
  },
  { path: "/sfu/get", length: "content-length: 8192", piece: plain, bytes: 8191, totalBytes: 8191, pauseMs: 100 },
  { path: "/get_token", length: CHUNKED, piece: chunk, bytes: 16 * KIB, totalBytes: 64 * KIB, pauseMs: 100 },
  { path: "/get_token", length: CHUNKED, piece: chunk, bytes: 1, totalBytes: 64 * KIB, pauseMs: 1 },
  { path: "/get_token", length: CHUNKED, piece: chunk, bytes: 256 * KIB, totalBytes: 64 * KIB * KIB, pauseMs: 0 },
  { path: "/delegate_delayed_leave", length: CHUNKED, piece: chunk, bytes: 63 * KIB, totalBytes: 63 * KIB, pauseMs: 0 },
  { path: "/sfu_webhook", length: CHUNKED, piece: chunk, bytes: 64 * KIB, totalBytes: 64 * KIB, pauseMs: 100 },
  {
    path: "/sfu_webhook",
    length: "content-length: 1048576",
    piece: plain,
    bytes: 64 * KIB,
    totalBytes: 1023 * KIB,
    pauseMs: 1,
  },
];

/** Bodies at their worst. */
export const hostileBodies: Pressure = {
  what: "bodies that are slow, huge and of no declared length",
  prepare(parts) {
    return Promise.resolve({
      variables: lonelySettings(),
      async press(url, over) {
        const connect = connectionsTo(url, parts);
        const times = await inLoops(LOOPS_PER_KIND * WAYS.length, over, async (loop) => {
          const way = WAYS[loop % WAYS.length];
          if (way === undefined) return;
          const connection = await connect();
          connection.write(`POST ${way.path} HTTP/1.1\r\nhost: x\r\n${way.length}\r\n\r\n`);
          for (let sent = 0; sent < way.totalBytes && !connection.isOver && !over.aborted; sent += way.bytes) {
            await connection.write(way.piece(way.bytes));
            if (way.pauseMs > 0) await connection.pause(way.pauseMs);
          }
          await connection.pause(HOLD_MS, over);
          connection.close();
        });
        return `${times} bodies of ${WAYS.length} kinds`;
      },
    });
  },
};
