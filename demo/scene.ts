// One exchange, played on the stage and told step by step: what was asked, who was asked, what was decided, what came
// out. The terminal and the page show the same steps.

import * as v from "valibot";
import type { OpenIdToken } from "./homeserver.ts";
import type { Stage } from "./stage.ts";

/** Who asks: a user of the own homeserver, of another one, or of one that lies. */
export const ROLES = ["local", "federated", "impostor"] as const;
export type Role = typeof ROLES[number];

/** One step, for people. */
export interface SceneStep {
  readonly title: string;
  readonly detail: string;
}

/** What an exchange came to. */
export interface Scene {
  readonly role: Role;
  readonly user: string;
  readonly room: string;
  readonly status: number;
  /** What a client would read out of the token; null when there is none. */
  readonly grant: Grant | null;
  /** What the SFU says to the token: may it join? null without one, or with an SFU that is not ours to ask. */
  readonly canJoin: boolean | null;
  readonly steps: readonly SceneStep[];
  /** For joining an SFU that is not the stand-in. */
  readonly answer: { readonly url: string; readonly jwt: string } | null;
}

/** The payload of a LiveKit token, as far as it is shown. */
export type Grant = v.InferOutput<typeof GrantPayload>;

const Answer = v.union([
  v.object({ url: v.string(), jwt: v.string() }),
  v.object({ errcode: v.string(), error: v.string() }),
]);
const GrantPayload = v.looseObject({ sub: v.string(), exp: v.number(), video: v.looseObject({ room: v.string() }) });

/** The user of a role, and a fresh OpenID token of theirs. */
export function castRole(role: Role, { local, federated }: Stage): { user: string; token: OpenIdToken } {
  switch (role) {
    case "local":
      return { user: `@alice:${local.serverName}`, token: local.mintOpenIdToken("alice") };
    case "federated":
      return { user: `@bob:${federated.serverName}`, token: federated.mintOpenIdToken("bob") };
    case "impostor":
      return {
        user: `@alice:${local.serverName}`,
        token: federated.mintOpenIdTokenFor(`@alice:${local.serverName}`),
      };
  }
}

/** Plays one exchange for a Matrix room. */
export async function play(role: Role, room: string, stage: Stage): Promise<Scene> {
  const { user, token } = castRole(role, stage);
  stage.takeLog();
  const created = stage.sfu?.callCount("CreateRoom") ?? 0;

  const request = { room, openid_token: token, device_id: "DEMODEVICE" };
  const response = await fetch(`${stage.serviceUrl}/sfu/get`, { method: "POST", body: JSON.stringify(request) });
  const answer = v.parse(Answer, await response.json());
  const grant = "jwt" in answer ? readGrant(answer.jwt) : null;
  const canJoin = "jwt" in answer && stage.sfu !== null ? await mayJoin(stage.sfu.apiUrl, answer.jwt) : null;

  const createdNow = (stage.sfu?.callCount("CreateRoom") ?? 0) > created;
  return {
    role,
    user,
    room,
    status: response.status,
    grant,
    canJoin,
    answer: "jwt" in answer ? answer : null,
    steps: [
      { title: "The client asks", detail: `POST /sfu/get ${JSON.stringify(withoutToken(request))}` },
      { title: "The service asks the homeserver", detail: `GET …/openid/userinfo at ${token.matrix_server_name}` },
      { title: "It decides", detail: decision(role, response.status) },
      { title: "The room on the SFU", detail: roomStory(stage, grant, createdNow) },
      {
        title: `The answer: ${response.status}`,
        detail: grant === null ? JSON.stringify(answer) : JSON.stringify(grant),
      },
      { title: "May it join?", detail: joinStory(grant, canJoin) },
      { title: "The service's log", detail: stage.takeLog().join("\n") },
    ],
  };
}

function decision(role: Role, status: number): string {
  if (status !== 200) return "Not authorised: that homeserver cannot vouch for this user";
  return role === "local"
    ? "Full access: the homeserver is listed, its users may create rooms"
    : "Restricted access: the homeserver is not listed, its users may join what exists";
}

function roomStory(stage: Stage, grant: Grant | null, createdNow: boolean): string {
  if (grant === null) return "Not touched";
  if (stage.sfu === null) return `${grant.video.room} on ${new URL(grant.video.room, "http://sfu").pathname.slice(1)}`;
  if (createdNow) return `Created (or found): ${grant.video.room}`;
  return stage.sfu.rooms.get(grant.video.room) === null ? "Does not exist, and was not created" : "Exists already";
}

function joinStory(grant: Grant | null, canJoin: boolean | null): string {
  if (grant === null) return "There is no token";
  if (canJoin === null) return "Ask the SFU";
  return canJoin
    ? "Yes: the SFU lets this token into the room"
    : "No: the SFU has no such room, until a local user begins";
}

async function mayJoin(apiUrl: string, jwt: string): Promise<boolean> {
  const response = await fetch(`${apiUrl}/rtc/validate?access_token=${jwt}`);
  await response.body?.cancel();
  return response.ok;
}

// Exactly as clients do it: `atob`, not base64url.
function readGrant(jwt: string): Grant {
  return v.parse(GrantPayload, JSON.parse(atob(jwt.split(".")[1] ?? "")));
}

function withoutToken(request: { openid_token: OpenIdToken }): unknown {
  return { ...request, openid_token: { ...request.openid_token, access_token: "…" } };
}
