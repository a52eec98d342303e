// From the JSON of a client to a typed request, or the error it gets. Unknown fields are ignored, null counts as
// absent, and every text that goes on is well-formed Unicode.

import * as v from "valibot";
import type { OpenIdToken } from "../matrix/openid.ts";
import { byteLength } from "../matrix/server_name.ts";
import { LEGACY_SLOT, MAX_IDENTITY_BYTES } from "../livekit/identity.ts";
import { Secret } from "../secret.ts";
import { MatrixError } from "../matrix_error.ts";

/** Who the participant will be: readable at `/sfu/get`, hashed and claimed at `/get_token`. */
export type Member =
  | { readonly form: "legacy"; readonly deviceId: string }
  | { readonly form: "hashed"; readonly memberId: string; readonly userId: string; readonly deviceId: string };

/** A delayed leave event that the client hands over (MSC4140). */
export interface DelayedLeave {
  readonly delayId: string;
  /** The event's own delay, above 0 and at most 24 h. */
  readonly delayMs: number;
}

/** A request for a token, its shape checked. Whether it is true is not known yet. */
export interface TokenRequest {
  readonly roomId: string;
  readonly slotId: string;
  readonly openIdToken: OpenIdToken;
  readonly member: Member;
  readonly delayedLeave: DelayedLeave | null;
}

/** A request to take charge of a delayed leave event, and nothing else. */
export interface DelegationRequest extends TokenRequest {
  readonly delayedLeave: DelayedLeave;
}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const MAX_DELAY_MS = 24 * 60 * 60_000;

// The texts below are what clients show and operators search for: part of the contract.
const NO_ROOM = "Missing room parameter";
const NO_TOKEN = "Missing OpenID token parameters";
const NO_DELAY = "The request body is missing `delay_id` or `delay_timeout`";
const NO_ROOM_OR_SLOT = "The request body is missing `room_id` or `slot_id`";
const NO_MEMBER = "The request body `member` is missing a `id`, `claimed_user_id` or `claimed_device_id`";
const NO_OPENID_TOKEN = "The request body `openid_token` is missing a `access_token` or `matrix_server_name`";

// Absent, null and "" are the same: missing. A lone surrogate would give different rooms one name.
const Text = v.nullish(v.pipe(v.string(), v.check((text) => text.isWellFormed())), "");
const Token = v.nullish(objectOf({ access_token: Text, matrix_server_name: Text }), {});
const IntegralNumber = v.pipe(v.number(), v.integer());
const NumberText = v.pipe(v.string(), v.regex(/^[+-]?\d{1,20}(\.0*)?$/), v.transform(Number));
const DelayTimeout = v.nullish(v.union([IntegralNumber, NumberText, v.pipe(v.literal(""), v.transform(() => null))]));
const delayFields = { delay_id: Text, delay_timeout: DelayTimeout };

const LegacyBody = objectOf({ room: Text, openid_token: Token, device_id: Text, ...delayFields });
const HashedBody = objectOf({
  room_id: Text,
  slot_id: Text,
  openid_token: Token,
  member: v.nullish(objectOf({ id: Text, claimed_user_id: Text, claimed_device_id: Text }), {}),
  ...delayFields,
});
// Enough to tell the two shapes apart: `/sfu/get` takes both.
const EitherBody = objectOf({ room: Text, room_id: Text, slot_id: Text, member: v.optional(v.unknown()) });

/**
 * Parses the body of `/sfu/get`: the legacy shape, or that of `/get_token`.
 *
 * @throws MatrixError 400 M_NOT_JSON or M_BAD_JSON.
 */
export function parseSfuRequest(body: Uint8Array): TokenRequest {
  const json = parseJson(body);
  const either = shape(EitherBody, json);
  const isHashed = either.room === "" && (either.room_id !== "" || either.slot_id !== "" || either.member != null);
  return isHashed ? hashedRequest(json) : legacyRequest(json);
}

/**
 * Parses the body of `/delegate_delayed_leave`: that of `/get_token`, with the delay fields.
 *
 * @throws MatrixError 400 M_NOT_JSON or M_BAD_JSON.
 */
export function parseDelegationRequest(body: Uint8Array): DelegationRequest {
  const request = hashedRequest(parseJson(body));
  if (request.delayedLeave === null) throw badJson(NO_DELAY);
  return { ...request, delayedLeave: request.delayedLeave };
}

/**
 * Parses the body of `/get_token`.
 *
 * @throws MatrixError 400 M_NOT_JSON or M_BAD_JSON.
 */
export function parseTokenRequest(body: Uint8Array): TokenRequest {
  return hashedRequest(parseJson(body));
}

function legacyRequest(json: unknown): TokenRequest {
  const body = shape(LegacyBody, json);
  if (body.room === "") throw badJson(NO_ROOM);
  const openIdToken = parseOpenIdToken(body.openid_token, NO_TOKEN);
  const delayedLeave = parseDelayedLeave(body);
  // The shortest user ID of that server decides whether any identity can fit: no need to ask first.
  assertIdentityFits(`@x:${openIdToken.matrixServerName}:${body.device_id}`);
  return {
    roomId: body.room,
    slotId: LEGACY_SLOT,
    openIdToken,
    member: { form: "legacy", deviceId: body.device_id },
    delayedLeave,
  };
}

function hashedRequest(json: unknown): TokenRequest {
  const body = shape(HashedBody, json);
  if (body.room_id === "" || body.slot_id === "") throw badJson(NO_ROOM_OR_SLOT);
  const { id = "", claimed_user_id: userId = "", claimed_device_id: deviceId = "" } = body.member;
  if (id === "" || userId === "" || deviceId === "") throw badJson(NO_MEMBER);
  return {
    roomId: body.room_id,
    slotId: body.slot_id,
    openIdToken: parseOpenIdToken(body.openid_token, NO_OPENID_TOKEN),
    member: { form: "hashed", memberId: id, userId, deviceId },
    delayedLeave: parseDelayedLeave(body),
  };
}

/**
 * Refuses an identity that LiveKit would not take.
 *
 * @throws MatrixError 400 M_BAD_JSON above 256 bytes.
 */
export function assertIdentityFits(identity: string): void {
  if (byteLength(identity) <= MAX_IDENTITY_BYTES) return;
  throw badJson(`The participant identity is over ${MAX_IDENTITY_BYTES} bytes: shorten the device ID`);
}

function parseOpenIdToken(token: v.InferOutput<typeof Token>, missing: string): OpenIdToken {
  const { access_token: accessToken = "", matrix_server_name: matrixServerName = "" } = token;
  if (accessToken === "" || matrixServerName === "") throw badJson(missing);
  return { accessToken: new Secret(accessToken), matrixServerName };
}

function parseDelayedLeave(
  body: { readonly delay_id: string; readonly delay_timeout?: number | null | undefined },
): DelayedLeave | null {
  const delayMs = body.delay_timeout ?? null;
  if (body.delay_id === "" && delayMs === null) return null;
  if (body.delay_id === "" || delayMs === null || delayMs <= 0) throw badJson(NO_DELAY);
  // It becomes a path segment, and these two would climb.
  if (body.delay_id === "." || body.delay_id === "..") throw badJson(`The \`delay_id\` "${body.delay_id}" is no ID`);
  return { delayId: body.delay_id, delayMs: Math.min(delayMs, MAX_DELAY_MS) };
}

function parseJson(body: Uint8Array): unknown {
  try {
    return JSON.parse(UTF8.decode(body));
  } catch {
    // The parser's own message quotes the text around the fault, which may be a token.
    throw notJson("no JSON in UTF-8");
  }
}

function shape<Output>(schema: v.GenericSchema<unknown, Output>, json: unknown): Output {
  const result = v.safeParse(schema, json, { abortEarly: true });
  if (result.success) return result.output;
  // The path alone: a value may be a token.
  throw notJson(`wrong type: ${v.getDotPath(result.issues[0]) ?? "body"}`);
}

// To valibot an array is an object, one without any field.
function objectOf<Entries extends v.ObjectEntries>(entries: Entries) {
  return v.pipe(v.custom<object>((input) => !Array.isArray(input)), v.object(entries));
}

function badJson(message: string): MatrixError {
  return new MatrixError(400, "M_BAD_JSON", message);
}

function notJson(cause: unknown): MatrixError {
  return new MatrixError(400, "M_NOT_JSON", "Error reading request", { cause });
}
