// What LiveKit tells in a webhook (protojson of `WebhookEvent`), as far as it matters here.

import { DisconnectReason, WebhookEvent } from "@livekit/protocol";
import { type Identity, parseIdentity, parseRoomAlias, type RoomAlias } from "./identity.ts";

/** Something that happened at the SFU. Each of its texts has 256 bytes at most. */
export type SfuEvent =
  | {
    readonly type: "joined" | "left" | "aborted";
    readonly room: RoomAlias;
    readonly identity: Identity;
    readonly sid: string;
    /** LiveKit's `DisconnectReason` by name; "" where there is none. */
    readonly reason: string;
    /**
     * By when it had happened, wall-clock ms: as LiveKit signed it, to the end of that second, and never in the future.
     */
    readonly createdAt: number;
  }
  | { readonly type: "room-finished"; readonly room: RoomAlias }
  /** Genuine, and of no interest. */
  | { readonly type: "other" };

/** When a webhook came, ms since the epoch, and when it was signed, s; null where its signature does not say. */
export interface EventTimes {
  readonly receivedAt: number;
  readonly signedAtSeconds: number | null;
}

const TYPES: Readonly<Record<string, "joined" | "left" | "aborted">> = {
  participant_joined: "joined",
  participant_left: "left",
  participant_connection_aborted: "aborted",
};

const UTF8 = new TextDecoder("utf-8", { fatal: true });

const MAX_SID_CHARACTERS = 64;

/** Reads a webhook's body; null for what is none. Takes enums by name or number, and fields that are not known. */
export function parseWebhook(body: Uint8Array): WebhookEvent | null {
  try {
    return WebhookEvent.fromJsonString(UTF8.decode(body), { ignoreUnknownFields: true });
  } catch {
    return null;
  }
}

/** What an event means here. */
export function sfuEvent({ event, room, participant, createdAt }: WebhookEvent, times: EventTimes): SfuEvent {
  const type = TYPES[event];
  const alias = parseRoomAlias(room?.name);
  if (alias === null) return { type: "other" };
  if (event === "room_finished") return { type: "room-finished", room: alias };
  const identity = parseIdentity(participant?.identity);
  if (type === undefined || participant === undefined || identity === null) return { type: "other" };
  if (participant.sid.length > MAX_SID_CHARACTERS) return { type: "other" };
  return {
    type,
    room: alias,
    identity,
    sid: participant.sid,
    reason: reasonOf(participant.disconnectReason),
    createdAt: happenedBy(Number(createdAt), times),
  };
}

function reasonOf(reason: DisconnectReason): string {
  return reason === DisconnectReason.UNKNOWN_REASON ? "" : DisconnectReason[reason] ?? "";
}

function happenedBy(createdAtSeconds: number, { receivedAt, signedAtSeconds }: EventTimes): number {
  const seconds = createdAtSeconds > 0 ? createdAtSeconds : signedAtSeconds;
  return seconds === null ? receivedAt : Math.min(seconds * 1000 + 999, receivedAt);
}
