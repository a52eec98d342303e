// Connections of the outbound client: kept alive, and never lent to a request that could not have opened them.

import assert from "node:assert/strict";
import http from "node:http";
import https from "node:https";
import type { RequestListener } from "node:http";
import type { OutboundRequest } from "../../lib/net/client.ts";
import { ListeningServer } from "../../testing/listening_server.ts";
import { authority, failureOf, openClient, request, serveHttp, serveHttps, until } from "../../testing/loopback.ts";

const MAX_IDLE_CONNECTIONS = 260;
const AT_ONCE = 20;
const NAMES = { dnsNames: ["server.example", "other.example"], addresses: ["127.0.0.1"] };

for (const secure of [true, false]) {
  Deno.test(`requests in a row share one connection (${secure ? "HTTPS" : "HTTP"})`, async () => {
    await using server = secure
      ? await serveHttps(NAMES, (_, r) => r.end("{}"))
      : await serveHttp((_, r) => r.end("{}"));
    using client = openClient();
    for (let i = 0; i < 5; i++) assert.equal((await client.send(request(server.port, { secure }))).status, 200);
    assert.equal(server.connections, 1);
  });
}

Deno.test("a POST carries its body, its length, its headers, and who sends it", async () => {
  const seen: unknown[] = [];
  await using server = await serveHttp((req, res) => {
    const chunks: Uint8Array[] = [];
    req.on("data", (chunk) => chunks.push(chunk));
    req.on("end", () => {
      seen.push(req.method, req.url, req.headers.host, req.headers["content-length"], req.headers["content-type"]);
      seen.push(req.headers["user-agent"]);
      res.end(Buffer.concat(chunks));
    });
  });
  using client = openClient();
  const response = await client.send(request(server.port, {
    method: "POST",
    secure: false,
    path: "/twirp?x=1",
    hostHeader: "sfu.example",
    headers: { "content-type": "application/protobuf" },
    body: new Uint8Array([1, 2, 255]),
  }));
  assert.deepEqual([...response.body], [1, 2, 255]);
  assert.deepEqual(seen, ["POST", "/twirp?x=1", "sfu.example", "3", "application/protobuf", "lk-jwt-service/test"]);
  assert.equal(response.address, "127.0.0.1");
});

Deno.test("an answer of many chunks arrives whole, and a redirect is an answer like any other", async () => {
  await using server = await serveHttp((_, res) => {
    res.writeHead(302, { location: "http://127.0.0.1:1/" });
    for (let i = 0; i < 10; i++) res.write(`${i},`);
    res.end();
  });
  using client = openClient();
  const response = await client.send(request(server.port, { secure: false }));
  assert.equal(response.status, 302);
  assert.equal(new TextDecoder().decode(response.body), "0,1,2,3,4,5,6,7,8,9,");
  assert.equal(server.connections, 1);
});

for (const secure of [true, false]) {
  Deno.test(`a request that runs out of time on a kept connection is not sent again (${secure ? "HTTPS" : "HTTP"})`, async () => {
    let requests = 0;
    const handler: RequestListener = (_, res) => {
      if (++requests === 1) res.end("{}"); // the second one hangs
    };
    await using server = secure ? await serveHttps(NAMES, handler) : await serveHttp(handler);
    using client = openClient();
    assert.equal((await client.send(request(server.port, { secure }))).status, 200);
    assert.equal(await failureOf(client, request(server.port, { secure, signal: AbortSignal.timeout(50) })), "timeout");
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.deepEqual([requests, server.connections, server.open], [2, 1, 0]);
  });
}

const NOT_SHARED: [what: string, first: Partial<OutboundRequest>, second: Partial<OutboundRequest>][] = [
  ["another certificate name", { tlsName: "server.example" }, { tlsName: "other.example" }],
  ["another dial rule", { rule: "operator" }, { rule: "internal" }],
  ["another host", { host: "server.example" }, { host: "moved.example" }],
  ["a certificate for the IP address", { host: "127.0.0.1" }, { host: "127.0.0.1", tlsName: null }],
];

for (const [what, first, second] of NOT_SHARED) {
  Deno.test(`a connection is not lent to a request with ${what}`, async () => {
    await using server = await serveHttps(NAMES, (_, res) => res.end("{}"));
    using client = openClient();
    for (const options of [first, second, first, second]) {
      assert.equal((await client.send(request(server.port, options))).status, 200);
    }
    assert.equal(server.connections, 2);
  });
}

Deno.test("a warm connection of an exempt server does not serve one that may not go there", async () => {
  await using server = await serveHttps(NAMES, (_, res) => res.end("{}"));
  using client = openClient();
  const asExempt = request(server.port, { rule: "internal" });
  assert.equal(await failureOf(client, asExempt), "status 200");
  assert.equal(await failureOf(client, { ...asExempt, rule: "public" }), "blocked");
  assert.equal(await failureOf(client, asExempt), "status 200");
  assert.equal(server.connections, 1);
});

Deno.test("a connection that skipped verification does not serve a client that verifies", async () => {
  await using server = await serveHttps({ dnsNames: ["wrong.example"] }, (_, res) => res.end("{}"));
  using skipping = openClient({ verifyTls: false });
  using verifying = openClient();
  assert.equal(await failureOf(skipping, request(server.port)), "status 200");
  assert.equal(await failureOf(verifying, request(server.port)), "tls");
  assert.equal(await failureOf(skipping, request(server.port)), "status 200");
  assert.equal(server.connections, 2);
});

Deno.test("an idle connection that the server closed is replaced without an error", async () => {
  await using server = await serveHttps(NAMES, (_, res) => res.end("{}"));
  using client = openClient();
  for (let i = 1; i <= 3; i++) {
    assert.equal(await failureOf(client, request(server.port)), "status 200");
    server.breakConnections();
    await until(() => server.open === 0);
    await new Promise((resolve) => setTimeout(resolve, 20)); // the client's end of the news
    assert.equal(server.connections, i);
  }
});

Deno.test("closing the client closes its idle connections", async () => {
  await using server: ListeningServer = await serveHttps(NAMES, (_, res) => res.end("{}"));
  const client = openClient();
  await client.send(request(server.port));
  assert.equal(server.open, 1);
  client.close();
  await until(() => server.open === 0);
});

Deno.test("idle connections to any number of hosts, with TLS and without, are bounded together", async () => {
  const keepAliveTimeout = 60_000;
  const answer: http.RequestListener = (_, response) => void response.end("{}");
  const { certificate, privateKey } = await authority.issue(NAMES);
  await using plain = await ListeningServer.listen(http.createServer({ keepAliveTimeout }, answer));
  await using secure = await ListeningServer.listen(
    https.createServer({ keepAliveTimeout, cert: certificate, key: privateKey }, answer),
  );
  using client = openClient();
  const askHosts = async (port: number, secure: boolean, hosts: number) => {
    for (let from = 0; from < hosts; from += AT_ONCE) {
      const ask = (_: unknown, at: number) =>
        failureOf(client, request(port, { host: `host-${from + at}.example`, secure }));
      assert.deepEqual(new Set(await Promise.all(Array.from({ length: AT_ONCE }, ask))), new Set(["status 200"]));
    }
  };
  await askHosts(secure.port, true, 40);
  await askHosts(plain.port, false, MAX_IDLE_CONNECTIONS);
  await askHosts(secure.port, true, 60);
  assert.deepEqual([plain.connections, secure.connections], [MAX_IDLE_CONNECTIONS, 100]);
  await until(() => plain.open + secure.open <= MAX_IDLE_CONNECTIONS);
  // The oldest went: first those with TLS, then as many of the others.
  assert.deepEqual([plain.open, secure.open], [MAX_IDLE_CONNECTIONS - 60, 60]);
});
