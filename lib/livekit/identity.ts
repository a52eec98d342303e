// Names on the SFU: rooms and participants, derived so that every client of a call computes the same ones.
// Source: MSC4195 (pseudonymous identities and room names), in the form that Element Call relies on.

import { hash } from "node:crypto";

/** Name of a LiveKit room: the hash of a Matrix room and a MatrixRTC slot. */
export type RoomAlias = string & { readonly __brand: "RoomAlias" };

/** Identity of a LiveKit participant. */
export type Identity = string & { readonly __brand: "Identity" };

/** The slot that requests of the legacy form mean. */
export const LEGACY_SLOT = "m.call#ROOM";

/** LiveKit's limit for identities and room names, in bytes. */
export const MAX_IDENTITY_BYTES = 256;

/** The LiveKit room of a Matrix room's slot. Takes well-formed texts only. */
export function roomAlias(roomId: string, slotId: string): RoomAlias {
  return hashOf([roomId, slotId]) as RoomAlias;
}

/** The identity that a member of a slot has at `/get_token`. Takes well-formed texts only. */
export function hashedIdentity(userId: string, deviceId: string, memberId: string): Identity {
  return hashOf([userId, deviceId, memberId]) as Identity;
}

/** The identity that a device has at `/sfu/get`: readable, and visible to the SFU. */
export function legacyIdentity(userId: string, deviceId: string): Identity {
  return `${userId}:${deviceId}` as Identity;
}

/** A room's name as the SFU or a store gives it; null for what LiveKit has no room of. */
export function parseRoomAlias(input: unknown): RoomAlias | null {
  return isName(input) ? input as RoomAlias : null;
}

/** A participant's identity as the SFU or a store gives it; null for what LiveKit has no participant of. */
export function parseIdentity(input: unknown): Identity | null {
  return isName(input) ? input as Identity : null;
}

function isName(input: unknown): input is string {
  return typeof input === "string" && input !== "" && input.length <= MAX_IDENTITY_BYTES && input.isWellFormed() &&
    Buffer.byteLength(input) <= MAX_IDENTITY_BYTES;
}

// For an array of well-formed strings JSON.stringify gives exactly the canonical JSON of the Matrix specification
// (appendices, "Canonical JSON"): no spaces, the same short escapes, nothing else escaped.
function hashOf(parts: readonly string[]): string {
  return hash("sha256", JSON.stringify(parts), "base64").replace("=", "");
}
