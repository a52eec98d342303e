// What a token request is answered: the grant, or each of the contract's refusals, word for word.

import assert from "node:assert/strict";
import { OutboundError } from "../../lib/net/outbound_error.ts";
import { hashedIdentity, roomAlias } from "../../lib/livekit/identity.ts";
import { answerWell, isTwirp, respond, userinfo } from "../../testing/fake_outbound.ts";
import { assertError, createFront, HASHED_BODY, LEGACY_BODY, LIVEKIT_URL, post } from "../../testing/front.ts";

const ROOM = "krj2dgxw2K6EOm9he4GfQJ6JsSVWfJ8a7BkyjZcSmxs";

function claimsOf(jwt: string) {
  return JSON.parse(atob(jwt.split(".")[1] ?? ""));
}

Deno.test("a legacy request gets the SFU's URL byte for byte and a token, in JSON with a newline", async () => {
  const { app, outbound } = createFront();
  const response = await app(post("/sfu/get", LEGACY_BODY));
  assert.equal(response.status, 200);
  assert.equal(response.headers.get("content-type"), "application/json");
  const text = await response.text();
  const { url, jwt } = JSON.parse(text);
  assert.equal(text, `{"url":"${LIVEKIT_URL}","jwt":"${jwt}"}\n`);
  assert.equal(url, LIVEKIT_URL);
  assert.deepEqual(claimsOf(jwt), {
    iss: "devkey",
    sub: "@alice:example.com:DEVICE",
    exp: 1_700_003_600,
    nbf: 1_700_000_000,
    iat: 1_700_000_000,
    identity: "@alice:example.com:DEVICE",
    video: { roomJoin: true, room: ROOM, canPublish: true, canSubscribe: true, canUpdateOwnMetadata: true },
  });
  assert.deepEqual([outbound.userinfo.length, outbound.twirp.length], [1, 1]);
});

Deno.test("a request of the new form gets the hashed identity", async () => {
  const response = await createFront().app(post("/get_token", HASHED_BODY));
  const { sub, video } = claimsOf((await response.json()).jwt);
  assert.equal(sub, "vYVt8NUMTb0rAawkFqilcAtxKgY26U3Ab7R9INviNnU");
  assert.equal(sub, hashedIdentity("@alice:example.com", "DEVICE", "member-1"));
  assert.equal(video.room, ROOM);
});

Deno.test("both endpoints give one room for one Matrix room", async () => {
  const { app } = createFront();
  for (const room of ["!room:example.com", "!31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM", "!ä&<>:b"]) {
    const legacy = await (await app(post("/sfu/get", { ...LEGACY_BODY, room }))).json();
    const hashed = await (await app(post("/get_token", { ...HASHED_BODY, room_id: room }))).json();
    assert.equal(claimsOf(legacy.jwt).video.room, roomAlias(room, "m.call#ROOM"));
    assert.equal(claimsOf(hashed.jwt).video.room, claimsOf(legacy.jwt).video.room);
  }
});

Deno.test("/sfu/get also takes the body of /get_token", async () => {
  const response = await createFront().app(post("/sfu/get", HASHED_BODY));
  const { sub } = claimsOf((await response.json()).jwt);
  assert.equal(sub, "vYVt8NUMTb0rAawkFqilcAtxKgY26U3Ab7R9INviNnU");
});

Deno.test("a device ID may be missing, null or empty", async () => {
  const { app } = createFront();
  const { device_id: _, ...without } = LEGACY_BODY;
  for (const body of [without, { ...without, device_id: null }, { ...without, device_id: "" }]) {
    const { jwt } = await (await app(post("/sfu/get", body))).json();
    assert.equal(claimsOf(jwt).sub, "@alice:example.com:");
  }
});

Deno.test("users of servers that are not listed may join, and no room is created for them", async () => {
  const { app, outbound } = createFront({
    fullAccess: new Set(["own.example"]),
    policy: { restrictedCanPublish: false, canUpdateOwnMetadata: false },
  });
  const { jwt } = await (await app(post("/sfu/get", LEGACY_BODY))).json();
  assert.deepEqual(claimsOf(jwt).video, {
    roomJoin: true,
    room: ROOM,
    canPublish: false,
    canSubscribe: true,
    canUpdateOwnMetadata: false,
    canPublishData: false,
  });
  assert.deepEqual(outbound.twirp, []);

  const own = { ...LEGACY_BODY, openid_token: { access_token: "opaque", matrix_server_name: "own.example" } };
  const granted = await (await app(post("/sfu/get", own))).json();
  assert.equal(claimsOf(granted.jwt).video.canPublish, true);
  assert.equal(outbound.twirp.length, 1);
});

Deno.test("full access is a matter of the exact name", async () => {
  for (const name of ["Own.example", "own.example.", "own.example:443", "sub.own.example", "xown.example"]) {
    const { app, outbound } = createFront({ fullAccess: new Set(["own.example"]) });
    const body = { ...LEGACY_BODY, openid_token: { access_token: "opaque", matrix_server_name: name } };
    assert.equal((await app(post("/sfu/get", body))).status, 200);
    assert.deepEqual(outbound.twirp, [], name);
  }
});

const UNAUTHORISED: readonly (readonly [what: string, answer: Parameters<typeof createFront>[0]])[] = [
  ["the homeserver refuses the token", { answer: () => respond(401, '{"errcode":"M_UNKNOWN_TOKEN","error":"no"}') }],
  ["the homeserver is out of order", { answer: () => respond(502, "<html>") }],
  ["the answer is no JSON", { answer: () => respond(200, "<html>") }],
  ["the answer names nobody", { answer: () => respond(200, "{}") }],
  ["the name is no user ID", { answer: () => userinfo("alice") }],
  ["the name is of another server", { answer: () => userinfo("@alice:example.org") }],
  ["the name is of the same server, spelled otherwise", { answer: () => userinfo("@alice:EXAMPLE.com") }],
  [
    "the homeserver cannot be reached",
    {
      answer: () => {
        throw new OutboundError("connect", "Cannot connect to 192.0.2.1:8448");
      },
    },
  ],
];

for (const [what, options] of UNAUTHORISED) {
  for (const [path, body] of [["/sfu/get", LEGACY_BODY], ["/get_token", HASHED_BODY]] as const) {
    Deno.test(`${path} is 401 and names no cause when ${what}; the log does`, async () => {
      const { app, log, outbound } = createFront(options);
      const response = await app(post(path, body));
      await assertError(response, 401, "M_UNAUTHORIZED", "The request could not be authorised.");
      assert.deepEqual(outbound.twirp, []);
      const [record, ...more] = log.entries;
      assert.deepEqual([record?.level, record?.message], ["warning", "Cannot verify an OpenID token"]);
      assert.ok(Array.isArray(record?.fields.steps));
      assert.deepEqual(more, []);
      assert.doesNotMatch(log.text, /opaque/);
    });
  }
}

Deno.test("/get_token is 401 when the token is another user's than the claimed one", async () => {
  const { app, outbound } = createFront({
    answer: (request) => isTwirp(request) ? answerWell(request) : userinfo("@mallory:example.com"),
  });
  const response = await app(post("/get_token", HASHED_BODY));
  await assertError(response, 401, "M_UNAUTHORIZED", "The request could not be authorised.");
  assert.deepEqual(outbound.twirp, []);
});

for (
  const name of ["", "no server name", "example.com/path", "exämple.com", "[::1", "a".repeat(300), "example.com:99999"]
) {
  if (name === "") continue;
  Deno.test(`a matrix_server_name like "${name.slice(0, 20)}" is 401, and nobody is asked`, async () => {
    const { app, outbound } = createFront();
    const openid_token = { access_token: "opaque", matrix_server_name: name };
    const response = await app(post("/get_token", { ...HASHED_BODY, openid_token }));
    await assertError(response, 401, "M_UNAUTHORIZED", "The request could not be authorised.");
    assert.deepEqual(outbound.requests, []);
  });
}

Deno.test("a room that the SFU does not create is 500 with the contract's text", async () => {
  const { app, log } = createFront({
    answer: (request) => isTwirp(request) ? respond(401, "no") : answerWell(request),
  });
  for (const [path, body] of [["/sfu/get", LEGACY_BODY], ["/get_token", HASHED_BODY]] as const) {
    await assertError(await app(post(path, body)), 500, "M_UNKNOWN", "Unable to create room on SFU");
  }
  assert.equal(log.of("error").length, 2);
});

Deno.test("an identity that grows past 256 bytes only with the user's name is 400, and no room is created", async () => {
  const long = `@${"u".repeat(200)}:example.com`;
  const { app, outbound } = createFront({
    answer: (request) => isTwirp(request) ? answerWell(request) : userinfo(long),
  });
  const response = await app(post("/sfu/get", { ...LEGACY_BODY, device_id: "D".repeat(100) }));
  await assertError(
    response,
    400,
    "M_BAD_JSON",
    "The participant identity is over 256 bytes: shorten the device ID",
  );
  assert.deepEqual(outbound.twirp, []);
});

Deno.test("delay fields are M_BAD_JSON where delegation is off, so that clients ask again without them", async () => {
  const { app } = createFront();
  for (const [path, body] of [["/sfu/get", LEGACY_BODY], ["/get_token", HASHED_BODY]] as const) {
    const response = await app(post(path, { ...body, delay_id: "syd_1", delay_timeout: 10_000 }));
    assert.deepEqual([response.status, (await response.json()).errcode], [400, "M_BAD_JSON"]);
    assert.equal((await app(post(path, body))).status, 200);
  }
});
