// The development SFU, driven by LiveKit's own client and by hand: its answers are those that livekit-server 1.13.5 was
// seen to give.

import assert from "node:assert/strict";
import { CreateRoomRequest, ListRoomsRequest, ListRoomsResponse, ParticipantInfo_State, Room } from "@livekit/protocol";
import { AccessToken, RoomServiceClient, TwirpError, type VideoGrant } from "livekit-server-sdk";
import { CertificateAuthority } from "../../testing/certificates.ts";
import { DevelopmentSfu, JoinRefused } from "../../testing/fake_sfu.ts";
import { ask, type Reply } from "./ask.ts";

const CREATE: VideoGrant = { roomCreate: true };

function sign(sfu: DevelopmentSfu, video: VideoGrant | null, options: { identity?: string; ttl?: number } = {}) {
  const token = new AccessToken(sfu.apiKey, sfu.apiSecret, options);
  if (video !== null) token.addGrant(video);
  return token.toJwt();
}

/** A call as `{authorization, contentType, path, body}` alter it. */
async function call(sfu: DevelopmentSfu, method: string, {
  video = CREATE,
  authorization,
  contentType = "application/json",
  verb = "POST",
  path = `/twirp/livekit.RoomService/${method}`,
  body = "{}",
}: {
  video?: VideoGrant | null;
  authorization?: string | null;
  contentType?: string;
  verb?: string;
  path?: string;
  body?: string | Uint8Array;
} = {}): Promise<Reply> {
  const bearer = authorization === undefined ? `Bearer ${await sign(sfu, video)}` : authorization;
  const headers = { "content-type": contentType, ...(bearer === null ? {} : { authorization: bearer }) };
  return ask(new URL(sfu.apiUrl), `${sfu.pathPrefix}${path}`, { method: verb, headers }, body);
}

async function validate(sfu: DevelopmentSfu, token: string): Promise<string> {
  const { status, headers, text } = await ask(
    new URL(sfu.apiUrl),
    `${sfu.pathPrefix}/rtc/validate?access_token=${token}`,
  );
  assert.equal(headers["access-control-allow-origin"], "*");
  return `${status} ${text}`;
}

Deno.test("LiveKit's own client makes, finds, lists and deletes rooms", async () => {
  await using sfu = await DevelopmentSfu.start();
  const client = new RoomServiceClient(sfu.apiUrl, sfu.apiKey, sfu.apiSecret);

  const made = await client.createRoom({ name: "a", emptyTimeout: 60, departureTimeout: 5 });
  assert.deepEqual([made.name, made.emptyTimeout, made.departureTimeout, made.numParticipants], ["a", 60, 5, 0]);
  const again = await client.createRoom({ name: "a", emptyTimeout: 1, departureTimeout: 1 });
  assert.deepEqual(again, made);

  await client.createRoom({ name: "b" });
  assert.deepEqual((await client.listRooms()).map(({ name }) => name), ["a", "b"]);
  assert.deepEqual((await client.listRooms(["b", "c"])).map(({ name }) => name), ["b"]);
  await client.deleteRoom("a");
  assert.deepEqual((await client.listRooms()).map(({ name }) => name), ["b"]);
  await assert.rejects(client.deleteRoom("a"), { status: 404, code: "not_found" });
  assert.equal(sfu.callCount("CreateRoom"), 3);
});

Deno.test("LiveKit's own client sees and removes participants", async () => {
  await using sfu = await DevelopmentSfu.start();
  const client = new RoomServiceClient(sfu.apiUrl, sfu.apiKey, sfu.apiSecret);
  sfu.rooms.create({ name: "a" });
  const joined = await sfu.join(await sign(sfu, { roomJoin: true, room: "a" }, { identity: "@alice:example.com:+/" }));

  const found = await client.getParticipant("a", "@alice:example.com:+/");
  assert.equal(found.sid, joined.sid);
  assert.equal(found.state, ParticipantInfo_State.ACTIVE);
  assert.deepEqual((await client.listParticipants("a")).map(({ sid }) => sid), [joined.sid]);
  assert.equal((await client.listRooms())[0]?.numParticipants, 1);

  await client.removeParticipant("a", "@alice:example.com:+/");
  assert.deepEqual(await client.listParticipants("a"), []);
  const isAbsent = (error: unknown) =>
    error instanceof TwirpError && error.status === 404 && error.code === "not_found";
  await assert.rejects(client.getParticipant("a", "@alice:example.com:+/"), isAbsent);
  await assert.rejects(client.removeParticipant("a", "@alice:example.com:+/"), isAbsent);
  await assert.rejects(client.getParticipant("no room", "alice"), isAbsent);
  assert.deepEqual(await client.listParticipants("no room"), []);
});

Deno.test("protobuf calls below a path prefix are answered in protobuf", async () => {
  await using sfu = await DevelopmentSfu.start({ pathPrefix: "/livekit/sfu" });
  const request = new CreateRoomRequest({ name: "a", emptyTimeout: 300, departureTimeout: 20, maxParticipants: 0 });
  const reply = await call(sfu, "CreateRoom", { contentType: "application/protobuf", body: request.toBinary() });
  assert.equal(reply.status, 200);
  assert.equal(reply.headers["content-type"], "application/protobuf");
  const room = Room.fromBinary(reply.body);
  assert.deepEqual([room.name, room.emptyTimeout, room.departureTimeout], ["a", 300, 20]);

  const body = new ListRoomsRequest().toBinary(); // an empty message is an empty body
  const list = await call(sfu, "ListRooms", { contentType: "application/protobuf", body, video: { roomList: true } });
  assert.deepEqual(ListRoomsResponse.fromBinary(list.body).rooms.map(({ sid }) => sid), [room.sid]);

  for (const otherPrefix of ["", "/livekit/abc"]) {
    const path = `${otherPrefix}/twirp/livekit.RoomService/CreateRoom`;
    assert.equal((await ask(new URL(sfu.apiUrl), path, { method: "POST" })).text, "404 page not found\n");
  }
});

Deno.test("JSON answers have LiveKit's names and hold empty fields", async () => {
  await using sfu = await DevelopmentSfu.start({ now: () => 1_700_000_000_123 });
  const { text } = await call(sfu, "CreateRoom", { body: '{"name":"a","empty_timeout":9,"departureTimeout":8,"x":1}' });
  const room = JSON.parse(text);
  assert.deepEqual([room.empty_timeout, room.departure_timeout, room.num_participants], [9, 8, 0]);
  assert.deepEqual([room.creation_time, room.creation_time_ms], ["1700000000", "1700000000123"]);
});

const PERMISSIONS_DENIED = ["unauthenticated", "permissions denied"];
const NO_PARTICIPANT = ["not_found", "twirp error unknown: participant does not exist"];
const TOO_LONG = ["invalid_argument", "twirp error unknown: room name length exceeds limits: max length 256"];
const ADMIN: VideoGrant = { roomAdmin: true, room: "a" };
const SOMEBODY = '{"room":"a","identity":"x"}';

const TWIRP_ERRORS: readonly (readonly [
  what: string,
  method: string,
  change: Parameters<typeof call>[2],
  status: number,
  error: readonly string[],
])[] = [
  ["no token", "CreateRoom", { authorization: null }, 401, PERMISSIONS_DENIED],
  ["a token without a grant", "CreateRoom", { video: null }, 401, PERMISSIONS_DENIED],
  ["another grant", "CreateRoom", { video: { roomList: true } }, 401, PERMISSIONS_DENIED],
  ["the grant to create", "ListRooms", {}, 401, PERMISSIONS_DENIED],
  ["another room's grant", "GetParticipant", { video: ADMIN, body: '{"room":"b"}' }, 401, PERMISSIONS_DENIED],
  ["no admin grant", "RemoveParticipant", { video: { room: "a" }, body: SOMEBODY }, 401, PERMISSIONS_DENIED],
  ["no admin grant", "ListParticipants", { body: '{"room":"a"}' }, 401, PERMISSIONS_DENIED],
  ["the grant to administer", "DeleteRoom", { video: ADMIN, body: '{"room":"a"}' }, 401, PERMISSIONS_DENIED],
  ["nobody of that name", "GetParticipant", { video: ADMIN, body: SOMEBODY }, 404, NO_PARTICIPANT],
  ["nobody of that name", "RemoveParticipant", { video: ADMIN, body: SOMEBODY }, 404, NO_PARTICIPANT],
  ["no such room", "DeleteRoom", { body: '{"room":"a"}' }, 404, [
    "not_found",
    "twirp error unknown: requested room does not exist",
  ]],
  ["a name of 257 bytes", "CreateRoom", { body: JSON.stringify({ name: "n".repeat(257) }) }, 400, TOO_LONG],
  [
    "a name of 129 two-byte characters",
    "CreateRoom",
    { body: JSON.stringify({ name: "ü".repeat(129) }) },
    400,
    TOO_LONG,
  ],
  ["broken JSON", "CreateRoom", { body: '{"name":' }, 400, ["malformed", "the json request could not be decoded"]],
  ["a field of another type", "CreateRoom", { body: '{"name":5}' }, 400, [
    "malformed",
    "the json request could not be decoded",
  ]],
  ["broken protobuf", "CreateRoom", { contentType: "application/protobuf", body: Uint8Array.of(255) }, 400, [
    "malformed",
    "the protobuf request could not be decoded",
  ]],
  ["another method", "Nothing", {}, 404, ["bad_route", 'no handler for path "/twirp/livekit.RoomService/Nothing"']],
  ["another content type", "CreateRoom", { contentType: "text/plain" }, 404, [
    "bad_route",
    'unexpected Content-Type: "text/plain"',
  ]],
  ["GET", "CreateRoom", { verb: "GET", body: "" }, 404, [
    "bad_route",
    'unsupported method "GET" (only POST is allowed)',
  ]],
];

for (const [what, method, change, status, [code, msg]] of TWIRP_ERRORS) {
  Deno.test(`${method} with ${what} is answered ${status} ${code}`, async () => {
    await using sfu = await DevelopmentSfu.start();
    const reply = await call(sfu, method, change);
    assert.equal(reply.status, status);
    assert.equal(reply.headers["content-type"], "application/json");
    const error = JSON.parse(reply.text);
    assert.deepEqual([error.code, error.msg], [code, msg]);
    assert.deepEqual(sfu.rooms.list(), []);
  });
}

Deno.test("a name of 256 bytes, doubled slashes and a token that ended 30 s ago are fine", async () => {
  await using sfu = await DevelopmentSfu.start();
  assert.equal((await call(sfu, "CreateRoom", { body: JSON.stringify({ name: "n".repeat(256) }) })).status, 200);
  assert.equal((await call(sfu, "", { path: "//twirp/livekit.RoomService/CreateRoom" })).status, 200);
  const authorization = `Bearer ${await sign(sfu, CREATE, { ttl: -30 })}`;
  assert.equal((await call(sfu, "CreateRoom", { authorization })).status, 200);
});

Deno.test("tokens that are not this SFU's are refused in plain text, before the route is looked at", async () => {
  await using sfu = await DevelopmentSfu.start();
  const wrongSecret = await new AccessToken(sfu.apiKey, "another secret of more than 32 characters").toJwt();
  const otherKey = await new AccessToken("other", sfu.apiSecret).toJwt();
  const expired = await sign(sfu, CREATE, { ttl: -90 });
  const cases: readonly (readonly [authorization: string, text: string])[] = [
    [`Bearer ${wrongSecret}`, `invalid token: ${wrongSecret}, error: token signature is invalid: signature is invalid`],
    [`Bearer ${otherKey}`, "invalid API key: other"],
    [`Bearer ${expired}`, `invalid token: ${expired}, error: token has invalid claims: token is expired`],
    ["Bearer nonsense", "invalid authorization token"],
    ["Basic nonsense", "invalid authorization header. Must start with Bearer "],
  ];
  for (const [authorization, text] of cases) {
    for (const method of ["CreateRoom", "Nothing"]) {
      const reply = await call(sfu, method, { authorization });
      assert.equal(reply.status, 401);
      assert.equal(reply.headers["content-type"], "text/plain; charset=utf-8");
      assert.equal(reply.text, text);
    }
  }
  assert.deepEqual(sfu.calls, []);
});

Deno.test("clients ask beforehand whether they may join, as they do at LiveKit", async () => {
  await using sfu = await DevelopmentSfu.start({ pathPrefix: "/livekit/sfu" });
  sfu.rooms.create({ name: "a" });
  const join = { roomJoin: true, room: "a" };
  const alice = { identity: "alice" };
  const ask = async (...arguments_: Parameters<typeof sign> extends [unknown, ...infer Rest] ? Rest : never) =>
    await validate(sfu, await sign(sfu, ...arguments_));

  assert.equal(await ask(join, alice), "200 success");
  assert.equal(await ask({ ...join, room: "b" }, alice), "404 requested room does not exist");
  assert.equal(await ask({ roomJoin: true }, alice), "400 no room name");
  assert.equal(await ask({ room: "a" }, alice), "401 permissions denied");
  assert.equal(await ask(null, alice), "401 no permissions to access the room");
  assert.equal(await ask(CREATE), "401 permissions denied");
  const tooLong = { identity: "ü".repeat(129) };
  assert.equal(await ask(join, tooLong), "400 participant identity length exceeds limits: max length 256");
  assert.equal(await validate(sfu, ""), "401 no permissions to access the room");
  assert.equal(await validate(sfu, "nonsense"), "401 invalid authorization token");
});

Deno.test("joining goes by the token; what LiveKit would refuse is refused without repeating the token", async () => {
  await using sfu = await DevelopmentSfu.start();
  const token = await sign(sfu, { roomJoin: true, room: "a" }, { identity: "alice" });
  await assert.rejects(sfu.join(token), new JoinRefused(404, "requested room does not exist"));
  sfu.rooms.create({ name: "a" });
  assert.equal((await sfu.join(token)).identity, "alice");
  assert.deepEqual(sfu.rooms.participants("a").map(({ identity }) => identity), ["alice"]);
  sfu.leave("a", "alice");
  assert.deepEqual(sfu.rooms.participants("a"), []);

  const forged = await new AccessToken(sfu.apiKey, "another secret of more than 32 characters").toJwt();
  await assert.rejects(sfu.join(forged), (error: unknown) => {
    assert(error instanceof JoinRefused);
    assert.equal(error.status, 401);
    assert(!error.message.includes(forged));
    return true;
  });
});

Deno.test("rooms end by the SFU's clock, which its Date header shows", async () => {
  let now = 1_700_000_000_000;
  await using sfu = await DevelopmentSfu.start({ now: () => now });
  const create = () => call(sfu, "CreateRoom", { body: '{"name":"a"}' });
  const first = await create();
  assert.equal(first.headers.date, "Tue, 14 Nov 2023 22:13:20 GMT");
  now += 300_000;
  const second = await create();
  assert.equal(second.headers.date, "Tue, 14 Nov 2023 22:18:20 GMT");
  assert.notEqual(JSON.parse(second.text).sid, JSON.parse(first.text).sid);
});

Deno.test("calls are remembered with their grants, connections and faulty calls are counted", async () => {
  await using sfu = await DevelopmentSfu.start();
  await call(sfu, "CreateRoom", { contentType: "application/protobuf", body: "" });
  await call(sfu, "GetParticipant", { video: { roomAdmin: true, room: "a" } });
  sfu.faults.inject({ kind: "status", status: 503 }, { times: 1, pathEnd: "/CreateRoom" });
  assert.equal((await call(sfu, "CreateRoom")).status, 503);
  assert.deepEqual(sfu.calls, [
    { method: "CreateRoom", contentType: "application/protobuf", video: { roomCreate: true } },
    { method: "GetParticipant", contentType: "application/json", video: { roomAdmin: true, room: "a" } },
  ]);
  assert.equal(sfu.callCount("CreateRoom"), 2);
  assert.equal(sfu.connections, 3);
  assert.equal(sfu.requests.length, 3);
});

Deno.test("the SFU speaks HTTPS with a certificate, and its URLs say so", async () => {
  const authority = await CertificateAuthority.create();
  const certificate = await authority.issue({ addresses: ["127.0.0.1"] });
  await using sfu = await DevelopmentSfu.start({ certificate, pathPrefix: "/sfu" });
  assert.equal(sfu.url, `wss://127.0.0.1:${sfu.port}/sfu`);
  assert.equal(sfu.apiUrl, `https://127.0.0.1:${sfu.port}/sfu`);
  const reply = await ask(new URL(sfu.apiUrl), "/sfu/", { ca: authority.certificate });
  assert.equal(`${reply.status} ${reply.text}`, "200 OK");
});
