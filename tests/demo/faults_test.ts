// The faults of the development servers, seen from the other end of a real connection, plain and over TLS.

import assert from "node:assert/strict";
import { CertificateAuthority } from "../../testing/certificates.ts";
import { type Fault, Faults } from "../../testing/faults.ts";
import { jsonAnswer } from "../../testing/answer.ts";
import { LoopbackServer } from "../../testing/loopback_server.ts";
import { ask, type Reply } from "./ask.ts";

const authority = await CertificateAuthority.create();
const certificate = await authority.issue({ addresses: ["127.0.0.1"] });
const RIGHT = '{"right":true}';

interface Scene extends AsyncDisposable {
  readonly server: LoopbackServer;
  ask(path?: string): Promise<Reply>;
}

async function play(scheme: string): Promise<Scene> {
  const server = await LoopbackServer.start(scheme === "https" ? { certificate } : {});
  server.handler = () => jsonAnswer(200, { right: true });
  return {
    server,
    ask: (path = "/a") => ask(server.url, path, { ca: authority.certificate }),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

const ANSWERED: readonly (readonly [fault: Fault, isSeen: (reply: Reply) => void])[] = [
  [{ kind: "status", status: 503, headers: { "retry-after": "7" } }, ({ status, headers }) => {
    assert.equal(status, 503);
    assert.equal(headers["retry-after"], "7");
  }],
  [
    { kind: "status", status: 429, headers: { "content-type": "application/json" }, body: '{"errcode":"M_X"}' },
    (reply) => {
      assert.equal(reply.status, 429);
      assert.equal(reply.headers["content-type"], "application/json");
      assert.equal(reply.text, '{"errcode":"M_X"}');
    },
  ],
  [{ kind: "redirect", location: "http://127.0.0.1:9/x" }, ({ status, headers }) => {
    assert.equal(status, 307);
    assert.equal(headers.location, "http://127.0.0.1:9/x");
  }],
  [{ kind: "html" }, ({ status, headers }) => {
    assert.equal(status, 200);
    assert.match(headers["content-type"] ?? "", /^text\/html/);
  }],
  [{ kind: "garbage" }, ({ status, headers, body }) => {
    assert.equal(status, 200);
    assert.equal(headers["content-type"], "application/json");
    assert.throws(() => new TextDecoder("utf-8", { fatal: true }).decode(body));
  }],
  [{ kind: "huge", bytes: 3_000_000 }, ({ status, headers, body }) => {
    assert.equal(status, 200);
    assert.equal(headers["content-length"], undefined);
    assert.equal(body.length, 3_000_000);
  }],
  [{ kind: "wrong-type", contentType: "text/plain" }, ({ headers, text }) => {
    assert.equal(headers["content-type"], "text/plain");
    assert.equal(text, RIGHT);
  }],
  [{ kind: "drip", intervalMs: 1 }, ({ text, pieces }) => {
    assert.equal(text, RIGHT);
    assert(pieces > 1, `the body came in ${pieces} piece`);
  }],
  [{ kind: "delay", durationMs: 1 }, ({ text }) => assert.equal(text, RIGHT)],
];

const BROKEN: readonly (readonly [fault: Fault, error: RegExp])[] = [
  [{ kind: "reset" }, /ECONNRESET|socket hang up/],
  [{ kind: "truncate" }, /The answer broke off/],
  [{ kind: "not-http" }, /Parse Error/],
];
const WAITING: readonly Fault[] = [
  { kind: "hang" },
  { kind: "delay", durationMs: 3_600_000 },
  { kind: "drip", intervalMs: 3_600_000 },
];

for (const scheme of ["http", "https"]) {
  for (const [fault, isSeen] of ANSWERED) {
    Deno.test(`${scheme}: fault ${JSON.stringify(fault)} hits one request, the next is answered well`, async () => {
      await using scene = await play(scheme);
      scene.server.faults.inject(fault, { times: 1 });
      isSeen(await scene.ask());
      const next = await scene.ask();
      assert.equal(next.text, RIGHT);
      assert.equal(next.headers["content-type"], "application/json");
    });
  }

  for (const [fault, error] of BROKEN) {
    Deno.test(`${scheme}: fault "${fault.kind}" breaks one request, the next is answered well`, async () => {
      await using scene = await play(scheme);
      scene.server.faults.inject(fault, { times: 1 });
      await assert.rejects(scene.ask(), error);
      assert.equal((await scene.ask()).text, RIGHT);
    });
  }

  for (const fault of WAITING) {
    Deno.test(`${scheme}: fault "${fault.kind}" keeps a request waiting until the server is closed`, async () => {
      const scene = await play(scheme);
      scene.server.faults.inject(fault);
      let isWaiting = true;
      const broken = assert.rejects(scene.ask().finally(() => isWaiting = false));
      while (scene.server.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert(isWaiting);
      await scene[Symbol.asyncDispose]();
      await broken;
    });
  }
}

Deno.test("a client that gives up on a delayed answer leaves no timer behind", async () => {
  await using scene = await play("http");
  scene.server.faults.inject({ kind: "delay", durationMs: 3_600_000 });
  const signal = AbortSignal.timeout(20);
  await assert.rejects(ask(scene.server.url, "/a", { signal }));
});

Deno.test("a fault hits as many requests as it was made for, and only paths that end so", () => {
  const faults = new Faults();
  faults.inject({ kind: "reset" }, { times: 2, pathEnd: "/b" });
  faults.inject({ kind: "hang" }, { times: 1 });
  const taken = ["/a", "/a", "/x/b", "/a/b", "/b", "/b/a"].map((path) => faults.take(path)?.kind ?? null);
  assert.deepEqual(taken, ["hang", null, "reset", "reset", null, null]);
});

Deno.test("a fault made for no number of requests stays until it is cleared", () => {
  const faults = new Faults();
  faults.inject({ kind: "html" });
  for (let i = 0; i < 100; i++) assert.equal(faults.take("/")?.kind, "html");
  faults.clear();
  assert.equal(faults.take("/"), null);
});
