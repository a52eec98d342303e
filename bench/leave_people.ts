// The people of the benchmark of delegated leaves: person number n is always the same user of the same homeserver, in the
// same room, with the same leave event. Service, fakes and stores are all told of them by number.

import type { StoredJob } from "../lib/leave/store/store.ts";
import { hashedIdentity, type Identity, legacyIdentity, type RoomAlias, roomAlias } from "../lib/livekit/identity.ts";
import { parseServerName, type ServerName } from "../lib/matrix/server_name.ts";

/** Homeservers: each is asked 500 times a second at most, so that together they never hold the service back. */
export const HOMESERVERS = 40;
/** A usual call. */
export const PEOPLE_PER_ROOM = 8;
const SLOT = "m.call#ROOM";
const DEVICE = "BENCHMARK1";
const MEMBER = "8f14e45f-ceea-467f-a8b3-0123456789ab";

/** Somebody in a call. */
export interface Person {
  readonly userId: string;
  readonly homeserver: string;
  readonly roomId: string;
  readonly room: RoomAlias;
  readonly identity: Identity;
  readonly sid: string;
  readonly delayId: string;
}

/** Names of all homeservers. */
export function homeserverNames(): string[] {
  return Array.from({ length: HOMESERVERS }, (_, index) => `hs${index}.example`);
}

/** Person number n. */
export function personOf(n: number): Person {
  const homeserver = `hs${n % HOMESERVERS}.example`;
  const userId = `@user${n}:${homeserver}`;
  const roomId = `!room${Math.floor(n / PEOPLE_PER_ROOM)}:${homeserverNames()[0]}`;
  return {
    userId,
    homeserver,
    roomId,
    room: roomAlias(roomId, SLOT),
    identity: hashedIdentity(userId, DEVICE, MEMBER),
    sid: `PA_${String(n).padStart(12, "0")}`,
    delayId: `syd_${String(n).padStart(20, "x")}`,
  };
}

/** What a client says at `/get_token` and `/delegate_delayed_leave`. The token of a user is the user's ID. */
export function requestOf(n: number, delayMs: number): string {
  const { userId, homeserver, roomId, delayId } = personOf(n);
  return JSON.stringify({
    room_id: roomId,
    slot_id: SLOT,
    openid_token: { access_token: userId, token_type: "Bearer", matrix_server_name: homeserver, expires_in: 3600 },
    member: { id: MEMBER, claimed_user_id: userId, claimed_device_id: DEVICE },
    delay_id: delayId,
    delay_timeout: delayMs,
  });
}

/** The job of somebody who is connected, as stores keep it. */
export function connectedJob(n: number, delayMs: number): StoredJob {
  const { userId, room, identity, sid, delayId, ...person } = personOf(n);
  return {
    room,
    identity,
    watched: [identity, legacyIdentity(userId, DEVICE)],
    homeserver: serverName(person.homeserver),
    delayId,
    delayMs,
    state: "connected",
    sessions: { [identity]: sid },
    timerStartedAt: Date.now(),
    delegatedAt: Date.now(),
    connectedAt: null,
    waitUntil: Date.now() + delayMs,
    hint: "none",
    absentSince: null,
  };
}

function serverName(text: string): ServerName {
  const name = parseServerName(text);
  if (name === null) throw new TypeError(`No server name: "${text}"`);
  return name;
}
