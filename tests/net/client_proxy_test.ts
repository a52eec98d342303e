// Outbound proxies: who goes through one, what the guard still judges, and that a proxy's password stays unseen.

import assert from "node:assert/strict";
import net from "node:net";
import { OutboundError } from "../../lib/net/outbound_error.ts";
import { ListeningServer } from "../../testing/listening_server.ts";
import {
  failureOf,
  openClient,
  outcomeOf,
  request,
  SECRET_QUERY,
  serveBytes,
  serveHttp,
  serveHttps,
  until,
} from "../../testing/loopback.ts";
import { openProxy } from "./loopback_proxy.ts";

const NAMES = { dnsNames: ["server.example", "direct.example"] };
const PASSWORD = "p@ss:word";
const CREDENTIALS = `operator:${encodeURIComponent(PASSWORD)}`;

Deno.test("HTTPS requests go through one tunnel, with the certificate of the target and the credentials", async () => {
  await using server = await serveHttps(NAMES, (_, res) => res.end("{}"));
  await using proxy = await openProxy(() => server.port);
  using client = openClient({ proxies: { HTTPS_PROXY: `http://${CREDENTIALS}@127.0.0.1:${proxy.server.port}` } });

  for (let i = 0; i < 3; i++) assert.equal(await failureOf(client, request(8448)), "status 200");
  const authorization = `Basic ${btoa(`operator:${PASSWORD}`)}`;
  assert.deepEqual(proxy.seen, [{ method: "CONNECT", target: "server.example:8448", authorization }]);
  assert.equal(server.connections, 1);

  assert.equal(await failureOf(client, request(8448, { tlsName: "wrong.example" })), "tls");
});

Deno.test("plain HTTP requests are handed to the proxy whole", async () => {
  await using proxy = await openProxy(() => undefined);
  using client = openClient({ proxies: { HTTP_PROXY: `http://127.0.0.1:${proxy.server.port}` } });
  const response = await client.send(
    request(7880, { secure: false, path: "/twirp/x", hostHeader: "server.example:7880" }),
  );
  assert.equal(new TextDecoder().decode(response.body), "by proxy");
  assert.deepEqual(proxy.seen.map(({ method, target }) => [method, target]), [
    ["GET", "http://server.example:7880/twirp/x"],
  ]);
});

Deno.test("each scheme has its own proxy, and none is used for the other", async () => {
  await using server = await serveHttp((_, res) => res.end("direct"));
  await using proxy = await openProxy(() => undefined);
  using client = openClient({ proxies: { HTTPS_PROXY: `http://127.0.0.1:${proxy.server.port}` } });
  assert.equal(await failureOf(client, request(server.port, { secure: false })), "status 200");
  assert.equal(server.connections, 1);
  assert.deepEqual(proxy.seen, []);
});

Deno.test("NO_PROXY names are dialed directly, and judged by the guard", async () => {
  await using server = await serveHttps(NAMES, (_, res) => res.end("{}"));
  await using proxy = await openProxy(() => server.port);
  const proxies = { HTTPS_PROXY: `http://127.0.0.1:${proxy.server.port}`, NO_PROXY: "direct.example,.inner.example" };
  using client = openClient({ proxies });
  const direct = { host: "direct.example", tlsName: "direct.example" };
  assert.equal(await failureOf(client, request(server.port, direct)), "status 200");
  assert.deepEqual(proxy.seen, []);
  assert.equal(await failureOf(client, request(server.port, { ...direct, rule: "public" })), "blocked");
  assert.equal(await failureOf(client, request(server.port, { host: "a.inner.example", rule: "public" })), "blocked");
  assert.deepEqual(proxy.seen, []);
});

Deno.test("the proxy may be an internal host whatever the rule: the operator named it", async () => {
  await using server = await serveHttps(NAMES, (_, res) => res.end("{}"));
  await using proxy = await openProxy(() => server.port);
  for (const host of ["127.0.0.1", "localhost"]) {
    using client = openClient({ proxies: { HTTPS_PROXY: `http://${host}:${proxy.server.port}` } });
    assert.equal(await failureOf(client, request(8448, { rule: "public" })), "status 200", host);
  }
  for (const host of ["127.0.0.1", "proxy.example", "PROXY.example"]) {
    using client = openClient({ proxies: { HTTP_PROXY: `http://${host}:${proxy.server.port}` } });
    assert.equal(await failureOf(client, request(8448, { rule: "public", secure: false })), "status 200", host);
  }
  assert.equal(proxy.seen.length, 5);
});

Deno.test("a target that is the proxy's own host is dialed directly, and judged like any other", async () => {
  await using proxy = await openProxy(() => undefined);
  const pairs = [
    { proxyHost: "proxy.example", target: "proxy.example" },
    { proxyHost: "proxy.example", target: "Proxy.Example" },
    { proxyHost: "127.0.0.1", target: "127.0.0.1" },
  ];
  for (const { proxyHost, target } of pairs) {
    const url = `http://${proxyHost}:${proxy.server.port}`;
    using client = openClient({ proxies: { HTTPS_PROXY: url, HTTP_PROXY: url } });
    for (const secure of [true, false]) {
      const toProxy = request(proxy.server.port, { secure, host: target, rule: "public" });
      assert.equal(await failureOf(client, toProxy), "blocked", `${target} secure=${secure}`);
    }
  }
  assert.equal(proxy.server.connections, 0);
});

const INNER_LITERALS = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "fd00::1", "0.0.0.0"];

Deno.test.each(INNER_LITERALS)("the IP literal %s is judged although the proxy would dial it", async (host) => {
  await using proxy = await openProxy(() => undefined);
  const url = `http://localhost:${proxy.server.port}`;
  using client = openClient({ proxies: { HTTPS_PROXY: url, HTTP_PROXY: url } });
  for (const secure of [true, false]) {
    assert.equal(await failureOf(client, request(8448, { secure, host, rule: "public" })), "blocked");
  }
  assert.deepEqual(proxy.seen, []);
  // Loopback is this host, and never a matter of the proxy.
  const isLoopback = host === "127.0.0.1" || host === "::1";
  assert.equal(await failureOf(client, request(8448, { host, tlsName: null, rule: "operator" })), "connect");
  assert.equal(proxy.seen.length, isLoopback ? 0 : 1);
});

/** Fails when an error tells what it must keep. */
function assertKeepsSecrets(outcome: number | OutboundError): void {
  assert.ok(outcome instanceof OutboundError);
  for (
    const secret of [
      "p@ss",
      "ss:word",
      encodeURIComponent(PASSWORD),
      btoa(`operator:${PASSWORD}`),
      "secret-path",
      SECRET_QUERY,
    ]
  ) {
    assert.ok(!outcome.message.includes(secret), outcome.message);
  }
}

for (const [written, credentials] of Object.entries({ encoded: CREDENTIALS, plain: `operator:${PASSWORD}` })) {
  Deno.test(`no failure of a proxy shows its password (${written} in the URL)`, async () => {
    await using refusing = await openProxy(() => undefined);
    await using server = await serveHttps({ dnsNames: ["wrong.example"] }, (_, res) => res.end("{}"));
    await using tunnelling = await openProxy(() => server.port);
    await using garbage = await openProxy(() => undefined, "garbage\r\n\r\n");
    const closedPort = await (async () => {
      await using gone = await serveHttp(() => {});
      return gone.port;
    })();
    const cases = [
      { port: refusing.server.port, secure: true, failure: "connect" },
      { port: tunnelling.server.port, secure: true, failure: "tls" },
      { port: garbage.server.port, secure: false, failure: "protocol" },
      { port: closedPort, secure: true, failure: "connect" },
      { port: closedPort, secure: false, failure: "connect" },
    ];
    for (const { port, secure, failure } of cases) {
      const url = `http://${credentials}@127.0.0.1:${port}`;
      using client = openClient({ proxies: { HTTPS_PROXY: url, HTTP_PROXY: url } });
      const outcome = await outcomeOf(client, request(8448, { secure }));
      assertKeepsSecrets(outcome);
      assert.equal(outcome instanceof OutboundError && outcome.failure, failure, `${port} ${outcome}`);
    }
  });
}

Deno.test("an error text of the runtime that quotes the proxy's URL is shown without its credentials", async () => {
  for (const credentials of [CREDENTIALS, `operator:${PASSWORD}`]) {
    const url = `http://${credentials}@proxy.example:3128`;
    using client = openClient({
      proxies: { HTTP_PROXY: url },
      resolveHost: () => Promise.reject(Object.assign(new Error(`no way to ${url}/`), { code: "ENOTFOUND" })),
    });
    const outcome = await outcomeOf(client, request(8448, { secure: false }));
    assertKeepsSecrets(outcome);
    assert.match(String(outcome), /no way to http:\/\/proxy\.example:3128\//);
  }
});

Deno.test("a proxy that never answers a CONNECT is waited for within the deadline", async () => {
  await using silent = await serveBytes(() => {});
  using client = openClient({ proxies: { HTTPS_PROXY: `http://127.0.0.1:${silent.port}` } });
  assert.equal(await failureOf(client, request(8448, { signal: AbortSignal.timeout(150) })), "timeout");
});

Deno.test("a proxy may itself speak TLS: its certificate is verified, and the target's inside it", async () => {
  await using server = await serveHttps(NAMES, (_, res) => res.end("{}"));
  await using proxy = await openProxy(() => server.port, undefined, { dnsNames: ["localhost"] });
  using client = openClient({ proxies: { HTTPS_PROXY: `https://localhost:${proxy.server.port}` } });
  for (let i = 0; i < 3; i++) assert.equal(await failureOf(client, request(8448)), "status 200");
  assert.deepEqual(proxy.seen.map(({ target }) => target), ["server.example:8448"]);
  assert.equal(await failureOf(client, request(8448, { tlsName: "wrong.example" })), "tls");

  await using other = await openProxy(() => server.port, undefined, { dnsNames: ["other.example"] });
  using mistrusting = openClient({ proxies: { HTTPS_PROXY: `https://localhost:${other.server.port}` } });
  assert.equal(await failureOf(mistrusting, request(8448)), "tls");
  assert.deepEqual(other.seen, []);
});

const OTHER_WORDS: [what: string, reply: string, outcome: string][] = [
  ["of HTTP/1.0", "HTTP/1.0 200 Connection established\r\n\r\n", "status 200"],
  ["with an interim answer", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "status 200"],
  ["with a length", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "status 200"],
  ["that refuses", "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n", "connect"],
  ["that refuses at length", `HTTP/1.1 403 Forbidden\r\ncontent-length: 9\r\n\r\nForbidden`, "connect"],
  ["that refuses until the connection ends", "HTTP/1.0 403 Forbidden\r\n\r\n<html>", "connect"],
  ["that refuses and does not go on", "HTTP/1.1 503 Busy\r\ncontent-length: 9\r\n\r\n", "connect"],
  ["of another kind", "SSH-2.0-OpenSSH\r\n", "protocol"],
  ["without end", "HTTP/1.1 200 OK\r\n" + "x: y\r\n".repeat(9000), "protocol"],
];

for (const [what, established, outcome] of OTHER_WORDS) {
  Deno.test(`a CONNECT with an answer ${what}: ${outcome}`, async () => {
    await using server = await serveHttps(NAMES, (_, res) => res.end("{}"));
    await using proxy = await openProxy(() => server.port, undefined, null, established);
    using client = openClient({ proxies: { HTTPS_PROXY: `http://127.0.0.1:${proxy.server.port}` } });
    assert.equal(await failureOf(client, request(8448, { signal: AbortSignal.timeout(10_000) })), outcome);
  });
}

const SOCKS_REPLIES: [what: string, replies: number[][], outcome: string][] = [
  ["no SOCKS", [[72, 84, 84, 80]], "connect"],
  ["wants a login", [[5, 2]], "connect"],
  ["takes no way to log in", [[5, 255]], "connect"],
  ["refuses", [[5, 0], [5, 2, 0, 1, 0, 0, 0, 0, 0, 0]], "connect"],
  ["refuses for a reason of its own", [[5, 0], [5, 99, 0, 1, 0, 0, 0, 0, 0, 0]], "connect"],
  ["is silent", [], "timeout"],
];

for (const [what, replies, outcome] of SOCKS_REPLIES) {
  Deno.test(`a SOCKS server that ${what}: ${outcome}`, async () => {
    const left = [...replies];
    await using proxy = await ListeningServer.listen(net.createServer((socket) => {
      socket.on("data", () => {
        const reply = left.shift();
        if (reply !== undefined) socket.write(Uint8Array.from(reply));
      });
    }));
    using client = openClient({ proxies: { HTTPS_PROXY: `socks5h://127.0.0.1:${proxy.port}` } });
    const signal = outcome === "timeout" ? AbortSignal.timeout(100) : new AbortController().signal;
    assert.equal(await failureOf(client, request(8448, { signal })), outcome);
    await until(() => proxy.open === 0);
  });
}

Deno.test("a name that a SOCKS proxy could only be told in part, or that would end a line, is asked of no proxy", async () => {
  await using socks = await serveBytes((socket) => socket.write(Uint8Array.of(5, 0)));
  await using http = await openProxy(() => undefined);
  const long = `${"a.".repeat(130)}server.example`;
  using bySocks = openClient({ proxies: { HTTPS_PROXY: `socks5://127.0.0.1:${socks.port}` } });
  assert.equal(await failureOf(bySocks, request(8448, { host: long })), "protocol");
  using byHttp = openClient({ proxies: { HTTPS_PROXY: `http://127.0.0.1:${http.server.port}` } });
  assert.equal(await failureOf(byHttp, request(8448, { host: "a HTTP/1.0\r\n\r\nb" })), "protocol");
  assert.deepEqual(http.seen, []);
});

for (const [what, chosen, then] of [["nobody to log in", 0, "050100"], ["a login", 2, "01086f"]] as const) {
  Deno.test(`a SOCKS proxy may choose, and gets what it wants: ${what}`, async () => {
    const heard: string[] = [];
    await using proxy = await ListeningServer.listen(net.createServer((socket) => {
      socket.on("data", (bytes) => {
        heard.push(Buffer.from(bytes).toString("hex"));
        if (heard.length === 1) socket.write(Uint8Array.of(5, chosen));
        else socket.end();
      });
    }));
    using client = openClient({ proxies: { HTTPS_PROXY: `socks5h://${CREDENTIALS}@127.0.0.1:${proxy.port}` } });
    assert.equal(await failureOf(client, request(8448)), "reset");
    assert.deepEqual([heard[0], heard[1]?.slice(0, 6)], ["05020002", then]);
  });
}
