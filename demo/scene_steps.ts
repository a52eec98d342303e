// Tells an exchange for people, step by step: what was asked, who was asked, what was decided, what came out. The
// terminal and the page show the same steps.

import type { Grant } from "./grant.ts";

/** Who asks: a user of the own homeserver, of another one, or of one that lies. */
export const ROLES = ["local", "federated", "impostor"] as const;
export type Role = typeof ROLES[number];

/**
 * What became of the room: made by CreateRoom, found by it, there without it, not there; not asked about, refused by
 * the SFU; or on an SFU that the stage does not see into.
 */
export type RoomFate = "created" | "found" | "exists" | "absent" | "untouched" | "failed" | "unseen";

/** What the SFU said to the token, in its words; null when it could not be asked. */
export interface JoinOutcome {
  readonly isLetIn: boolean | null;
  readonly text: string;
}

/** All that an exchange is told from. */
export interface SceneFacts {
  readonly role: Role;
  readonly user: string;
  readonly room: string;
  /** Name of the room on the SFU. */
  readonly alias: string;
  readonly deviceId: string;
  /** The homeserver that the OpenID token names, and whether the service asked it. */
  readonly homeserver: { readonly name: string; readonly wasAsked: boolean };
  /** Of the service's answer. */
  readonly status: number;
  /** The service's error code and text; null with a grant. */
  readonly error: string | null;
  readonly grant: Grant | null;
  readonly roomFate: RoomFate;
  /** Null without a token. */
  readonly join: JoinOutcome | null;
  /** Lines of the service's log. */
  readonly log: readonly string[];
}

/** One step. */
export interface SceneStep {
  readonly title: string;
  /** Where the grant belongs, if there is one; what is to be shown as it is. */
  readonly kind: "event" | "answer" | "log";
  /** How it went; "skipped" when there was nothing to do. */
  readonly state: "done" | "refused" | "skipped";
  /** The first line says it all. */
  readonly lines: readonly string[];
}

/** What came of it, in a word and in a sentence. */
export interface Verdict {
  /** A token that the SFU lets in, one that it does not let in (yet), no token, gone in time, or nobody knows. */
  readonly kind: "joins" | "waits" | "refused" | "left" | "unclear";
  readonly text: string;
}

/** The steps of an exchange, in the order of events. */
export function stepsOf(facts: SceneFacts): SceneStep[] {
  const { room, deviceId, homeserver, log } = facts;
  return [
    {
      title: "The client asks",
      kind: "event",
      state: "done",
      lines: [`POST /sfu/get for ${room}`, `as device ${deviceId}, with an OpenID token of ${homeserver.name}`],
    },
    homeserverStep(facts),
    decisionStep(facts),
    roomStep(facts),
    answerStep(facts),
    joinStep(facts),
    { title: "The service's log", kind: "log", state: "done", lines: log },
  ];
}

/** What an exchange came to. */
export function verdictOf({ role, user, homeserver, status, grant, join }: SceneFacts): Verdict {
  if (status === 401) return { kind: "refused", text: `Refused: ${homeserver.name} cannot vouch for ${user}` };
  if (grant === null) return { kind: "refused", text: `No token for ${user}: the service answered ${status}` };
  switch (join?.isLetIn) {
    case true:
      return { kind: "joins", text: `${user} joins, with ${role === "local" ? "full" : "restricted"} access` };
    case false:
      return { kind: "waits", text: `${user} has a token, but the SFU does not let it in: ${join?.text}` };
    default:
      return { kind: "unclear", text: `${user} has a token, but the SFU could not be asked` };
  }
}

function homeserverStep({ homeserver: { name, wasAsked }, user }: SceneFacts): SceneStep {
  const title = "The service asks the homeserver";
  if (!wasAsked) return { title, kind: "event", state: "skipped", lines: [`${name} was not asked`] };
  const lines = [`GET /_matrix/federation/v1/openid/userinfo at ${name}`, `It answers: the token is ${user}'s`];
  return { title, kind: "event", state: "done", lines };
}

function decisionStep({ role, user, status, homeserver, error, roomFate }: SceneFacts): SceneStep {
  const title = "It decides";
  if (status === 401) {
    return {
      title,
      kind: "event",
      state: "refused",
      lines: [`Not authorised: ${homeserver.name} cannot vouch for ${user}`],
    };
  }
  if (error !== null && roomFate !== "failed") return { title, kind: "event", state: "refused", lines: ["No token"] };
  const decision = role === "local"
    ? "Full access: the homeserver is listed, its users may begin calls"
    : "Restricted access: the homeserver is not listed, its users may join what exists";
  return { title, kind: "event", state: "done", lines: [decision] };
}

function roomStep({ roomFate, alias, role }: SceneFacts): SceneStep {
  const title = "The room on the SFU";
  switch (roomFate) {
    case "created":
      return { title, kind: "event", state: "done", lines: ["Created by CreateRoom", alias] };
    case "found":
      return { title, kind: "event", state: "done", lines: ["Found by CreateRoom, as it was", alias] };
    case "exists":
      return { title, kind: "event", state: "done", lines: ["Exists already, without CreateRoom", alias] };
    case "absent":
      return { title, kind: "event", state: "skipped", lines: ["Does not exist, and was not created", alias] };
    case "untouched":
      return { title, kind: "event", state: "skipped", lines: ["Not touched"] };
    case "failed":
      return { title, kind: "event", state: "refused", lines: ["Not created: the SFU did not do as asked", alias] };
    case "unseen":
      return role === "local"
        ? { title, kind: "event", state: "done", lines: ["Created by CreateRoom, or found by it", alias] }
        : { title, kind: "event", state: "skipped", lines: ["Not created for this user", alias] };
  }
}

function answerStep({ status, error, grant }: SceneFacts): SceneStep {
  const title = `The answer: ${status}`;
  return grant === null
    ? { title, kind: "answer", state: "refused", lines: [error ?? ""] }
    : { title, kind: "answer", state: "done", lines: ["A LiveKit token for this room and this device"] };
}

function joinStep({ join }: SceneFacts): SceneStep {
  const title = "May it join?";
  if (join === null) return { title, kind: "event", state: "skipped", lines: ["There is no token"] };
  const { isLetIn, text } = join;
  if (isLetIn === null) return { title, kind: "event", state: "skipped", lines: ["Nobody knows", text] };
  return isLetIn
    ? { title, kind: "event", state: "done", lines: ["Yes: the SFU lets this token into the room", text] }
    : {
      title,
      kind: "event",
      state: "refused",
      lines: ["No, not until a user with full access begins the call", text],
    };
}
