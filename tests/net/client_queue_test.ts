// More requests than connections: the rest wait their turn within their deadlines, and leave nothing behind.

import assert from "node:assert/strict";
import type http from "node:http";
import { MAX_CONNECTIONS_PER_HOST, MAX_CONNECTIONS_TO_KNOWN_HOST } from "../../lib/net/client.ts";
import { ListeningServer } from "../../testing/listening_server.ts";
import { failureOf, openClient, request, serveHttp, serveHttps, until } from "../../testing/loopback.ts";

/** A server that holds every answer back until it is told otherwise. */
async function holdingServer() {
  const held: http.ServerResponse[] = [];
  const paths: string[] = [];
  const server = await serveHttp((req, res) => {
    paths.push(req.url ?? "");
    held.push(res);
  });
  return { server, held, paths };
}

for (const secure of [true, false]) {
  Deno.test(`a storm opens no more than 64 connections and is served whole (${secure ? "HTTPS" : "HTTP"})`, async () => {
    let now = 0;
    let most = 0;
    const handler: http.RequestListener = (_, res) => {
      most = Math.max(most, ++now);
      setTimeout(() => {
        now--;
        res.end("{}");
      }, 2);
    };
    await using server: ListeningServer = secure
      ? await serveHttps({ dnsNames: ["server.example"] }, handler)
      : await serveHttp(handler);
    using client = openClient();
    const storm = Array.from({ length: 500 }, () => failureOf(client, request(server.port, { secure })));
    assert.deepEqual(new Set(await Promise.all(storm)), new Set(["status 200"]));
    assert.equal(server.connections, MAX_CONNECTIONS_PER_HOST);
    assert.ok(most <= MAX_CONNECTIONS_PER_HOST);
  });
}

Deno.test("requests that end while they wait are never sent and never dialed for", async () => {
  const { server, held, paths } = await holdingServer();
  await using _server = server;
  using client = openClient();
  const controller = new AbortController();
  const send = (path: string, signal: AbortSignal) =>
    failureOf(client, request(server.port, { secure: false, path, signal }));

  const holders = Array.from({ length: MAX_CONNECTIONS_PER_HOST }, () => send("/holds", controller.signal));
  await until(() => held.length === MAX_CONNECTIONS_PER_HOST);
  const waiting = Array.from({ length: 40 }, () => send("/waits", AbortSignal.timeout(50)));
  assert.deepEqual(new Set(await Promise.all(waiting)), new Set(["timeout"]));

  controller.abort(); // the connections end, and nobody is left to open others for
  assert.deepEqual(new Set(await Promise.all(holders)), new Set(["timeout"]));
  await until(() => server.open === 0);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(server.connections, MAX_CONNECTIONS_PER_HOST);
  assert.ok(!paths.includes("/waits"));

  const next = send("/next", AbortSignal.timeout(1000));
  await until(() => paths.includes("/next"));
  held.at(-1)?.end("{}");
  assert.equal(await next, "status 200");
});

Deno.test("unknown hosts under one rule of the guard hold 144 connections at most, and known ones and other rules have theirs", async () => {
  const { server, held } = await holdingServer();
  await using _server = server;
  using client = openClient();
  const controller = new AbortController();
  const send = (host: string, rule: "internal" | "operator") =>
    failureOf(client, request(server.port, { secure: false, host, rule, signal: controller.signal }));
  const hanging = Array.from({ length: 300 }, (_, n) => send(`host-${n}.example`, "internal"));
  await until(() => held.length === 144);
  const named = send("named.example", "operator");
  await until(() => held.length === 145);
  held.at(-1)?.end("{}");
  assert.equal(await named, "status 200");
  const maxConnections = MAX_CONNECTIONS_TO_KNOWN_HOST;
  const known = failureOf(
    client,
    request(server.port, { secure: false, host: "known.example", rule: "internal", maxConnections }),
  );
  await until(() => held.length === 146);
  held.at(-1)?.end("{}");
  assert.equal(await known, "status 200");
  assert.equal(server.connections, 146);
  controller.abort();
  await Promise.all(hanging);
});

Deno.test("a named homeserver that hangs leaves another one as many connections as it holds itself", async () => {
  const { server, held } = await holdingServer();
  await using _server = server;
  using client = openClient();
  const controller = new AbortController();
  const maxConnections = MAX_CONNECTIONS_TO_KNOWN_HOST;
  const send = (host: string) =>
    failureOf(
      client,
      request(server.port, { secure: false, host, rule: "internal", maxConnections, signal: controller.signal }),
    );
  const hanging = Array.from({ length: 2 * MAX_CONNECTIONS_TO_KNOWN_HOST }, () => send("hangs.example"));
  await until(() => held.length === MAX_CONNECTIONS_TO_KNOWN_HOST);
  const others = Array.from({ length: MAX_CONNECTIONS_TO_KNOWN_HOST }, () => send("well.example"));
  await until(() => held.length === 2 * MAX_CONNECTIONS_TO_KNOWN_HOST);
  controller.abort();
  await Promise.all([...hanging, ...others]);
});

Deno.test("a request that waits gets its turn when another one ends, in order", async () => {
  const { server, held, paths } = await holdingServer();
  await using _server = server;
  using client = openClient();
  const send = (path: string) => failureOf(client, request(server.port, { secure: false, path }));

  const holders = Array.from({ length: MAX_CONNECTIONS_PER_HOST }, () => send("/holds"));
  const waiting = [send("/first"), send("/second")];
  await until(() => held.length === MAX_CONNECTIONS_PER_HOST);
  held[0]?.end("{}");
  await until(() => paths.includes("/first"));
  assert.ok(!paths.includes("/second"));
  held[1]?.end("{}");
  await until(() => paths.includes("/second"));
  held.forEach((response) => response.end("{}"));
  assert.deepEqual(new Set(await Promise.all([...holders, ...waiting])), new Set(["status 200"]));
});

Deno.test("a host whose connections are all taken holds up no other", async () => {
  const { server: hanging } = await holdingServer();
  await using _hanging = hanging;
  await using other = await serveHttp((_, res) => res.end("{}"));
  using client = openClient();
  const controller = new AbortController();
  const storm = Array.from({ length: 200 }, () => {
    return failureOf(client, request(hanging.port, { secure: false, signal: controller.signal }));
  });
  assert.equal(await failureOf(client, request(other.port, { secure: false })), "status 200");
  controller.abort();
  assert.deepEqual(new Set(await Promise.all(storm)), new Set(["timeout"]));
});

Deno.test("slots come back after failures of every kind", async () => {
  await using refusing = await serveHttp((_, res) => res.destroy());
  using client = openClient();
  const failures = Array.from({ length: 3 * MAX_CONNECTIONS_PER_HOST }, () => {
    return failureOf(client, request(refusing.port, { secure: false }));
  });
  assert.deepEqual(new Set(await Promise.all(failures)), new Set(["reset"]));
  assert.equal(await failureOf(client, request(refusing.port, { secure: false })), "reset");
});

Deno.test("a known host gets up to 256 connections, shared with requests of strangers", async () => {
  const { server, held } = await holdingServer();
  await using _server = server;
  using client = openClient();
  const maxConnections = MAX_CONNECTIONS_TO_KNOWN_HOST;
  const storm = Array.from({ length: 2 * maxConnections }, () => {
    return failureOf(client, request(server.port, { secure: false, maxConnections }));
  });
  await until(() => held.length === maxConnections);
  assert.equal(server.connections, maxConnections);
  const strangers = Array.from({ length: 3 }, () => failureOf(client, request(server.port, { secure: false })));
  for (let answered = 0; answered < 2 * maxConnections + strangers.length; answered++) {
    await until(() => held.length > answered);
    held[answered]?.end("{}");
  }
  assert.deepEqual(new Set(await Promise.all([...storm, ...strangers])), new Set(["status 200"]));
  assert.equal(server.connections, maxConnections);
});
