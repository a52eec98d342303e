// The development homeserver, asked over verified TLS and over plain HTTP: Synapse's answers, an impostor's lies, and
// what it remembers of its callers.

import assert from "node:assert/strict";
import { Agent } from "node:https";
import { CertificateAuthority } from "../../testing/certificates.ts";
import {
  DevelopmentHomeserver,
  type DevelopmentHomeserverOptions,
  type OpenIdToken,
  USERINFO_PATH,
} from "../../testing/fake_homeserver.ts";
import { ask } from "./ask.ts";

const authority = await CertificateAuthority.create();
const certificate = await authority.issue({ dnsNames: ["matrix.example"], addresses: ["127.0.0.1", "::1"] });

// A homeserver whose certificate is good for "matrix.example".
function startSecure(options: DevelopmentHomeserverOptions = {}): Promise<DevelopmentHomeserver> {
  return DevelopmentHomeserver.start({ serverName: "matrix.example", certificate, ...options });
}

function askSecurely(homeserver: DevelopmentHomeserver, path: string, options: Parameters<typeof ask>[2] = {}) {
  return ask(homeserver.url, path, { ca: authority.certificate, ...options });
}

function userInfoPath({ access_token }: OpenIdToken): string {
  return `${USERINFO_PATH}?access_token=${encodeURIComponent(access_token)}`;
}

Deno.test("a minted token belongs to its user, as often as it is shown", async () => {
  await using homeserver = await startSecure();
  const token = homeserver.mintOpenIdToken("alice");
  assert.deepEqual({ ...token, access_token: "" }, {
    access_token: "",
    token_type: "Bearer",
    matrix_server_name: "matrix.example",
    expires_in: 3600,
  });
  for (let i = 0; i < 2; i++) {
    const reply = await askSecurely(homeserver, userInfoPath(token));
    assert.equal(reply.status, 200);
    assert.equal(reply.headers["content-type"], "application/json");
    assert.equal(reply.headers["transfer-encoding"], "chunked");
    assert.equal(reply.text, '{"sub":"@alice:matrix.example"}');
  }
});

Deno.test("two tokens of one user differ", async () => {
  await using homeserver = await startSecure();
  assert.notEqual(homeserver.mintOpenIdToken("alice").access_token, homeserver.mintOpenIdToken("alice").access_token);
});

const REFUSED: readonly (readonly [what: string, method: string, path: string, status: number, body: string])[] = [
  ["an unknown token", "GET", `${USERINFO_PATH}?access_token=x`, 401, "M_UNKNOWN_TOKEN"],
  ["an empty token", "GET", `${USERINFO_PATH}?access_token=`, 401, "M_UNKNOWN_TOKEN"],
  ["no token", "GET", USERINFO_PATH, 401, "M_MISSING_TOKEN"],
  ["no token but a query", "GET", `${USERINFO_PATH}?a=b`, 401, "M_MISSING_TOKEN"],
  ["another path", "GET", "/_matrix/federation/v1/version", 404, "M_UNRECOGNIZED"],
  ["a well-known document that is not set", "GET", "/.well-known/matrix/server", 404, "M_UNRECOGNIZED"],
  ["another method", "POST", `${USERINFO_PATH}?access_token=x`, 405, "M_UNRECOGNIZED"],
];

for (const [what, method, path, status, errcode] of REFUSED) {
  Deno.test(`${what} is answered ${status} ${errcode}`, async () => {
    await using homeserver = await DevelopmentHomeserver.start();
    const reply = await ask(homeserver.url, path, { method });
    assert.equal(reply.status, status);
    assert.equal(JSON.parse(reply.text).errcode, errcode);
  });
}

Deno.test("a token is unknown an hour after it was minted", async () => {
  let now = 1_000;
  await using homeserver = await DevelopmentHomeserver.start({ now: () => now });
  const path = userInfoPath(homeserver.mintOpenIdToken("alice"));
  now += 3_599_999;
  assert.equal((await ask(homeserver.url, path)).status, 200);
  now += 1;
  assert.equal((await ask(homeserver.url, path)).status, 401);
});

Deno.test("a homeserver does not know the tokens of another", async () => {
  await using one = await DevelopmentHomeserver.start();
  await using other = await DevelopmentHomeserver.start();
  assert.equal((await ask(other.url, userInfoPath(one.mintOpenIdToken("alice")))).status, 401);
});

Deno.test("an impostor claims users of another server, for one token or for all", async () => {
  await using liar = await startSecure({ serverName: "evil.example" });
  const token = liar.mintOpenIdTokenFor("@alice:matrix.example");
  assert.equal(token.matrix_server_name, "evil.example");
  assert.equal((await askSecurely(liar, userInfoPath(token))).text, '{"sub":"@alice:matrix.example"}');

  await using thief = await startSecure({ sub: "@bob:matrix.example" });
  const reply = await askSecurely(thief, userInfoPath(thief.mintOpenIdToken("mallory")));
  assert.equal(reply.text, '{"sub":"@bob:matrix.example"}');
});

Deno.test("without a name of its own a homeserver is called localhost with its port", async () => {
  await using homeserver = await DevelopmentHomeserver.start();
  assert.equal(homeserver.serverName, `localhost:${homeserver.port}`);
  const reply = await ask(homeserver.url, userInfoPath(homeserver.mintOpenIdToken("alice")));
  assert.equal(reply.text, `{"sub":"@alice:localhost:${homeserver.port}"}`);
});

Deno.test("well-known documents come with their headers, and go when they are taken away", async () => {
  await using homeserver = await DevelopmentHomeserver.start();
  const path = "/.well-known/matrix/server";
  homeserver.setWellKnown("server", { "m.server": "matrix.example:443" }, { "cache-control": "max-age=60" });
  homeserver.setWellKnown("client", { "m.homeserver": { base_url: "https://matrix.example/" } });

  const server = await ask(homeserver.url, path);
  assert.equal(server.text, '{"m.server":"matrix.example:443"}');
  assert.equal(server.headers["cache-control"], "max-age=60");
  const client = await ask(homeserver.url, "/.well-known/matrix/client");
  assert.equal(client.text, '{"m.homeserver":{"base_url":"https://matrix.example/"}}');
  assert.equal(client.headers["access-control-allow-origin"], "*");

  homeserver.setWellKnown("server", null);
  assert.equal((await ask(homeserver.url, path)).status, 404);
});

Deno.test("a caller without the authority, or for another name, gets no answer", async () => {
  await using homeserver = await startSecure();
  await assert.rejects(ask(homeserver.url, USERINFO_PATH));
  await assert.rejects(askSecurely(homeserver, USERINFO_PATH, { servername: "other.example" }));
  assert.equal(homeserver.userInfoRequests, 0);
});

Deno.test("requests are remembered with Host, SNI and address, and without their tokens", async () => {
  await using homeserver = await startSecure();
  const token = homeserver.mintOpenIdToken("alice");
  await askSecurely(homeserver, userInfoPath(token), {
    servername: "matrix.example",
    headers: { host: "matrix.example:8448" },
  });
  await askSecurely(homeserver, "/nowhere", { method: "POST" });
  assert.deepEqual(homeserver.requests, [
    {
      method: "GET",
      path: USERINFO_PATH,
      host: "matrix.example:8448",
      serverName: "matrix.example",
      remoteAddress: "127.0.0.1",
    },
    {
      method: "POST",
      path: "/nowhere",
      host: `127.0.0.1:${homeserver.port}`,
      serverName: null,
      remoteAddress: "127.0.0.1",
    },
  ]);
});

Deno.test("requests, connections and handshakes are counted apart", async () => {
  await using homeserver = await startSecure();
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  try {
    for (let i = 0; i < 3; i++) await askSecurely(homeserver, USERINFO_PATH, { agent });
  } finally {
    agent.destroy();
  }
  await assert.rejects(ask(homeserver.url, USERINFO_PATH));
  homeserver.faults.inject({ kind: "reset" }, { times: 1 });
  await assert.rejects(askSecurely(homeserver, USERINFO_PATH));
  assert.equal(homeserver.userInfoRequests, 4);
  assert.equal(homeserver.connections, 3);
  assert.equal(homeserver.handshakes, 2);
});

Deno.test("no more than the latest requests are remembered, all are counted", async () => {
  await using homeserver = await startSecure();
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  try {
    for (let i = 0; i < 210; i++) await askSecurely(homeserver, `/${i}`, { agent });
    await askSecurely(homeserver, USERINFO_PATH, { agent });
  } finally {
    agent.destroy();
  }
  assert.equal(homeserver.requests.at(-1)?.path, USERINFO_PATH);
  assert(homeserver.requests.length >= 100 && homeserver.requests.length <= 200, `${homeserver.requests.length}`);
  assert.equal(homeserver.userInfoRequests, 1);
});

Deno.test("a fault can hit userinfo alone", async () => {
  await using homeserver = await DevelopmentHomeserver.start();
  homeserver.setWellKnown("server", { "m.server": "matrix.example" });
  homeserver.faults.inject({ kind: "status", status: 500 }, { pathEnd: "/openid/userinfo" });
  const path = userInfoPath(homeserver.mintOpenIdToken("alice"));
  assert.equal((await ask(homeserver.url, path)).status, 500);
  assert.equal((await ask(homeserver.url, "/.well-known/matrix/server")).status, 200);
  homeserver.faults.clear();
  assert.equal((await ask(homeserver.url, path)).status, 200);
});

Deno.test("a truncated answer in chunks is broken, not just short", async () => {
  await using homeserver = await DevelopmentHomeserver.start();
  homeserver.faults.inject({ kind: "truncate" });
  await assert.rejects(ask(homeserver.url, userInfoPath(homeserver.mintOpenIdToken("alice"))), /broke off/);
});

Deno.test("a homeserver can come back on the port it had", async () => {
  const first = await DevelopmentHomeserver.start();
  const { port } = first;
  await first[Symbol.asyncDispose]();
  await assert.rejects(ask(first.url, USERINFO_PATH), { code: "ECONNREFUSED" });
  await using second = await DevelopmentHomeserver.start({ port });
  assert.equal(second.port, port);
  assert.equal((await ask(second.url, USERINFO_PATH)).status, 401);
});

Deno.test("a port that is taken is an error", async () => {
  await using homeserver = await DevelopmentHomeserver.start();
  await assert.rejects(DevelopmentHomeserver.start({ port: homeserver.port }), { code: "EADDRINUSE" });
});

Deno.test({
  name: "a homeserver listens on ::1",
  ignore: !hasIpv6(),
  async fn() {
    await using homeserver = await startSecure({ hostname: "::1" });
    assert.equal(homeserver.url.hostname, "[::1]");
    const reply = await askSecurely(homeserver, userInfoPath(homeserver.mintOpenIdToken("alice")));
    assert.equal(reply.status, 200);
    assert.equal(homeserver.requests[0]?.remoteAddress, "::1");
  },
});

function hasIpv6(): boolean {
  return Deno.networkInterfaces().some(({ address }) => address === "::1");
}
