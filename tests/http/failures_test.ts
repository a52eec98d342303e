// When the front cannot or will not do its job: ending, full, or broken. And what of it reaches a log.

import assert from "node:assert/strict";
import { ConcurrencyLimit, DEFAULT_LIMITS } from "../../lib/admission/concurrency.ts";
import { systemClock } from "../../lib/platform.ts";
import type { OutboundResponse } from "../../lib/net/client.ts";
import { answerWell } from "../../testing/fake_outbound.ts";
import { assertError, createFront, HASHED_BODY, LEGACY_BODY, post } from "../../testing/front.ts";

Deno.test("a service that is about to end takes no new work", async () => {
  const { app, outbound } = createFront({ isDraining: () => true });
  for (const [path, body] of [["/sfu/get", LEGACY_BODY], ["/get_token", HASHED_BODY]] as const) {
    await assertError(await app(post(path, body)), 503, "M_UNKNOWN", "The service is shutting down");
  }
  assert.deepEqual(outbound.requests, []);
});

// What heeds no signal keeps its timers.
const HANGS = { sanitizeOps: false, sanitizeResources: false };

Deno.test("what is in flight when the service waits no longer is refused, whatever it hangs at", HANGS, async () => {
  const cutOff = new AbortController();
  const { app } = createFront({
    cutOff: cutOff.signal,
    answer: () => new Promise(() => {}), // it heeds no signal
  });
  const hanging = [
    app(post("/sfu/get", LEGACY_BODY)),
    app(post("/get_token", HASHED_BODY)),
    app(post("/sfu/get", new ReadableStream({ pull: () => new Promise(() => {}) }))),
  ];
  await new Promise((resolve) => setTimeout(resolve, 0));
  cutOff.abort();
  for (const response of await Promise.all(hanging)) {
    assert.equal(response.headers.get("retry-after"), "1");
    await assertError(response, 503, "M_UNKNOWN", "The service is shutting down");
  }
});

Deno.test("a body that breaks off because the service ends is its fault, not the client's", async () => {
  let isDraining = false;
  const { app } = createFront({ isDraining: () => isDraining });
  const gate = Promise.withResolvers<void>();
  const body = new ReadableStream({
    pull: (controller) => gate.promise.then(() => controller.error(new Error("closed"))),
  });
  const answer = app(post("/sfu/get", body));
  isDraining = true;
  gate.resolve();
  await assertError(await answer, 503, "M_UNKNOWN", "The service is shutting down");
});

Deno.test("what goes beyond capacity is 503 at once, with a time to come back", async () => {
  const gate = Promise.withResolvers<void>();
  const { app, outbound } = createFront({
    concurrency: new ConcurrencyLimit({
      limits: { ...DEFAULT_LIMITS, perServer: 1 },
      isNamed: () => true,
      clock: systemClock,
    }),
    answer: async (request): Promise<OutboundResponse> => {
      await gate.promise;
      return answerWell(request);
    },
  });
  const first = app(post("/sfu/get", LEGACY_BODY));
  await until(() => outbound.requests.length === 1);
  const refused = await app(post("/sfu/get", { ...LEGACY_BODY, device_id: "OTHER" }));
  assert.match(refused.headers.get("retry-after") ?? "", /^[1-9]\d*$/);
  assert.match(refused.headers.get("access-control-expose-headers") ?? "", /Retry-After/);
  await assertError(refused, 503, "M_UNKNOWN", "The service is busy, try again shortly");
  assert.equal(outbound.requests.length, 1);
  gate.resolve();
  assert.equal((await first).status, 200);
  assert.equal((await app(post("/sfu/get", LEGACY_BODY))).status, 200);
});

Deno.test("a mistake in the code is 500 with an ID, under which the log has the whole of it", async () => {
  const { app, log } = createFront({
    answer: () => {
      throw new TypeError("undefined is not a function");
    },
  });
  const response = await app(post("/sfu/get", LEGACY_BODY));
  const [record] = log.of("error");
  const { request_id: id, route, stack } = record?.fields ?? {};
  assert.match(String(id), /^[0-9a-f-]{36}$/);
  assert.equal(route, "/sfu/get");
  assert.match(String(stack), /TypeError: undefined is not a function\n +at /);
  await assertError(response, 500, "M_UNKNOWN", `Internal server error (${id})`);
});

Deno.test("the next request after a mistake is served as if nothing had been", async () => {
  const front = createFront({
    answer: () => {
      throw new TypeError("once");
    },
  });
  await front.app(post("/sfu/get", LEGACY_BODY));
  front.outbound.answer = answerWell;
  assert.equal((await front.app(post("/sfu/get", LEGACY_BODY))).status, 200);
});

const BROKEN_BODIES: readonly (readonly [what: string, text: string])[] = [
  ["quotes forgotten", '{"room":"!r:example.com","openid_token":{"access_token":sikrit,"matrix_server_name":"e"}}'],
  ["a comma forgotten", '{"openid_token":{"access_token":"sikrit" "matrix_server_name":"e"},"room":"!r"}'],
  ["cut off", '{"openid_token":{"access_token":"sikrit'],
  ["text after the end", `${JSON.stringify({ ...LEGACY_BODY, openid_token: { access_token: "sikrit" } })}sikrit`],
  ["the token as the body", "sikrit"],
  ["the token in place of an object", JSON.stringify({ ...LEGACY_BODY, openid_token: "sikrit" })],
  ["the token as a list", JSON.stringify({ ...LEGACY_BODY, openid_token: { access_token: ["sikrit"] } })],
  ["no server name", JSON.stringify({ ...LEGACY_BODY, openid_token: { access_token: "sikrit" } })],
  [
    "a server name that is none",
    JSON.stringify({ ...LEGACY_BODY, openid_token: { access_token: "sikrit", matrix_server_name: "?" } }),
  ],
];

for (const [what, text] of BROKEN_BODIES) {
  Deno.test(`no token reaches the log from a body with ${what}`, async () => {
    const { app, log, outbound } = createFront();
    const response = await app(post("/sfu/get", text));
    assert.ok(response.status === 400 || response.status === 401);
    assert.doesNotMatch(await response.text(), /sikrit/);
    assert.doesNotMatch(log.text, /sikr|krit/);
    assert.deepEqual(outbound.requests, []);
  });
}

Deno.test("the log says why a request was refused, also where the client was told all there is", async () => {
  const { app, log } = createFront();
  await app(post("/sfu/get", {}));
  await app(post("/sfu/get", "{"));
  await app(post("/get_token", { ...HASHED_BODY, room_id: 1 }));
  assert.deepEqual(log.of("info").map(({ message, fields }) => [message, fields.cause]), [
    ["Refused", "Missing room parameter"],
    ["Refused", "no JSON in UTF-8"],
    ["Refused", "wrong type: room_id"],
  ]);
});

async function until(condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 1000 && !condition(); turn++) await Promise.resolve();
  assert.ok(condition());
}
