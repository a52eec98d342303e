// Who is in a room, as the SFU tells it: one participant, or all of them, over real HTTP on loopback.

import assert from "node:assert/strict";
import {
  ListParticipantsRequest,
  ListParticipantsResponse,
  ListRoomsRequest,
  ListRoomsResponse,
  ParticipantInfo,
  ParticipantInfo_State,
  Room,
  RoomParticipantIdentity,
} from "@livekit/protocol";
import { TokenVerifier } from "livekit-server-sdk";
import { AccessTokenSigner } from "../../lib/livekit/access_token.ts";
import { type Identity, roomAlias } from "../../lib/livekit/identity.ts";
import { RoomService } from "../../lib/livekit/room_service.ts";
import { SfuError } from "../../lib/livekit/sfu_error.ts";
import { AddressGuard } from "../../lib/net/address_guard.ts";
import { OutboundClient } from "../../lib/net/client.ts";
import { systemClock } from "../../lib/platform.ts";
import { Secret } from "../../lib/secret.ts";

const SECRET = "a secret of at least 32 characters";
const ALIAS = roomAlias("!room:example.com", "m.call#ROOM");
const ALICE = "@alice:example.com:DEVICE" as Identity;
const MIB = 1024 * 1024;

interface Stage extends AsyncDisposable {
  readonly service: RoomService;
  /** What the SFU was asked, and by whose authority. */
  readonly asked: { readonly path: string; readonly token: string; readonly body: Uint8Array }[];
}

/** A room service before an SFU that gives one answer to everything. */
function stage(answer: () => Response): Stage {
  const asked: Stage["asked"] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const token = (request.headers.get("authorization") ?? "").slice("Bearer ".length);
    asked.push({ path: new URL(request.url).pathname, token, body: await request.bytes() });
    return answer();
  });
  const guard = new AddressGuard([]);
  const outbound = new OutboundClient({ guard, verifyTls: true, clock: systemClock, userAgent: "test" });
  const service = new RoomService({
    apiUrl: new URL(`http://127.0.0.1:${server.addr.port}/sfu`),
    outbound,
    signer: new AccessTokenSigner({ name: "devkey", secret: new Secret(SECRET) }),
    clock: { ...systemClock, sleep: () => Promise.resolve() },
  });
  return {
    service,
    asked,
    async [Symbol.asyncDispose]() {
      outbound.close();
      await server.shutdown();
    },
  };
}

function message(bytes: Uint8Array): Response {
  return new Response(bytes.slice(), { headers: { "content-type": "application/protobuf" } });
}

function twirpError(status: number, code: string): Response {
  return Response.json({ code, msg: "as the SFU says it" }, { status });
}

function participant(identity: string, fields: ConstructorParameters<typeof ParticipantInfo>[0] = {}): ParticipantInfo {
  return new ParticipantInfo({ identity, sid: `PA_${identity}`, state: ParticipantInfo_State.ACTIVE, ...fields });
}

/** As many participants, each of about as many bytes. */
function crowd(size: number, bytesEach: number): Uint8Array {
  const metadata = "x".repeat(bytesEach);
  const participants = Array.from({ length: size }, (_, n) => participant(`@user${n}:example.com:D`, { metadata }));
  return new ListParticipantsResponse({ participants }).toBinary();
}

const LOOKS: readonly (readonly [name: string, answer: () => Response, outcome: string])[] = [
  ["somebody in the call", () => message(participant(ALICE).toBinary()), "present"],
  [
    "somebody whose socket has just opened",
    () => message(participant(ALICE, { state: ParticipantInfo_State.JOINING }).toBinary()),
    "present",
  ],
  [
    "somebody who has just left",
    () => message(participant(ALICE, { state: ParticipantInfo_State.DISCONNECTED }).toBinary()),
    "absent",
  ],
  ["404 not_found", () => twirpError(404, "not_found"), "absent"],
  ["404 bad_route, as below a wrong path", () => twirpError(404, "bad_route"), "unknown"],
  ["a 404 page", () => new Response("<html>", { status: 404 }), "unknown"],
  ["401", () => twirpError(401, "unauthenticated"), "unknown"],
  ["500", () => twirpError(500, "internal"), "unknown"],
  ["a page with status 200", () => new Response("<html>\xff\xff\xff"), "unknown"],
  ["an empty answer with status 200", () => message(new Uint8Array()), "unknown"],
];
for (const [name, answer, outcome] of LOOKS) {
  Deno.test(`a look that finds ${name} means ${outcome}`, async () => {
    await using sfu = stage(answer);
    const looking = sfu.service.getParticipant(ALIAS, ALICE, AbortSignal.timeout(5000));
    if (outcome === "unknown") return void await assert.rejects(looking, SfuError);
    assert.deepEqual(await looking, outcome === "present" ? { outcome, sid: `PA_${ALICE}` } : { outcome });
  });
}

Deno.test("a look asks for one participant of one room, by a token for that room alone", async () => {
  await using sfu = stage(() => message(participant(ALICE).toBinary()));
  await sfu.service.getParticipant(ALIAS, ALICE, AbortSignal.timeout(5000));
  const [asked] = sfu.asked;
  assert.equal(asked?.path, "/sfu/twirp/livekit.RoomService/GetParticipant");
  const { room, identity } = RoomParticipantIdentity.fromBinary(asked?.body ?? new Uint8Array());
  assert.deepEqual([room, identity], [ALIAS, ALICE]);
  const claims = await new TokenVerifier("devkey", SECRET).verify(asked?.token ?? "");
  assert.deepEqual(claims.video, { roomAdmin: true, room: ALIAS });
});

Deno.test("a list names everybody who has not left, with their sessions", async () => {
  const gone = participant("gone", { state: ParticipantInfo_State.DISCONNECTED });
  const participants = [participant(ALICE), gone];
  await using sfu = stage(() => message(new ListParticipantsResponse({ participants }).toBinary()));
  const listed = await sfu.service.listParticipants(ALIAS, AbortSignal.timeout(5000));
  assert.deepEqual([...listed], [[ALICE, `PA_${ALICE}`]]);
  assert.equal(ListParticipantsRequest.fromBinary(sfu.asked[0]?.body ?? new Uint8Array()).room, ALIAS);
});

Deno.test("a room that does not exist is empty; an SFU that does not say is no empty room", async () => {
  {
    await using sfu = stage(() => twirpError(404, "not_found"));
    assert.equal((await sfu.service.listParticipants(ALIAS, AbortSignal.timeout(5000))).size, 0);
  }
  {
    await using sfu = stage(() => message(new Uint8Array()));
    assert.equal((await sfu.service.listParticipants(ALIAS, AbortSignal.timeout(5000))).size, 0);
  }
  const silences = [
    () => twirpError(404, "bad_route"),
    () => twirpError(503, "unavailable"),
    () => new Response("", { headers: { "content-type": "text/html" } }),
    () => new Response(),
  ];
  for (const answer of silences) {
    await using sfu = stage(answer);
    await assert.rejects(sfu.service.listParticipants(ALIAS, AbortSignal.timeout(5000)), SfuError);
  }
});

Deno.test("a list of thousands is read, up to 16 MiB", async () => {
  await using sfu = stage(() => message(crowd(5000, 3000)));
  assert.equal((await sfu.service.listParticipants(ALIAS, AbortSignal.timeout(5000))).size, 5000);
  await using huge = stage(() => message(crowd(17, MIB)));
  await assert.rejects(huge.service.listParticipants(ALIAS, AbortSignal.timeout(5000)), /over 16777216 bytes/);
});

Deno.test("a participant may have 1 MiB, and a room 128 KiB", async () => {
  await using sfu = stage(() => message(participant(ALICE, { metadata: "x".repeat(MIB) }).toBinary()));
  await assert.rejects(sfu.service.getParticipant(ALIAS, ALICE, AbortSignal.timeout(5000)), /over 1048576 bytes/);
  await assert.rejects(sfu.service.createRoom(ALIAS, AbortSignal.timeout(5000)), /over 131072 bytes/);
});

const ROOM_MADE_AT = Date.parse("2026-11-24T12:00:00Z");

Deno.test("a room is as old as the SFU's own clock has it, up to a second more", async () => {
  const room = new Room({
    name: ALIAS,
    creationTime: BigInt(ROOM_MADE_AT / 1000),
    creationTimeMs: BigInt(ROOM_MADE_AT),
  });
  await using sfu = stage(() => {
    const response = message(new ListRoomsResponse({ rooms: [new Room({ name: "other" }), room] }).toBinary());
    response.headers.set("date", "Tue, 24 Nov 2026 12:01:00 GMT");
    return response;
  });
  assert.equal(await sfu.service.roomAge(ALIAS, new AbortController().signal), 60_999);
  const [asked] = sfu.asked;
  assert.ok(asked !== undefined);
  assert.equal(asked.path, "/sfu/twirp/livekit.RoomService/ListRooms");
  assert.deepEqual(ListRoomsRequest.fromBinary(asked.body).names, [ALIAS]);
});

Deno.test("a room that is not there has no age", async () => {
  await using sfu = stage(() => message(new ListRoomsResponse().toBinary()));
  assert.equal(await sfu.service.roomAge(ALIAS, new AbortController().signal), null);
});
