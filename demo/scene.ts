// One exchange, played on the stage: what a client asks, what comes back, and what the SFU then says to the token.

import * as v from "valibot";
import { LEGACY_SLOT, roomAlias } from "../lib/livekit/identity.ts";
import { type Grant, grantFacts, readGrant } from "./grant.ts";
import type { DevelopmentHomeserver, OpenIdToken } from "../testing/fake_homeserver.ts";
import {
  type JoinOutcome,
  type Role,
  type RoomFate,
  type SceneFacts,
  type SceneStep,
  stepsOf,
  type Verdict,
  verdictOf,
} from "./scene_steps.ts";
import { type DevelopmentSfu, JoinRefused } from "../testing/fake_sfu.ts";
import type { Stage } from "./stage.ts";

/** What an exchange came to. */
export interface Scene {
  readonly role: Role;
  readonly user: string;
  readonly room: string;
  /** Of the service's answer. */
  readonly status: number;
  readonly verdict: Verdict;
  /** What a client would read out of the token; null when there is none. */
  readonly grant: Grant | null;
  /** The grant in words: names and values. */
  readonly grantFacts: readonly (readonly [name: string, value: string])[];
  /** What the SFU says to the token: may it join? null without one, or when the SFU could not be asked. */
  readonly canJoin: boolean | null;
  /** In the order of events. */
  readonly steps: readonly SceneStep[];
  /** For joining a real SFU; null without a token, and with the stand-in. */
  readonly answer: { readonly url: string; readonly jwt: string } | null;
}

const Answer = v.union([
  v.object({ url: v.string(), jwt: v.string() }),
  v.object({ errcode: v.string(), error: v.string() }),
]);

const DEVICE_ID = "DEMODEVICE";
const SFU_TIMEOUT_MS = 5000;

/** The user that a role says to be. */
export function userOf(role: Role, { local, federated }: Stage): string {
  return role === "federated" ? `@bob:${federated.serverName}` : `@alice:${local.serverName}`;
}

/** The homeserver that vouches for a role's user. */
export function homeserverOf(role: Role, { local, federated }: Stage): DevelopmentHomeserver {
  return role === "local" ? local : federated;
}

/** A fresh OpenID token of a role's user. */
export function tokenOf(role: Role, stage: Stage): OpenIdToken {
  return homeserverOf(role, stage).mintOpenIdTokenFor(userOf(role, stage));
}

/** Plays one exchange for a Matrix room. With a token that the stand-in lets in, the user is in the room afterwards. */
export function play(role: Role, room: string, stage: Stage, deviceId: string = DEVICE_ID): Promise<Scene> {
  return stage.inTurn(() => playNow(role, room, stage, deviceId));
}

async function playNow(role: Role, room: string, stage: Stage, deviceId: string): Promise<Scene> {
  const user = userOf(role, stage);
  const homeserver = homeserverOf(role, stage);
  const alias = roomAlias(room, LEGACY_SLOT);
  stage.roomIds.set(alias, room);
  stage.takeLog();
  const askedBefore = homeserver.userInfoRequests;
  const fate = watchRoom(alias, stage.sfu);

  const request = { room, openid_token: tokenOf(role, stage), device_id: deviceId };
  const response = await postTo(stage, request);
  const answer = v.parse(Answer, await response.json());

  const granted = "jwt" in answer ? answer : null;
  const grant = granted === null ? null : readGrant(granted.jwt);
  const roomFate = fate(response.status);
  const join = granted === null ? null : await (stage.sfu === null ? askSfu(granted) : joinStandIn(stage.sfu, granted));
  const facts: SceneFacts = {
    role,
    user,
    room,
    alias,
    deviceId,
    homeserver: { name: homeserver.serverName, wasAsked: homeserver.userInfoRequests > askedBefore },
    status: response.status,
    error: "errcode" in answer ? `${answer.errcode}: ${answer.error}` : null,
    grant,
    roomFate,
    join,
    log: stage.takeLog(),
  };
  return {
    role,
    user,
    room,
    status: response.status,
    verdict: verdictOf(facts),
    grant,
    grantFacts: grant === null ? [] : grantFacts(grant),
    canJoin: join?.isLetIn ?? null,
    steps: stepsOf(facts),
    answer: stage.sfu === null ? granted : null,
  };
}

/** Asks the service for a token, as a client does. */
export function postTo({ serviceUrl }: Stage, request: object): Promise<Response> {
  return fetch(`${serviceUrl}/sfu/get`, { method: "POST", body: JSON.stringify(request) });
}

// Looks at the room now, and again when the service has answered with a status.
function watchRoom(alias: string, sfu: DevelopmentSfu | null): (status: number) => RoomFate {
  const sidBefore = sfu?.rooms.get(alias)?.sid;
  const callsBefore = sfu?.callCount("CreateRoom");
  return (status) => {
    if (sfu !== null) {
      const sid = sfu.rooms.get(alias)?.sid;
      const wasCalled = sfu.callCount("CreateRoom") !== callsBefore;
      if (sid !== sidBefore) return "created";
      if (wasCalled && sid !== undefined) return "found";
      if (status === 200) return sid === undefined ? "absent" : "exists";
      return wasCalled ? "failed" : "untouched";
    }
    if (status === 200) return "unseen";
    return status < 500 ? "untouched" : "failed";
  };
}

async function joinStandIn(sfu: DevelopmentSfu, { jwt }: { jwt: string }): Promise<JoinOutcome> {
  try {
    const { sid } = await sfu.join(jwt);
    return { isLetIn: true, text: `session ${sid}` };
  } catch (error) {
    if (!(error instanceof JoinRefused)) throw error;
    return { isLetIn: false, text: error.message };
  }
}

// The question that LiveKit's own client asks over HTTP.
async function askSfu({ url, jwt }: { url: string; jwt: string }): Promise<JoinOutcome> {
  try {
    const validate = new URL(`${url.replace(/^ws/, "http").replace(/\/$/, "")}/rtc/validate`);
    validate.searchParams.set("access_token", jwt);
    const response = await fetch(validate, { signal: AbortSignal.timeout(SFU_TIMEOUT_MS) });
    const text = (await response.text()).replaceAll(jwt, "[token]").trim();
    return response.ok ? { isLetIn: true, text: `GET /rtc/validate: ${text}` } : { isLetIn: false, text };
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error);
    return { isLetIn: null, text: `the SFU cannot be asked: ${cause.replaceAll(jwt, "[token]")}` };
  }
}
