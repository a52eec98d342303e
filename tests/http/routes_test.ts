// The route table: which paths and methods are the service's, and the CORS headers of every answer.

import assert from "node:assert/strict";
import {
  assertError,
  createFront,
  HASHED_BODY,
  LEGACY_BODY,
  post,
  SIGNED,
  SIGNED_CLAIMS,
} from "../../testing/front.ts";

const ALLOW_HEADERS = "Accept, Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token";

function ask(method: string, path: string, headers: HeadersInit = {}): Request {
  return new Request(`http://service.test${path}`, { method, headers });
}

function assertCors(response: Response, methods: string): void {
  const cors = [...response.headers].filter(([name]) => name.startsWith("access-control-"));
  assert.deepEqual(cors, [
    ["access-control-allow-headers", ALLOW_HEADERS],
    ["access-control-allow-methods", methods],
    ["access-control-allow-origin", "*"],
    ["access-control-expose-headers", "Retry-After"],
    ["access-control-max-age", "86400"],
  ]);
}

const FOUND = [
  "/sfu/get",
  "/livekit/jwt/sfu/get",
  "/a/b/c/sfu/get",
  "//sfu/get",
  "/livekit/jwt//sfu/get",
  "///livekit///jwt///sfu///get",
  "/sfu/get?",
  "/sfu/get?a=b&c=/healthz",
  "/sfu/get#fragment",
];

for (const path of FOUND) {
  Deno.test(`POST ${path} is a token request`, async () => {
    const response = await createFront().app(post(path, LEGACY_BODY));
    assert.equal(response.status, 200);
    assertCors(response, "POST");
  });
}

Deno.test("POST /get_token is found below any prefix too", async () => {
  const response = await createFront().app(post("/livekit/jwt//get_token?x=1", HASHED_BODY));
  assert.equal(response.status, 200);
  assertCors(response, "POST");
});

const NOT_FOUND = [
  "/",
  "/xsfu/get",
  "/sfu/get/",
  "/sfu/get/x",
  "/sfu",
  "/SFU/GET",
  "/sfu%2Fget",
  "/?/sfu/get",
  "/x?next=/sfu/get",
  "/xget_token",
  "/_matrix/client/v3/sfu/get",
  "/prefix/_matrix/x/healthz",
  "//_matrix//get_token",
  "/delegate_delayed_leave",
  "/livekit/jwt/delegate_delayed_leave",
  "/metrics",
];

for (const path of NOT_FOUND) {
  Deno.test(`POST ${path} is 404 in JSON, with CORS headers`, async () => {
    const { app, outbound } = createFront();
    const response = await app(post(path, LEGACY_BODY));
    assertCors(response, "POST");
    await assertError(response, 404, "M_UNRECOGNIZED", "Unrecognized request");
    assert.deepEqual(outbound.requests, []);
  });
}

Deno.test("an empty probe of the delegation route is 404 where delegation is off: clients do not rely on it", async () => {
  const response = await createFront().app(ask("POST", "/delegate_delayed_leave"));
  assertCors(response, "POST");
  await assertError(response, 404, "M_UNRECOGNIZED", "Unrecognized request");
});

Deno.test("an empty probe of the delegation route is anything but 404 where delegation is on", async () => {
  const delegations = { prepare: () => Promise.reject(new TypeError("not to be asked")) };
  const { app } = createFront({ delegations });
  for (const path of ["/delegate_delayed_leave", "/livekit/jwt//delegate_delayed_leave"]) {
    const response = await app(ask("POST", path));
    assertCors(response, "POST");
    await assertError(response, 400, "M_NOT_JSON", "Error reading request");
  }
});

const WRONG_METHODS: readonly (readonly [method: string, path: string, allow: string])[] = [
  ["GET", "/sfu/get", "POST, OPTIONS"],
  ["HEAD", "/sfu/get", "POST, OPTIONS"],
  ["PUT", "/livekit/jwt/get_token", "POST, OPTIONS"],
  ["DELETE", "/get_token", "POST, OPTIONS"],
  ["PATCH", "/sfu/get", "POST, OPTIONS"],
  ["QUERY", "/sfu/get", "POST, OPTIONS"],
  ["POST", "/healthz", "GET, HEAD, OPTIONS"],
];

for (const [method, path, allow] of WRONG_METHODS) {
  Deno.test(`${method} ${path} is 405 and says which methods there are`, async () => {
    const response = await createFront().app(ask(method, path));
    assertCors(response, path === "/healthz" ? "GET, HEAD" : "POST");
    assert.equal(response.headers.get("allow"), allow);
    await assertError(response, 405, "M_UNRECOGNIZED", "Method not allowed");
  });
}

for (const path of ["/sfu/get", "/get_token", "/sfu_webhook", "/anything", "/", "/_matrix/client/versions"]) {
  Deno.test(`OPTIONS ${path} is answered at once, with an empty body and CORS headers`, async () => {
    const preflight = {
      origin: "https://call.example.com",
      "access-control-request-method": "POST",
      "access-control-request-headers": "content-type",
    };
    const front = createFront({ isDraining: () => true });
    const response = await front.app(ask("OPTIONS", path, preflight));
    assert.equal(response.status, 200);
    assert.equal(await response.text(), "");
    assertCors(response, "POST");
  });
}

for (const method of ["GET", "HEAD"]) {
  Deno.test(`${method} /healthz is 200 whatever goes on`, async () => {
    const front = createFront({
      isDraining: () => true,
      answer: () => {
        throw new TypeError("not to be asked");
      },
    });
    for (const path of ["/healthz", "/livekit/jwt/healthz", "//healthz?probe=1"]) {
      const response = await front.app(ask(method, path));
      assert.deepEqual([response.status, await response.text()], [200, ""]);
      assertCors(response, "GET, HEAD");
    }
    assert.deepEqual(front.log.of("info"), []);
  });
}

const WEBHOOKS: readonly (readonly [what: string, request: () => Request, handedOn: number])[] = [
  ["an unsigned probe", () => post("/sfu_webhook", ""), 0],
  ["a forged event", () => post("/prefix/sfu_webhook", "{}", { headers: { authorization: "x" } }), 0],
  ["a signed event", () => signed("POST", "{}"), 1],
  ["no JSON at all", () => signed("POST", "\xff\xfe"), 1],
  ["GET", () => ask("GET", "/sfu_webhook", { authorization: SIGNED }), 0],
  ["PUT", () => signed("PUT", "x"), 0],
  ["a body at its cap", () => signed("POST", new Uint8Array(1024 * 1024)), 1],
  ["a body over its cap", () => signed("POST", new Uint8Array(1024 * 1024 + 1)), 0],
];

for (const [what, request, handedOn] of WEBHOOKS) {
  Deno.test(`the webhook route answers 200 with an empty body to ${what}`, async () => {
    const { app, outbound, webhooks } = createFront();
    const response = await app(request());
    assert.deepEqual([response.status, await response.text()], [200, ""]);
    assertCors(response, "POST");
    await nextTurn();
    assert.equal(webhooks.length, handedOn);
    assert.deepEqual(outbound.requests, []);
  });
}

Deno.test("a webhook is handed on byte for byte, after it was answered", async () => {
  const { app, webhooks } = createFront();
  const body = '{"event":"room_finished", "id":"EV_1"}\n';
  await app(post("/livekit/jwt/sfu_webhook", body, { headers: { authorization: SIGNED } }));
  assert.equal(webhooks.length, 0);
  await nextTurn();
  assert.deepEqual(webhooks, [{ body: new TextEncoder().encode(body), claims: SIGNED_CLAIMS }]);
});

function signed(method: string, body: BodyInit): Request {
  return new Request("http://service.test/sfu_webhook", { method, body, headers: { authorization: SIGNED } });
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1));
}
