// Who gets in: the order of the checks before anything goes out, and what those who do not get in are told.

import assert from "node:assert/strict";
import { MAX_LARGE_BODIES } from "../../lib/http/body.ts";
import { MatrixError } from "../../lib/matrix_error.ts";
import { assertError, createFront, HASHED_BODY, LEGACY_BODY, post, SIGNED } from "../../testing/front.ts";

const NOT_SERVED = "Users of this homeserver are not served here";
const OPENID_TOKEN = { access_token: "opaque", matrix_server_name: "evil.example" };

/** A limit that is always exceeded, and who it counted. */
function exceeded() {
  const clients: (string | null)[] = [];
  return {
    clients,
    take(client: { toString(): string } | null): Promise<never> {
      clients.push(client?.toString() ?? null);
      return Promise.reject(new MatrixError(429, "M_LIMIT_EXCEEDED", "Too many", { retryAfterMs: 1500 }));
    },
  };
}

for (const [path, body] of [["/sfu/get", LEGACY_BODY], ["/get_token", HASHED_BODY]] as const) {
  Deno.test(`${path} refuses users of a homeserver that is not allowed with 403, and asks nobody`, async () => {
    const { app, outbound, log } = createFront({ allowed: ["example.com", "*.example.org"] });
    const refused = await app(post(path, { ...body, openid_token: OPENID_TOKEN }));
    await assertError(refused, 403, "M_FORBIDDEN", NOT_SERVED);
    assert.deepEqual(outbound.requests, []);
    assert.match(String(log.entries[0]?.fields["cause"]), /^"evil.example" is blocked, or not among the allowed/);
    assert.equal((await app(post(path, body))).status, 200);
  });
}

Deno.test("a blocked homeserver is refused by any spelling, and a name that is none is a 401 as ever", async () => {
  const { app, outbound } = createFront();
  const ask = (matrix_server_name: string) =>
    app(post("/sfu/get", { ...LEGACY_BODY, openid_token: { access_token: "opaque", matrix_server_name } }));
  for (const name of ["blocked.example", "BLOCKED.example.:443"]) {
    await assertError(await ask(name), 403, "M_FORBIDDEN", NOT_SERVED);
  }
  await assertError(await ask("no/name"), 401, "M_UNAUTHORIZED", "The request could not be authorised.");
  assert.deepEqual(outbound.requests, []);
});

Deno.test("the checks come in order: method, size, JSON, shape, rate limit, allowed or not", async () => {
  const rateLimit = exceeded();
  const limited = createFront({ rateLimit, allowed: ["example.com"] }).app;
  const evil = { ...LEGACY_BODY, openid_token: OPENID_TOKEN };
  const statuses = [
    await limited(new Request("http://service.test/sfu/get")),
    await limited(post("/sfu/get", "x".repeat(65_537))),
    await limited(post("/sfu/get", "{")),
    await limited(post("/sfu/get", {})),
    await limited(post("/sfu/get", evil)),
  ].map(({ status }) => status);
  assert.deepEqual(statuses, [405, 413, 400, 400, 429]);
  assert.equal(rateLimit.clients.length, 1);
  assert.equal((await createFront({ allowed: ["example.com"] }).app(post("/sfu/get", evil))).status, 403);
});

Deno.test("429 tells when to come back, in ms in the body and in seconds in the header, with CORS", async () => {
  const { app, log } = createFront({ rateLimit: exceeded() });
  const response = await app(post("/sfu/get", LEGACY_BODY));
  assert.equal(response.status, 429);
  assert.equal(response.headers.get("retry-after"), "2");
  assert.equal(response.headers.get("access-control-allow-origin"), "*");
  assert.equal(await response.text(), '{"errcode":"M_LIMIT_EXCEEDED","error":"Too many","retry_after_ms":1500}\n');
  assert.deepEqual(log.of("info"), []); // whoever asks all day must not fill the log
});

Deno.test("health checks, webhooks and preflights are not counted", async () => {
  const rateLimit = exceeded();
  const { app, webhooks } = createFront({ rateLimit });
  const requests = [
    new Request("http://service.test/healthz"),
    post("/sfu_webhook", "{}", { headers: { authorization: SIGNED } }),
    new Request("http://service.test/sfu/get", { method: "OPTIONS" }),
  ];
  for (const request of requests) assert.equal((await app(request)).status, 200);
  while (webhooks.length === 0) await new Promise((resolve) => setTimeout(resolve, 1)); // handed on after the answer
  assert.deepEqual(rateLimit.clients, []);
});

Deno.test("who is counted: the peer, or whom a trusted proxy names, also over a unix socket", async () => {
  const rateLimit = exceeded();
  const { app } = createFront({ rateLimit, trustedProxies: ["10.0.0.0/8"] });
  const forwarded = () => {
    const request = post("/sfu/get", LEGACY_BODY);
    request.headers.append("x-forwarded-for", "192.0.2.66");
    request.headers.append("x-forwarded-for", "203.0.113.9");
    return request;
  };
  await app(forwarded());
  await app(forwarded(), { transport: "tcp", hostname: "::ffff:10.1.2.3", port: 1 });
  await app(forwarded(), { transport: "unix", path: "/run/jwt.sock" });
  await app(post("/sfu/get", LEGACY_BODY), { transport: "unix", path: "/run/jwt.sock" });
  assert.deepEqual(rateLimit.clients, ["203.0.113.1", "203.0.113.9", "203.0.113.9", null]);
});

Deno.test("a URL over 8 KiB is 414 with CORS, a preflight of it is answered", async () => {
  const { app } = createFront();
  const url = `http://service.test/sfu/get?${"x".repeat(8192)}`;
  await assertError(await app(new Request(url)), 414, "M_UNRECOGNIZED", "The URL is too long");
  assert.equal((await app(new Request(url, { method: "OPTIONS" }))).status, 200);
  assert.equal((await app(new Request(url.slice(0, 8192)))).status, 405);
});

/** A body in pieces of 16 KiB, given as far as it is read. */
class Pieces {
  bytes = 0;
  readonly #ending: "open" | "closed";
  readonly #count: number;
  readonly stream = new ReadableStream<Uint8Array>({
    pull: (controller) => {
      if (this.bytes < this.#count * 16_384) {
        this.bytes += 16_384;
        return controller.enqueue(new Uint8Array(16_384));
      }
      this.end = () => controller.close();
      if (this.#ending === "closed") this.end();
    },
    cancel: () => {
      this.end = () => {};
    },
  }, { highWaterMark: 0 });
  end = () => {};

  constructor(count: number, ending: "open" | "closed") {
    this.#count = count;
    this.#ending = ending;
  }
}

const webhook = (authorization: string, { stream }: Pieces) =>
  post("/sfu_webhook", stream, { headers: { authorization } });

Deno.test("whoever cannot sign a webhook gets 64 KiB read and no more, and 200 all the same", async () => {
  const { app, webhooks } = createFront();
  const [forged, signed] = [new Pieces(20, "closed"), new Pieces(20, "closed")];
  assert.equal((await app(webhook("forged", forged))).status, 200);
  assert.equal((await app(webhook(SIGNED, signed))).status, 200);
  while (webhooks.length < 1) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.deepEqual([forged.bytes, signed.bytes], [5 * 16_384, 20 * 16_384]);
  assert.deepEqual(webhooks.map(({ body }) => body.length), [20 * 16_384]);
});

Deno.test("large bodies of strangers, however many, take no room from a webhook that is on its way", async () => {
  const { app, webhooks } = createFront();
  const late = new Pieces(1, "open");
  const answers = [app(webhook(SIGNED, late))];
  const strangers = Array.from({ length: 600 }, () => new Pieces(1, "open"));
  for (const each of strangers) answers.push(app(webhook("forged", each)));
  // Enough to take the webhook's turn; those past a bound are refused unread.
  const areRead = () => strangers.filter(({ bytes }) => bytes > 0).length > MAX_LARGE_BODIES;
  while (!areRead()) await new Promise((resolve) => setTimeout(resolve, 1));
  late.end();
  for (const { end } of strangers) end();
  for (const answer of answers) assert.equal((await answer).status, 200);
  await new Promise((resolve) => setTimeout(resolve, 1));
  assert.deepEqual(webhooks.map(({ body }) => body.length), [16_384]);
});
