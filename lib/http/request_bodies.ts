// From the JSON of a client to a typed request, or the error it gets. Unknown fields are ignored, null counts as
// absent, and every text that goes on is well-formed Unicode of a bounded length. Checked by hand, field by field: this
// runs for each request, and a schema library costs several times as much (the tests hold it against one).

import { assertIdentityFits, type DelayedLeave, type DelegationRequest, type TokenRequest } from "../exchange.ts";
import { LEGACY_SLOT } from "../livekit/identity.ts";
import { MAX_DELAY_ID_BYTES } from "../matrix/delayed_events.ts";
import { type OpenIdToken, openIdToken } from "../matrix/openid.ts";
import { byteLength } from "../matrix/server_name.ts";
import { MatrixError } from "../matrix_error.ts";

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const MAX_DELAY_MS = 24 * 60 * 60_000;

// Of room and user IDs (Matrix specification, appendices, "Room IDs" and "User Identifiers"), and of state keys, which a
// slot's ID is (client-server API, "Size limits").
const MAX_ID_BYTES = 255;
// The specification has no limit; Synapse takes device IDs of up to 512 characters.
const MAX_DEVICE_ID_BYTES = 512;
// Clients without sticky events write `user:device`.
const MAX_MEMBER_ID_BYTES = MAX_ID_BYTES + 1 + MAX_DEVICE_ID_BYTES;
// Travels in a URL's query, and proxies take 8 KiB of those.
const MAX_TOKEN_BYTES = 2048;

// A server name may end in `:` and 1 to 5 digits: `user:device` of such a device could be read as that of another user,
// `@alice:h` with `8448:P` as `@alice:h:8448` with `P`. Those of hashed members are watched under that name as well.
const LIKE_A_PORT = /^[0-9]{1,5}:/;

const NUMBER_TEXT = /^[+-]?\d{1,20}(\.0*)?$/;

// The texts below are what clients show and operators search for: part of the contract.
const NO_ROOM = "Missing room parameter";
const NO_TOKEN = "Missing OpenID token parameters";
const NO_DELAY = "The request body is missing `delay_id` or `delay_timeout`";
const NO_ROOM_OR_SLOT = "The request body is missing `room_id` or `slot_id`";
const NO_MEMBER = "The request body `member` is missing a `id`, `claimed_user_id` or `claimed_device_id`";
const NO_OPENID_TOKEN = "The request body `openid_token` is missing a `access_token` or `matrix_server_name`";

/**
 * Parses the body of `/sfu/get`: the legacy shape, or that of `/get_token`.
 *
 * @throws MatrixError 400 M_NOT_JSON or M_BAD_JSON.
 */
export function parseSfuRequest(body: Uint8Array): TokenRequest {
  const fields = parseFields(body);
  const room = textAt(fields, "room");
  const roomId = textAt(fields, "room_id");
  const slotId = textAt(fields, "slot_id");
  const isHashed = room === "" && (roomId !== "" || slotId !== "" || !isAbsent(fields.member));
  return isHashed ? hashedRequest(fields) : legacyRequest(fields);
}

/**
 * Parses the body of `/delegate_delayed_leave`: that of `/get_token`, with the delay fields.
 *
 * @throws MatrixError 400 M_NOT_JSON or M_BAD_JSON.
 */
export function parseDelegationRequest(body: Uint8Array): DelegationRequest {
  const request = hashedRequest(parseFields(body));
  if (request.delayedLeave === null) throw badJson(NO_DELAY);
  return { ...request, delayedLeave: request.delayedLeave };
}

/**
 * Parses the body of `/get_token`.
 *
 * @throws MatrixError 400 M_NOT_JSON or M_BAD_JSON.
 */
export function parseTokenRequest(body: Uint8Array): TokenRequest {
  return hashedRequest(parseFields(body));
}

// Both read all types first: a wrong type is M_NOT_JSON, whatever else is missing.

function legacyRequest(fields: Fields): TokenRequest {
  const roomId = textAt(fields, "room");
  const token = tokenTexts(fields);
  const deviceId = textAt(fields, "device_id");
  const delay = delayFields(fields);

  if (roomId === "") throw badJson(NO_ROOM);
  const openIdToken = toOpenIdToken(token, NO_TOKEN);
  const delayedLeave = toDelayedLeave(delay);
  assertLength("room", roomId, MAX_ID_BYTES);
  assertUnambiguous("device_id", deviceId);
  // The shortest user ID of that server decides whether any identity can fit: no need to ask first.
  assertIdentityFits(`@x:${openIdToken.matrixServerName}:${deviceId}`);
  return { roomId, slotId: LEGACY_SLOT, openIdToken, member: { form: "legacy", deviceId }, delayedLeave };
}

function hashedRequest(fields: Fields): TokenRequest {
  const roomId = textAt(fields, "room_id");
  const slotId = textAt(fields, "slot_id");
  const token = tokenTexts(fields);
  const member = objectAt(fields, "member");
  const memberId = textAt(member, "id", "member.");
  const userId = textAt(member, "claimed_user_id", "member.");
  const deviceId = textAt(member, "claimed_device_id", "member.");
  const delay = delayFields(fields);

  if (roomId === "" || slotId === "") throw badJson(NO_ROOM_OR_SLOT);
  if (memberId === "" || userId === "" || deviceId === "") throw badJson(NO_MEMBER);
  const openIdToken = toOpenIdToken(token, NO_OPENID_TOKEN);
  const delayedLeave = toDelayedLeave(delay);
  assertLength("room_id", roomId, MAX_ID_BYTES);
  assertLength("slot_id", slotId, MAX_ID_BYTES);
  assertLength("id", memberId, MAX_MEMBER_ID_BYTES);
  assertLength("claimed_user_id", userId, MAX_ID_BYTES);
  assertLength("claimed_device_id", deviceId, MAX_DEVICE_ID_BYTES);
  assertUnambiguous("claimed_device_id", deviceId);
  return { roomId, slotId, openIdToken, member: { form: "hashed", memberId, userId, deviceId }, delayedLeave };
}

interface TokenTexts {
  readonly accessToken: string;
  readonly matrixServerName: string;
}

function tokenTexts(fields: Fields): TokenTexts {
  const token = objectAt(fields, "openid_token");
  return {
    accessToken: textAt(token, "access_token", "openid_token."),
    matrixServerName: textAt(token, "matrix_server_name", "openid_token."),
  };
}

function toOpenIdToken({ accessToken, matrixServerName }: TokenTexts, missing: string): OpenIdToken {
  if (accessToken === "" || matrixServerName === "") throw badJson(missing);
  assertLength("access_token", accessToken, MAX_TOKEN_BYTES);
  return openIdToken(accessToken, matrixServerName);
}

interface DelayFields {
  readonly delayId: string;
  readonly delayMs: number | null;
}

function delayFields(fields: Fields): DelayFields {
  return { delayId: textAt(fields, "delay_id"), delayMs: delayMsAt(fields.delay_timeout) };
}

function delayMsAt(value: unknown): number | null {
  if (isAbsent(value) || value === "") return null;
  if (typeof value === "number" && Number.isInteger(value)) return value;
  if (typeof value === "string" && NUMBER_TEXT.test(value)) return Number(value);
  throw wrongType("delay_timeout");
}

function toDelayedLeave({ delayId, delayMs }: DelayFields): DelayedLeave | null {
  if (delayId === "" && delayMs === null) return null;
  if (delayId === "" || delayMs === null || delayMs <= 0) throw badJson(NO_DELAY);
  // It becomes a path segment, and these two would climb.
  if (delayId === "." || delayId === "..") throw badJson(`The \`delay_id\` "${delayId}" is no ID`);
  assertLength("delay_id", delayId, MAX_DELAY_ID_BYTES);
  return { delayId, delayMs: Math.min(delayMs, MAX_DELAY_MS) };
}

function assertLength(name: string, text: string, maxBytes: number): void {
  if (byteLength(text) > maxBytes) throw badJson(`The request body's \`${name}\` is over ${maxBytes} bytes`);
}

function assertUnambiguous(name: string, deviceId: string): void {
  if (!LIKE_A_PORT.test(deviceId)) return;
  throw badJson(`The request body's \`${name}\` begins with digits and a colon, like the port of a server name`);
}

type Fields = Readonly<Record<string, unknown>>;

function parseFields(body: Uint8Array): Fields {
  let json: unknown;
  try {
    json = JSON.parse(UTF8.decode(body));
  } catch {
    // The parser's own message quotes the text around the fault, which may be a token.
    throw notJson("no JSON in UTF-8");
  }
  if (!isObject(json)) throw wrongType("body");
  return json;
}

function objectAt(fields: Fields, name: string): Fields {
  const value = fields[name];
  if (isAbsent(value)) return {};
  if (!isObject(value)) throw wrongType(name);
  return value;
}

/** The text of a field; absent, null and "" are the same: missing. */
function textAt(fields: Fields, name: string, pathBefore = ""): string {
  const value = fields[name];
  if (isAbsent(value)) return "";
  // A lone surrogate would give different rooms one name.
  if (typeof value !== "string" || !value.isWellFormed()) throw wrongType(`${pathBefore}${name}`);
  return value;
}

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isAbsent(value: unknown): value is null | undefined {
  return value === undefined || value === null;
}

function badJson(message: string): MatrixError {
  return new MatrixError(400, "M_BAD_JSON", message);
}

/** @param path Where it is. The value may be a token: left out. */
function wrongType(path: string): MatrixError {
  return notJson(`wrong type: ${path}`);
}

function notJson(cause: string): MatrixError {
  return new MatrixError(400, "M_NOT_JSON", "Error reading request", { cause });
}
