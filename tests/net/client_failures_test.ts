// How the outbound client names what went wrong, against servers that go wrong for real; and what it keeps to itself.

import assert from "node:assert/strict";
import https from "node:https";
import type { Socket } from "node:net";
import { CertificateAuthority, type ServerCertificate } from "../../testing/certificates.ts";
import type { OutboundClient, OutboundRequest } from "../../lib/net/client.ts";
import { OutboundError, type OutboundFailure } from "../../lib/net/outbound_error.ts";
import { ListeningServer } from "../../testing/listening_server.ts";
import {
  authority,
  openClient,
  outcomeOf,
  request,
  SECRET_QUERY,
  serveBytes,
  serveHttp,
  serveHttps,
} from "../../testing/loopback.ts";

const DAY_MS = 86_400_000;
const OK = "HTTP/1.1 200 OK\r\n";

/** Checks the failure, that host and port are named, and that path and query are not. */
function assertFailure(outcome: number | OutboundError, failure: OutboundFailure, port: number): void {
  assert.ok(outcome instanceof OutboundError, `Expected the failure "${failure}", got status ${outcome}`);
  assert.equal(outcome.failure, failure, outcome.message);
  assert.match(outcome.message, new RegExp(`:${port}\\b`));
  assert.ok(!outcome.message.includes("secret-path") && !outcome.message.includes(SECRET_QUERY), outcome.message);
}

const BYTES: [what: string, failure: OutboundFailure, answer: (socket: Socket) => void][] = [
  ["closes before it answers", "reset", (socket) => socket.end()],
  ["resets before it answers", "reset", (socket) => socket.resetAndDestroy()],
  ["resets in mid-header", "reset", (socket) => socket.write(OK, () => socket.resetAndDestroy())],
  ["closes in mid-body", "reset", (socket) => socket.end(`${OK}content-length: 50\r\n\r\nabc`)],
  ["closes in mid-chunk", "reset", (socket) => socket.end(`${OK}transfer-encoding: chunked\r\n\r\nff\r\nabc`)],
  ["resets in mid-body", "reset", (socket) => {
    socket.write(`${OK}content-length: 50\r\n\r\nabc`);
    setTimeout(() => socket.resetAndDestroy(), 20);
  }],
  ["speaks no HTTP", "protocol", (socket) => socket.end("220 mail.example ESMTP\r\n")],
  ["echoes the request line", "protocol", (socket) => socket.end(`GET /secret-path?${SECRET_QUERY} HTTP/1.1\r\n\r\n`)],
  ["sends a broken chunk size", "protocol", (socket) => {
    socket.end(`${OK}transfer-encoding: chunked\r\n\r\nzz\r\nabc`);
  }],
  ["never ends its headers", "protocol", (socket) => socket.write(`${OK}x: ${"a".repeat(100_000)}`)],
  ["announces two lengths", "protocol", (socket) => {
    socket.end(`${OK}content-length: 1\r\ncontent-length: 2\r\n\r\nab`);
  }],
  ["sends more than the cap with a length", "too-large", (socket) => {
    socket.write(`${OK}content-length: 1025\r\n\r\n${"a".repeat(1025)}`);
  }],
  ["sends more than the cap in chunks", "too-large", (socket) => {
    socket.write(`${OK}transfer-encoding: chunked\r\n\r\n${"200\r\n" + "a".repeat(512) + "\r\n"}`.repeat(1));
    for (let i = 0; i < 3; i++) socket.write(`200\r\n${"a".repeat(512)}\r\n`);
  }],
  ["sends without end", "too-large", (socket) => {
    socket.write(`${OK}\r\n`);
    const timer = setInterval(() => socket.write("a".repeat(512)), 1);
    socket.on("close", () => clearInterval(timer));
  }],
];

for (const [what, failure, answer] of BYTES) {
  Deno.test(`a server that ${what} is a "${failure}" failure`, async () => {
    await using server = await serveBytes(answer);
    using client = openClient();
    assertFailure(await outcomeOf(client, request(server.port, { secure: false })), failure, server.port);
  });
}

Deno.test("an answer of exactly the cap passes", async () => {
  await using server = await serveHttp((_, res) => res.end("a".repeat(1024)));
  using client = openClient();
  assert.equal((await client.send(request(server.port, { secure: false }))).body.length, 1024);
});

const CERTIFICATES: [what: string, issue: () => Promise<ServerCertificate>][] = [
  ["for another name", () => authority.issue({ dnsNames: ["other.example", "evil-server.example"] })],
  ["for a name below", () => authority.issue({ dnsNames: ["a.server.example", "*.server.example"] })],
  ["for a whole top-level domain", () => authority.issue({ dnsNames: ["*.example.org", "example"] })],
  ["for no name", () => authority.issue({})],
  ["for the address only", () => authority.issue({ addresses: ["127.0.0.1"] })],
  ["of an unknown authority", async () => {
    const unknown = await CertificateAuthority.create("Development CA");
    return await unknown.issue({ dnsNames: ["server.example"] });
  }],
  ["that has expired", () => {
    const now = Date.now();
    const validity = { notBefore: new Date(now - 2 * DAY_MS), notAfter: new Date(now - DAY_MS) };
    return authority.issue({ dnsNames: ["server.example"], ...validity });
  }],
  ["of tomorrow", () => {
    return authority.issue({ dnsNames: ["server.example"], notBefore: new Date(Date.now() + DAY_MS) });
  }],
];

for (const [what, issue] of CERTIFICATES) {
  Deno.test(`a certificate ${what} is a "tls" failure, and no request is sent`, async () => {
    const { certificate, privateKey } = await issue();
    let requests = 0;
    const tlsServer = https.createServer({ cert: certificate, key: privateKey }, (_, res) => {
      requests++;
      res.end("{}");
    });
    await using server = await ListeningServer.listen(tlsServer);
    using client = openClient();
    assertFailure(await outcomeOf(client, request(server.port)), "tls", server.port);
    assert.equal(requests, 0);

    using skipping = openClient({ verifyTls: false });
    assert.equal(await outcomeOf(skipping, request(server.port)), 200);
  });
}

Deno.test("a certificate for the IP address is enough for an IP literal, a name is not", async () => {
  await using byAddress = await serveHttps({ addresses: ["127.0.0.1"] }, (_, res) => res.end("{}"));
  await using byName = await serveHttps({ dnsNames: ["127.0.0.1", "server.example"] }, (_, res) => res.end("{}"));
  using client = openClient();
  const literal = { host: "127.0.0.1", hostHeader: "127.0.0.1", tlsName: null };
  assert.equal(await outcomeOf(client, request(byAddress.port, literal)), 200);
  assertFailure(await outcomeOf(client, request(byName.port, literal)), "tls", byName.port);
});

Deno.test('a plain HTTP server behind https is a "tls" failure', async () => {
  await using server = await serveBytes((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
  using client = openClient();
  assertFailure(await outcomeOf(client, request(server.port)), "tls", server.port);
});

Deno.test('a server that hangs up during the handshake is a "reset" failure', async () => {
  await using server = await serveBytes((socket) => socket.destroy());
  using client = openClient();
  assertFailure(await outcomeOf(client, request(server.port)), "reset", server.port);
});

for (const secure of [true, false]) {
  Deno.test(`a closed port is a "connect" failure (${secure ? "HTTPS" : "HTTP"})`, async () => {
    const { port } = await closedPort();
    using client = openClient({ resolveHost: () => Promise.resolve(["127.0.0.2", "127.0.0.1"]) });
    assertFailure(await outcomeOf(client, request(port, { secure })), "connect", port);
    assertFailure(await outcomeOf(client, request(port, { secure, host: "127.0.0.1" })), "connect", port);
  });
}

Deno.test('a name that does not resolve is a "dns" failure', async () => {
  using client = openClient({
    resolveHost: (name) =>
      Promise.reject(Object.assign(new Error(`getaddrinfo ENOTFOUND ${name}`), { code: "ENOTFOUND" })),
  });
  assertFailure(await outcomeOf(client, request(443)), "dns", 443);
});

Deno.test('a refusal of the guard is a "blocked" failure that names host and reason', async () => {
  using client = openClient();
  const byName = await outcomeOf(client, request(443, { rule: "public" }));
  assert.ok(byName instanceof OutboundError);
  assert.equal(byName.failure, "blocked");
  assert.match(byName.message, /server\.example: 127\.0\.0\.1 is an internal address/);
  const literal = await outcomeOf(client, request(443, { rule: "public", host: "::1" }));
  assert.ok(literal instanceof OutboundError);
  assert.equal(literal.failure, "blocked");
  assert.match(literal.message, /::1 is an internal address/);
});

async function closedPort(): Promise<{ port: number }> {
  await using server = await serveHttp(() => {});
  return { port: server.port };
}

const NO_HOSTS = ["example.123", "1.2.3.4.5", "", "4294967296"];

Deno.test.each(NO_HOSTS)('the host "%s" is neither name nor address: a "dns" failure', async (host) => {
  using client = openClient();
  assert.equal((await failed(client, request(8448, { host }))).failure, "dns");
});

// The runtime throws for some of these, and takes others for something else.
const ODD: [what: string, options: Partial<OutboundRequest>][] = [
  ["a path with a line break", { path: "/\r\nx: y" }],
  ["a path with a space", { path: "/a b" }],
  ["a Host header with a line break", { hostHeader: "a\r\nx: y" }],
  ["a Host header that is empty", { hostHeader: "" }],
  ["a header with a line break", { headers: { x: "a\r\ny: z" } }],
  ["a header with a character past ASCII", { headers: { x: "\u{1f600}" } }],
];

Deno.test.each(ODD)('%s is not sent: a "protocol" failure', async (_, options) => {
  await using server = await serveHttp((_, res) => res.end());
  using client = openClient();
  assert.equal((await failed(client, request(server.port, { secure: false, ...options }))).failure, "protocol");
  assert.equal(server.connections, 0);
});

const NAMES = [
  "127.0.0.1.",
  "a_b.example",
  "-",
  "..",
  "x".repeat(300),
  "xn--",
  "\u{1f600}",
  "a\0b",
  "[::1]",
  "*.example",
];

Deno.test.each(NAMES)(
  "whatever the host and certificate name, it is an answer or an OutboundError: %s",
  async (name) => {
    await using server = await serveHttps({ dnsNames: ["server.example"] }, (_, res) => res.end("{}"));
    using client = openClient();
    for (const options of [{ host: name }, { tlsName: name }, { host: name, tlsName: name }]) {
      await outcomeOf(client, request(server.port, options));
    }
    assert.ok(await outcomeOf(client, request(70_000)) instanceof OutboundError);
  },
);

async function failed(client: OutboundClient, request: OutboundRequest): Promise<OutboundError> {
  const outcome = await outcomeOf(client, request);
  assert.ok(outcome instanceof OutboundError, `Expected a failure, got status ${outcome}`);
  return outcome;
}
