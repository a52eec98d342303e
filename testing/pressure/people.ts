// Everybody of a made-up homeserver with the longest names there may be: each is in a room of their own, for as long as
// the SFU is asked, and has a delayed leave event that can always be restarted.

import { ListParticipantsRequest, ListParticipantsResponse, ParticipantInfo } from "@livekit/protocol";
import { ParticipantInfo_State, Room, RoomParticipantIdentity } from "@livekit/protocol";
import { encodeJob, type StoredTexts } from "../../lib/leave/store/stored_job.ts";
import { legacyIdentity, MAX_IDENTITY_BYTES, roomAlias } from "../../lib/livekit/identity.ts";
import { parseServerName } from "../../lib/matrix/server_name.ts";

const MAX_DELAY_ID_BYTES = 255;
const DELAY_MS = 60 * 60_000;
const SLOT = "m.call#ROOM";
const DEVICE = "DEVICE";

/** A server name that leaves user IDs some room: with the localpart they have 255 bytes at most. */
export const LONGEST_NAME = `${"long-".repeat(38)}name.example`;

/** Somebody, by number. */
export function personOf(n: number) {
  const userId = `@${
    String(n).padStart(MAX_IDENTITY_BYTES - 3 - LONGEST_NAME.length - DEVICE.length, "0")
  }:${LONGEST_NAME}`;
  const roomId = `!room${n}:${LONGEST_NAME}`;
  return {
    userId,
    roomId,
    device: DEVICE,
    identity: legacyIdentity(userId, DEVICE),
    room: roomAlias(roomId, SLOT),
    sid: `PA_${String(n).padStart(12, "0")}`,
    delayId: `d${n}-`.padEnd(MAX_DELAY_ID_BYTES, "x"),
  };
}

/** The largest job that a client can have made, as stores keep it: it came under four identities in turn. */
export function largestJob(n: number, delayId = personOf(n).delayId): StoredTexts {
  const { userId, room, identity, sid } = personOf(n);
  const homeserver = parseServerName(LONGEST_NAME);
  if (homeserver === null) throw new TypeError(`No server name: "${LONGEST_NAME}"`);
  const watched = [identity, ...["OTHER1", "OTHER2", "OTHER3"].map((device) => legacyIdentity(userId, device))];
  const now = Date.now();
  return encodeJob({
    ...{ room, identity, watched, homeserver, delayId, delayMs: DELAY_MS, state: "connected" },
    sessions: Object.fromEntries(watched.map((identity) => [identity, sid])),
    ...{ timerStartedAt: now, delegatedAt: now, connectedAt: now, waitUntil: now + DELAY_MS },
    ...{ hint: "none", absentSince: null },
  });
}

/** What such a person's client sends to `/sfu/get`, with a token that {@link startOthers} takes for theirs. */
export function requestOf(n: number) {
  const { userId, roomId, device, delayId } = personOf(n);
  return {
    room: roomId,
    device_id: device,
    openid_token: { access_token: userId, matrix_server_name: LONGEST_NAME },
    delay_id: delayId,
    delay_timeout: DELAY_MS,
  };
}

const AS_JSON = { headers: { "content-type": "application/json" } };
const AS_PROTOBUF = { headers: { "content-type": "application/protobuf" } };
const VERSIONS = '{"versions":["v1.12"],"unstable_features":{"org.matrix.msc4140":true}}';

/** Starts their homeserver and an SFU in which all of them are, whom it asks about; gives the base URL of both. */
export function startOthers(parts: AsyncDisposableStack): string {
  const sids = new Map<string, { readonly identity: string; readonly sid: string }>();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname.endsWith("/userinfo")) {
      return new Response(JSON.stringify({ sub: searchParams.get("access_token") }), AS_JSON);
    }
    if (pathname.endsWith("/versions")) return new Response(VERSIONS, AS_JSON);
    const body = await request.bytes();
    const present = (room: string, identity: string) =>
      new ParticipantInfo({
        identity,
        sid: sids.get(room)?.sid ?? `PA_${room.slice(0, 12)}`,
        state: ParticipantInfo_State.ACTIVE,
      });
    if (pathname.endsWith("/CreateRoom")) {
      return new Response(
        new Room({ creationTime: BigInt(Math.floor(Date.now() / 1000)) }).toBinary().slice(),
        AS_PROTOBUF,
      );
    }
    if (pathname.endsWith("/GetParticipant")) {
      const { room, identity } = RoomParticipantIdentity.fromBinary(body);
      return new Response(present(room, identity).toBinary().slice(), AS_PROTOBUF);
    }
    if (pathname.endsWith("/ListParticipants")) {
      const { room } = ListParticipantsRequest.fromBinary(body);
      const known = sids.get(room);
      const participants = known === undefined ? [] : [present(room, known.identity)];
      return new Response(new ListParticipantsResponse({ participants }).toBinary().slice(), AS_PROTOBUF);
    }
    return new Response("{}", AS_JSON);
  });
  parts.defer(() => server.shutdown());
  for (let n = 0; n < MAX_PEOPLE; n++) {
    const { room, identity, sid } = personOf(n);
    sids.set(room, { identity, sid });
  }
  return `http://127.0.0.1:${server.addr.port}`;
}

/** Of so many the SFU knows whose rooms are theirs. */
export const MAX_PEOPLE = 120_000;
