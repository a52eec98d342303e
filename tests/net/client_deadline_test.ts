// The signal of a request ends it wherever it hangs, and takes its connection along.

import assert from "node:assert/strict";
import type net from "node:net";
import type { OutboundRequest } from "../../lib/net/client.ts";
import { countingSignal } from "../../testing/counting_signal.ts";
import { ListeningServer } from "../../testing/listening_server.ts";
import {
  type DisposableClient,
  failureOf,
  openClient,
  outcomeOf,
  request,
  serveBytes,
  serveHttp,
  serveHttps,
  until,
} from "../../testing/loopback.ts";
import { SwallowingHost } from "./swallowing_host.ts";

const DEADLINE_MS = 150;

/** Sends a request that hangs; fails unless the deadline ends it. */
async function assertTimesOut(client: DisposableClient, port: number, options: Partial<OutboundRequest>) {
  const outcome = await outcomeOf(client, request(port, { ...options, signal: AbortSignal.timeout(DEADLINE_MS) }));
  assert.ok(typeof outcome !== "number", `Expected a time-out, got status ${outcome}`);
  assert.equal(outcome.failure, "timeout");
  assert.equal(outcome.message, `No answer from server.example:${port} in time`);
}

for (const secure of [true, false]) {
  const scheme = secure ? "HTTPS" : "HTTP";

  Deno.test(`a name resolution that hangs is ended, and dials nothing when it answers late (${scheme})`, async () => {
    await using server = await serveHttp((_, res) => res.end());
    const late = Promise.withResolvers<string[]>();
    using client = openClient({ resolveHost: () => late.promise });
    await assertTimesOut(client, server.port, { secure });
    late.resolve(["127.0.0.1"]);
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(server.connections, 0);
  });

  Deno.test(`a connect that hangs is ended (${scheme})`, async () => {
    await using dead = await SwallowingHost.open("127.0.0.2");
    using client = openClient({ resolveHost: () => Promise.resolve(["127.0.0.2"]) });
    await assertTimesOut(client, dead.port, { secure });
  });

  Deno.test(`headers that never come are waited for no longer (${scheme})`, async () => {
    await using server = secure
      ? await serveHttps({ dnsNames: ["server.example"] }, () => {})
      : await serveHttp(() => {});
    using client = openClient();
    await assertTimesOut(client, server.port, { secure });
    await until(() => server.open === 0);
  });

  Deno.test(`a body that stops half-way is waited for no longer (${scheme})`, async () => {
    const stall = (_: unknown, res: { write(text: string): unknown }) => void res.write("half");
    await using server = secure ? await serveHttps({ dnsNames: ["server.example"] }, stall) : await serveHttp(stall);
    using client = openClient();
    await assertTimesOut(client, server.port, { secure });
    await until(() => server.open === 0);
  });
}

Deno.test("a TLS handshake that hangs is ended", async () => {
  await using server = await serveBytes(() => {});
  using client = openClient();
  await assertTimesOut(client, server.port, {});
  await until(() => server.open === 0);
});

Deno.test("a TLS handshake that hangs after the connect is no matter of the connect time-out", async () => {
  await using server = await serveBytes(() => {});
  using client = openClient();
  await assertTimesOut(client, server.port, { connectTimeoutMs: DEADLINE_MS / 3 });
});

Deno.test("a body that drips is ended too", async () => {
  const drip = (socket: net.Socket) => {
    socket.write("HTTP/1.1 200 OK\r\n\r\n");
    const timer = setInterval(() => socket.write("."), 10);
    socket.on("close", () => clearInterval(timer));
  };
  await using server: ListeningServer = await serveBytes(drip);
  using client = openClient();
  await assertTimesOut(client, server.port, { secure: false });
  await until(() => server.open === 0);
});

Deno.test("a request whose time is already over resolves and dials nothing", async () => {
  await using server = await serveHttp((_, res) => res.end());
  const resolved: string[] = [];
  using client = openClient({
    resolveHost: (name) => {
      resolved.push(name);
      return Promise.resolve(["127.0.0.1"]);
    },
  });
  assert.equal(
    await failureOf(client, request(server.port, { secure: false, signal: AbortSignal.abort() })),
    "timeout",
  );
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(resolved, []);
  assert.equal(server.connections, 0);
});

Deno.test("a signal that is aborted after the answer breaks nothing", async () => {
  await using server = await serveHttp((_, res) => res.end("{}"));
  using client = openClient();
  const controller = new AbortController();
  const first = request(server.port, { secure: false, signal: controller.signal });
  assert.equal(await failureOf(client, first), "status 200");
  controller.abort();
  assert.equal(await failureOf(client, request(server.port, { secure: false })), "status 200");
  assert.equal(server.connections, 1);
});

Deno.test("no listener stays on a signal that outlives its requests, answered or failed", async () => {
  await using server = await serveHttp((req, res) => req.url === "/fails" ? res.destroy() : res.end("{}"));
  using client = openClient();
  const { signal, listeners } = countingSignal();
  for (const [path, outcome] of [["/", "status 200"], ["/fails", "reset"]] as const) {
    assert.equal(await failureOf(client, request(server.port, { secure: false, path, signal })), outcome);
    assert.equal(listeners(), 0);
  }
});
