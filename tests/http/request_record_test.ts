// One record per request: what an operator reads of it, at which level, and under which ID.

import assert from "node:assert/strict";
import { respond } from "../../testing/fake_outbound.ts";
import { createFront, type FrontOptions, HASHED_BODY, LEGACY_BODY, post } from "../../testing/front.ts";

const DELEGATING: FrontOptions = { delegations: { prepare: () => Promise.resolve(() => Promise.resolve()) } };
const ROOM = "krj2dgxw2K6EOm9he4GfQJ6JsSVWfJ8a7BkyjZcSmxs";

/** Asks, and gives the records with what differs each time left out. */
async function recordsOf(request: Request, options: FrontOptions = {}) {
  const { app, log } = createFront(options);
  const response = await app(request);
  return log.entries.map(({ level, message, fields: { duration_ms, request_id, ...fields } }) => {
    assert.ok(typeof duration_ms === "number" && Number.isInteger(duration_ms) && duration_ms >= 0);
    assert.equal(request_id, response.headers.get("x-request-id"));
    return { level, message, fields };
  });
}

Deno.test("a grant is one record with who, what and whence", async () => {
  assert.deepEqual(await recordsOf(post("/livekit/jwt/sfu/get", LEGACY_BODY)), [{
    level: "info",
    message: "Granted",
    fields: {
      route: "/sfu/get",
      status: 200,
      homeserver: "example.com",
      user: "@alice:example.com",
      access: "full",
      room_id: "!room:example.com",
      room: ROOM,
      identity: "@alice:example.com:DEVICE",
      token_cached: false,
      room_cached: false,
    },
  }]);
});

Deno.test("the second request with a token has its user from the cache", async () => {
  const { app, log } = createFront();
  for (let times = 0; times < 2; times++) await app(post("/sfu/get", LEGACY_BODY));
  assert.deepEqual(log.entries.map(({ fields }) => fields.token_cached), [false, true]);
});

Deno.test("a delegation is one record", async () => {
  const request = post("/delegate_delayed_leave", { ...HASHED_BODY, delay_id: "d", delay_timeout: 1000 });
  const [record, ...more] = await recordsOf(request, DELEGATING);
  assert.deepEqual([record?.level, record?.message, record?.fields.access], ["info", "Delegated", "full"]);
  assert.deepEqual(more, []);
});

Deno.test("a failure of a homeserver is one record, with cause, steps and advice", async () => {
  const [record, ...more] = await recordsOf(post("/get_token", HASHED_BODY), { answer: () => respond(404, "{}") });
  assert.deepEqual(more, []);
  const { advice, ...fields } = record?.fields ?? {};
  assert.match(String(advice), /listener resource/);
  assert.deepEqual([record?.level, record?.message, fields], ["warning", "Cannot verify an OpenID token", {
    route: "/get_token",
    status: 401,
    errcode: "M_UNAUTHORIZED",
    homeserver: "example.com",
    cause: "userinfo refused with no Matrix error code",
    steps: [
      "played",
      "https://192.0.2.1:8448/_matrix/federation/v1/openid/userinfo (192.0.2.1): status 404",
      "userinfo refused with no Matrix error code",
    ],
  }]);
});

Deno.test("a failure of the SFU is one record at error, with whom it hit", async () => {
  const { app, log, outbound } = createFront();
  const wellBehaved = outbound.answer;
  outbound.answer = (request) => request.path.includes("/twirp/") ? respond(503, "down") : wellBehaved(request);
  await app(post("/sfu/get", LEGACY_BODY));
  const [record, ...more] = log.entries;
  assert.deepEqual(more, []);
  assert.deepEqual([record?.level, record?.message], ["error", "Cannot create a room on the SFU"]);
  const { status, failure, user, cause } = record?.fields ?? {};
  assert.deepEqual([status, failure, user], [500, "server-error", "@alice:example.com"]);
  assert.match(String(cause), /https:\/\/sfu\.internal\/prefix\/twirp\/livekit\.RoomService\/CreateRoom/);
});

const PROBES = [
  new Request("http://service.test/delegate_delayed_leave", { method: "POST" }),
  post("/livekit/jwt/delegate_delayed_leave", "", { headers: { "content-length": "0" } }),
];
for (const probe of PROBES) {
  Deno.test(`a client's probe of ${new URL(probe.url).pathname} is for debugging only, a bad body is not`, async () => {
    const [record, ...more] = await recordsOf(probe, DELEGATING);
    assert.deepEqual([record?.level, record?.fields.errcode, more], ["debug", "M_NOT_JSON", []]);
    const [bad] = await recordsOf(post("/delegate_delayed_leave", "{"), DELEGATING);
    assert.equal(bad?.level, "info");
  });
}

Deno.test("an empty body at a token route is a refusal like any other", async () => {
  const [record] = await recordsOf(post("/sfu/get", ""));
  assert.equal(record?.level, "info");
});

Deno.test("a health check is for debugging only", async () => {
  const { app, log } = createFront();
  await app(new Request("http://service.test/healthz"));
  assert.deepEqual(log.entries.map(({ level }) => level), ["debug"]);
});

Deno.test("paths that are no route are hinted at once a minute, a webhook's path with what it must end in", async () => {
  const { app, log } = createFront();
  const webhook = () => post("/livekit/webhook", "{}", { headers: { "content-type": "application/webhook+json" } });
  for (let times = 0; times < 3; times++) {
    await app(webhook());
    await app(post("/get_tokens", HASHED_BODY));
  }
  const hints = log.written.filter(({ message }) => message !== "Refused");
  assert.deepEqual(hints.map(({ level, fields }) => [level, fields.path]), [
    ["warning", "/livekit/webhook"],
    ["info", "/get_tokens"],
  ]);
  assert.match(hints[0]?.message ?? "", /must end in \/sfu_webhook/);
  assert.match(hints[1]?.message ?? "", /prefix/);
});

const PEERS: readonly (readonly [what: string, id: string, remoteAddr: Deno.Addr, counts: boolean])[] = [
  ["a trusted proxy", "req-1:2/3=", { transport: "tcp", hostname: "10.1.2.3", port: 1 }, true],
  ["a unix socket", "req-1", { transport: "unix", path: "/run/jwt.sock" }, true],
  ["a stranger", "req-1", { transport: "tcp", hostname: "203.0.113.1", port: 1 }, false],
  ["a trusted proxy, with something odd", 'a" b', { transport: "tcp", hostname: "10.1.2.3", port: 1 }, false],
  ["a trusted proxy, with something long", "x".repeat(129), { transport: "tcp", hostname: "10.1.2.3", port: 1 }, false],
];
for (const [what, id, remoteAddr, counts] of PEERS) {
  Deno.test(`a request ID from ${what} ${counts ? "is kept" : "is replaced"}, in the log and in the answer`, async () => {
    const { app, log } = createFront({ trustedProxies: ["10.0.0.0/8"] });
    const response = await app(post("/sfu/get", LEGACY_BODY, { headers: { "x-request-id": id } }), remoteAddr);
    const given = response.headers.get("x-request-id");
    assert.equal(given === id, counts);
    assert.match(given ?? "", counts ? /^req/ : /^[0-9a-f-]{36}$/);
    assert.equal(log.entries[0]?.fields.request_id, given);
  });
}
