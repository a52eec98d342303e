// Whatever arrives: a parser gives a request that holds what its type says, or a MatrixError 400, and nothing else.

import assert from "node:assert/strict";
import fc from "fast-check";
import * as v from "valibot";
import type { TokenRequest } from "../../lib/exchange.ts";
import { MatrixError } from "../../lib/matrix_error.ts";
import { parseSfuRequest, parseTokenRequest } from "../../lib/http/request_bodies.ts";
import { openIdToken } from "../../lib/matrix/openid.ts";
import { anyText } from "../../testing/texts.ts";

type Parse = (body: Uint8Array) => TokenRequest;

const RUNS = { seed: 4, numRuns: 2000, endOnFailure: true };

// Reads fields as if they were there.
const parseTrusting: Parse = (body) => {
  const json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  if (json.room === undefined) throw new MatrixError(400, "M_BAD_JSON", "Missing room parameter");
  return request(json.room, json.openid_token.access_token);
};

// Replaces what is no UTF-8, as decoders do by default: different rooms get one name.
const parseReplacing: Parse = (body) => {
  try {
    const text = new TextDecoder().decode(body).toWellFormed();
    const json = JSON.parse(text.replace(/\\u[dD][89a-fA-F][0-9a-fA-F]{2}/g, "\ufffd"));
    return request(String(json.room), String(json.openid_token.access_token));
  } catch {
    throw new MatrixError(400, "M_NOT_JSON", "Error reading request");
  }
};

for (const parse of [parseSfuRequest, parseTokenRequest]) {
  Deno.test(`${parse.name} never throws anything but MatrixError 400`, () => {
    fc.assert(isTotal(parse), RUNS);
  });
}

Deno.test("no two bodies that differ in the room only by ill-formed text are both accepted", () => {
  fc.assert(keepsRoomsApart(parseSfuRequest), RUNS);
});

Deno.test("the property finds a parser that trusts its input", () => {
  assert.throws(() => fc.assert(isTotal(parseTrusting), RUNS));
});

Deno.test("the property finds a parser that replaces ill-formed text", () => {
  assert.throws(() => fc.assert(keepsRoomsApart(parseReplacing), RUNS));
});

// The shapes of the bodies once more, in the words of a schema library.
const objectOf = <Entries extends v.ObjectEntries>(entries: Entries) =>
  v.pipe(v.custom<object>((input) => !Array.isArray(input)), v.object(entries));
const Text = v.nullish(v.pipe(v.string(), v.check((text) => text.isWellFormed())), "");
const IntegralNumber = v.pipe(v.number(), v.integer());
const NumberText = v.pipe(v.string(), v.regex(/^[+-]?\d{1,20}(\.0*)?$/), v.transform(Number));
const Common = {
  openid_token: v.nullish(objectOf({ access_token: Text, matrix_server_name: Text }), {}),
  delay_id: Text,
  delay_timeout: v.nullish(v.union([IntegralNumber, NumberText, v.pipe(v.literal(""), v.transform(() => null))])),
};
const LegacyBody = objectOf({ room: Text, device_id: Text, ...Common });
const HashedBody = objectOf({
  room_id: Text,
  slot_id: Text,
  member: v.nullish(objectOf({ id: Text, claimed_user_id: Text, claimed_device_id: Text }), {}),
  ...Common,
});
// Enough to tell the two apart.
const EitherBody = objectOf({ room: Text, room_id: Text, slot_id: Text, member: v.optional(v.unknown()) });

function schemaOf(parse: Parse, json: unknown): v.GenericSchema {
  if (parse === parseTokenRequest) return HashedBody;
  const either = v.safeParse(EitherBody, json);
  if (!either.success) return EitherBody;
  const { room, room_id, slot_id, member } = either.output;
  return room === "" && (room_id !== "" || slot_id !== "" || member != null) ? HashedBody : LegacyBody;
}

function errcodeOf(parse: Parse, body: Uint8Array): string | null {
  try {
    parse(body);
    return null;
  } catch (error) {
    return error instanceof MatrixError ? error.errcode : `threw ${error}`;
  }
}

for (const parse of [parseSfuRequest, parseTokenRequest]) {
  Deno.test(`${parse.name} says M_NOT_JSON to what a schema of the body refuses, and to nothing else`, () => {
    const property = fc.property(anyJson(), (json) => {
      const fits = v.safeParse(schemaOf(parse, json), json).success;
      assert.equal(errcodeOf(parse, encode(json)) === "M_NOT_JSON", !fits);
    });
    fc.assert(property, RUNS);
  });
}

function isTotal(parse: Parse) {
  return fc.property(anyBody(), (body) => {
    let request: TokenRequest;
    try {
      request = parse(body);
    } catch (error) {
      assert.ok(error instanceof MatrixError, `threw ${error}`);
      assert.equal(error.status, 400);
      assert.match(error.errcode, /^M_(BAD|NOT)_JSON$/);
      return;
    }
    const { roomId, slotId, openIdToken, member, delayedLeave } = request;
    const texts = [roomId, slotId, openIdToken.accessToken.reveal(), openIdToken.matrixServerName];
    if (member.form === "hashed") texts.push(member.deviceId, member.memberId, member.userId);
    for (const text of texts) assert.ok(text !== "" && text.isWellFormed());
    assert.ok(member.deviceId.isWellFormed());
    if (delayedLeave === null) return;
    assert.ok(delayedLeave.delayId !== "" && delayedLeave.delayMs > 0 && delayedLeave.delayMs <= 86_400_000);
    assert.ok(Number.isInteger(delayedLeave.delayMs));
  });
}

function keepsRoomsApart(parse: Parse) {
  const halves = fc.tuple(fc.constantFrom("\\ud83d", "\\uDE00", "\\ud800"), fc.constantFrom("\\ud83e", "\\udfff"));
  return fc.property(halves, fc.string(), ([left, right], padding) => {
    const rooms = [left, right].map((half) => roomOf(parse, half, padding)).filter((room) => room !== null);
    assert.equal(new Set(rooms).size, rooms.length);
  });
}

function roomOf(parse: Parse, half: string, padding: string): string | null {
  const token = { access_token: "opaque", matrix_server_name: "example.com" };
  const text = JSON.stringify({ room: `!${padding}#`, openid_token: token }).replace(/#(?=")/, half);
  try {
    return parse(new TextEncoder().encode(text)).roomId;
  } catch (error) {
    assert.ok(error instanceof MatrixError);
    return null;
  }
}

// Bytes, any JSON, and most of all bodies that are nearly right.
function anyBody(): fc.Arbitrary<Uint8Array> {
  return fc.oneof(
    { weight: 1, arbitrary: fc.uint8Array() },
    { weight: 1, arbitrary: fc.json().map((json) => new TextEncoder().encode(json)) },
    { weight: 6, arbitrary: nearlyRight().map(encode) },
  );
}

/** What can be written as JSON, in the form in which it is read again. */
function anyJson(): fc.Arbitrary<unknown> {
  const read = (json: unknown): unknown => JSON.parse(JSON.stringify(json));
  return fc.oneof({ weight: 1, arbitrary: fc.jsonValue() }, { weight: 6, arbitrary: nearlyRight() }).map(read);
}

function nearlyRight() {
  const text = fc.oneof(anyText(), fc.constantFrom("", ".", "..", "example.com", "\ud800", "é"));
  const odd = fc.oneof({ weight: 8, arbitrary: text }, fc.jsonValue(), fc.constant(undefined));
  const delay = fc.oneof(fc.integer(), fc.double(), fc.integer().map(String), odd);
  const token = fc.record({ access_token: odd, matrix_server_name: odd, expires_in: odd }, { requiredKeys: [] });
  const member = fc.record({ id: odd, claimed_user_id: odd, claimed_device_id: odd }, { requiredKeys: [] });
  return fc.record({
    room: odd,
    room_id: odd,
    slot_id: odd,
    device_id: odd,
    openid_token: fc.oneof({ weight: 9, arbitrary: token }, odd),
    member: fc.oneof({ weight: 9, arbitrary: member }, odd),
    delay_id: odd,
    delay_timeout: delay,
  }, { requiredKeys: [] });
}

function encode(json: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(json));
}

function request(roomId: string, accessToken: string): TokenRequest {
  return {
    roomId,
    slotId: "m.call#ROOM",
    openIdToken: openIdToken(accessToken, "example.com"),
    member: { form: "legacy", deviceId: "" },
    delayedLeave: null,
  };
}
