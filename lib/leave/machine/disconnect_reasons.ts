// What the end of a LiveKit session means for the leave event of its participant: one row for each of LiveKit's reasons.

import type { DisconnectReason } from "@livekit/protocol";

/** Why a leave is sent, as the log names it. */
export type LeaveReason =
  | "hang-up"
  | "time-out"
  | "removed"
  | "room closed"
  | "connection lost"
  | "absence"
  | "never connected";

/** What the end of a session means. */
export type SessionEnd =
  /** The participant is still in the call, in another session. */
  | "replaced"
  /** The client comes back by itself within a second or so: only an absence that lasts is a leave. */
  | "interrupted"
  /** A leave, once one presence check finds nobody. */
  | { readonly leave: LeaveReason };

/**
 * Source: `DisconnectReason` in livekit_models.proto, and what LiveKit 1.13.5 was seen to do.
 */
const MEANINGS: Readonly<Record<keyof typeof DisconnectReason, SessionEnd>> = {
  // A webhook of an SFU that gives no reason.
  UNKNOWN_REASON: { leave: "connection lost" },
  // Hang-up, closed tab, reload. As the reason of an attempt that was aborted, the client gave up that attempt.
  CLIENT_INITIATED: { leave: "hang-up" },
  // The same identity connected anew; the new session's webhook follows.
  DUPLICATE_IDENTITY: "replaced",
  // The SFU ends, and clients reconnect to its successor.
  SERVER_SHUTDOWN: "interrupted",
  PARTICIPANT_REMOVED: { leave: "removed" },
  ROOM_DELETED: { leave: "room closed" },
  // LiveKit ordered a full reconnect: nobody is found for a moment, and the client is back 238 ms later.
  STATE_MISMATCH: "interrupted",
  // Signaling stood, media never did.
  JOIN_FAILURE: { leave: "connection lost" },
  // Cloud only: the session goes on at another node.
  MIGRATION: "replaced",
  SIGNAL_CLOSE: { leave: "connection lost" },
  ROOM_CLOSED: { leave: "room closed" },
  // These three end calls to telephones, which have no leave event.
  USER_UNAVAILABLE: { leave: "removed" },
  USER_REJECTED: { leave: "removed" },
  SIP_TRUNK_FAILURE: { leave: "connection lost" },
  // Nothing was heard of the client for 20 s: killed, crashed, without network.
  CONNECTION_TIMEOUT: { leave: "time-out" },
  MEDIA_FAILURE: { leave: "connection lost" },
  // Agents have no leave event.
  AGENT_ERROR: { leave: "connection lost" },
};

const BY_NAME = new Map<string, SessionEnd>(Object.entries(MEANINGS));

/** @param reason LiveKit's `DisconnectReason` by name; of one that is not known here nothing but the end is known. */
export function sessionEnd(reason: string): SessionEnd {
  return BY_NAME.get(reason) ?? MEANINGS.UNKNOWN_REASON;
}

/** Whether the client ended its attempt itself. */
export function isIntentional(reason: string): boolean {
  return reason === "CLIENT_INITIATED";
}

/** Whether LiveKit found out about the end long after the client had died. */
export function isNoticedLate(reason: string): boolean {
  return reason === "CONNECTION_TIMEOUT";
}
