// Clients that open connections and say nothing, half a head, or a request and nothing more.

import { connectionsTo } from "./raw_connections.ts";
import { lonelySettings } from "./settings.ts";
import { inLoops, type Pressure } from "./pressure.ts";

const CONNECTIONS = 4000;

const BEGINNINGS: readonly string[] = [
  "",
  "POST /sfu/get HTTP/1.1\r\nhost: x\r\n",
  `POST /sfu/get HTTP/1.1\r\nhost: x\r\nx: ${"a".repeat(32 * 1024)}`,
  "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
  "OPTIONS /sfu/get HTTP/1.1\r\nhost: x\r\n\r\n",
  // HTTP/2 in cleartext: a preface, and settings.
  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

/** Idle and half-open connections. */
export const hostileConnections: Pressure = {
  what: `${CONNECTIONS} connections that are idle or half open`,
  prepare(parts) {
    return Promise.resolve({
      variables: lonelySettings(),
      async press(url, over) {
        const connect = connectionsTo(url, parts);
        const times = await inLoops(CONNECTIONS, over, async (loop) => {
          const connection = await connect();
          await connection.write(BEGINNINGS[loop % BEGINNINGS.length] ?? "");
          await connection.untilOver(over);
          connection.close();
        });
        return `${times} connections of ${BEGINNINGS.length} kinds`;
      },
    });
  },
};
