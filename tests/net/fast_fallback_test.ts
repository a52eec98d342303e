// A name with a dead first address and a living second one: the second is reached long before the deadline.

import assert from "node:assert/strict";
import { ListeningServer } from "../../testing/listening_server.ts";
import { openClient, request, serveHttp, serveHttps } from "../../testing/loopback.ts";
import { SwallowingHost } from "./swallowing_host.ts";

const DEADLINE_MS = 3000;
const ALIVE = "127.0.0.1";
const SWALLOWING = "127.0.0.2";
const REFUSING = "127.0.0.3";

function serve(secure: boolean, port?: number): Promise<ListeningServer> {
  return secure
    ? serveHttps({ dnsNames: ["server.example"] }, (_, res) => res.end("{}"), ALIVE, port)
    : serveHttp((_, res) => res.end("{}"), ALIVE, port);
}

/** Sends a request to a name with these addresses; the living one must answer. Gives the time it took, in ms. */
async function reach(addresses: string[], port: number, secure: boolean): Promise<number> {
  using client = openClient({ resolveHost: () => Promise.resolve(addresses) });
  const startedAt = performance.now();
  const signal = AbortSignal.timeout(DEADLINE_MS);
  const response = await client.send(request(port, { secure, signal }));
  assert.equal(response.status, 200);
  assert.equal(response.address, ALIVE);
  return performance.now() - startedAt;
}

for (const secure of [true, false]) {
  const scheme = secure ? "HTTPS" : "HTTP";

  Deno.test(`an address that swallows connections does not hold up the next one (${scheme})`, async () => {
    await using dead = await SwallowingHost.open(SWALLOWING);
    await using _alive = await serve(secure, dead.port);
    assert.ok(await reach([SWALLOWING, ALIVE], dead.port, secure) < DEADLINE_MS / 2);
  });

  Deno.test(`an address that refuses connections is passed over (${scheme})`, async () => {
    await using alive = await serve(secure);
    assert.ok(await reach([REFUSING, ALIVE], alive.port, secure) < DEADLINE_MS / 2);
  });

  Deno.test(`an address of a family that goes nowhere is passed over (${scheme})`, async () => {
    await using alive = await serve(secure);
    assert.ok(await reach(["::1", ALIVE], alive.port, secure) < DEADLINE_MS / 2);
  });

  Deno.test(`a host that only swallows connections ends by the connect time-out (${scheme})`, async () => {
    await using dead = await SwallowingHost.open(SWALLOWING);
    using client = openClient({ resolveHost: () => Promise.resolve([SWALLOWING]) });
    const sent = client.send(request(dead.port, { secure, connectTimeoutMs: 200 }));
    await assert.rejects(sent, {
      failure: "connect",
      message: `No connection to server.example:${dead.port} within 200 ms`,
    });
  });
}
