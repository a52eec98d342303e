// From JSON to a typed request: every refusal of the contract, word for word, and everything that is let through.

import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import { MatrixError } from "../../lib/matrix_error.ts";
import type { TokenRequest } from "../../lib/exchange.ts";
import { parseSfuRequest, parseTokenRequest } from "../../lib/http/request_bodies.ts";
import { HASHED_BODY, LEGACY_BODY } from "../../testing/front.ts";

type Parse = (body: Uint8Array) => TokenRequest;

const DELAY = "The request body is missing `delay_id` or `delay_timeout`";
const ROOM_OR_SLOT = "The request body is missing `room_id` or `slot_id`";
const MEMBER = "The request body `member` is missing a `id`, `claimed_user_id` or `claimed_device_id`";
const TOKEN = "The request body `openid_token` is missing a `access_token` or `matrix_server_name`";
const TOO_LONG = "The participant identity is over 256 bytes: shorten the device ID";

function bytes(body: unknown): Uint8Array {
  if (body instanceof Uint8Array) return body;
  return new TextEncoder().encode(typeof body === "string" ? body : JSON.stringify(body));
}

function refusal(parse: Parse, body: unknown): [errcode: string, message: string] {
  try {
    parse(bytes(body));
  } catch (error) {
    assert.ok(error instanceof MatrixError);
    assert.equal(error.status, 400);
    return [error.errcode, error.message];
  }
  throw new assert.AssertionError({ message: `accepted: ${JSON.stringify(body)}` });
}

// What of a body is unusual, for the name of a test.
function label(body: unknown): string {
  if (typeof body !== "object" || body === null) return JSON.stringify(body).slice(0, 60);
  const ordinary = [...Object.entries(LEGACY_BODY), ...Object.entries(HASHED_BODY)];
  const odd = Object.entries(body).filter((entry) => !ordinary.some((known) => isDeepStrictEqual(known, entry)));
  return Deno.inspect(Object.fromEntries(odd), { breakLength: Infinity, strAbbreviateSize: 20 });
}

const legacy = (fields: object) => ({ ...LEGACY_BODY, ...fields });
const hashed = (fields: object) => ({ ...HASHED_BODY, ...fields });
const token = (fields: object) => ({ openid_token: { ...LEGACY_BODY.openid_token, ...fields } });
const member = (fields: object) => ({ member: { ...HASHED_BODY.member, ...fields } });

// What no field can be: missing it, null and "" are one.
const MISSING = [undefined, null, ""];

const BAD_JSON: readonly (readonly [parse: Parse, body: unknown, message: string])[] = [
  [parseSfuRequest, {}, "Missing room parameter"],
  ...MISSING.map((room) => [parseSfuRequest, legacy({ room }), "Missing room parameter"] as const),
  [parseSfuRequest, legacy({ openid_token: undefined }), "Missing OpenID token parameters"],
  [parseSfuRequest, legacy({ openid_token: null }), "Missing OpenID token parameters"],
  [parseSfuRequest, legacy({ openid_token: {} }), "Missing OpenID token parameters"],
  ...MISSING.flatMap((value) =>
    ["access_token", "matrix_server_name"].map((field) =>
      [parseSfuRequest, legacy(token({ [field]: value })), "Missing OpenID token parameters"] as const
    )
  ),
  [parseTokenRequest, {}, ROOM_OR_SLOT],
  [parseTokenRequest, LEGACY_BODY, ROOM_OR_SLOT],
  ...MISSING.flatMap((value) => [
    [parseTokenRequest, hashed({ room_id: value }), ROOM_OR_SLOT] as const,
    [parseTokenRequest, hashed({ slot_id: value }), ROOM_OR_SLOT] as const,
    [parseTokenRequest, hashed(member({ id: value })), MEMBER] as const,
    [parseTokenRequest, hashed(member({ claimed_user_id: value })), MEMBER] as const,
    [parseTokenRequest, hashed(member({ claimed_device_id: value })), MEMBER] as const,
    [parseTokenRequest, hashed(token({ access_token: value })), TOKEN] as const,
    [parseTokenRequest, hashed(token({ matrix_server_name: value })), TOKEN] as const,
  ]),
  [parseTokenRequest, hashed({ member: undefined }), MEMBER],
  [parseTokenRequest, hashed({ member: null }), MEMBER],
  [parseTokenRequest, hashed({ openid_token: null }), TOKEN],
  // The new shape at the old endpoint is told what that shape misses.
  [parseSfuRequest, hashed({ slot_id: undefined }), ROOM_OR_SLOT],
  [parseSfuRequest, hashed({ member: {} }), MEMBER],
  [parseSfuRequest, { member: {} }, ROOM_OR_SLOT],
  // An identity that cannot fit, whoever the user is.
  [parseSfuRequest, legacy({ device_id: "D".repeat(242) }), TOO_LONG],
  [parseSfuRequest, legacy({ device_id: "ä".repeat(121) }), TOO_LONG],
];

// Each text that is kept, or passed on, at its longest and one byte over it.
const D = { delay_id: "d", delay_timeout: 1 };
const LONGEST: readonly (readonly [name: string, maxBytes: number, parse: Parse, bodyOf: (text: string) => object])[] =
  [
    ["room", 255, parseSfuRequest, (room) => legacy({ room })],
    ["room_id", 255, parseTokenRequest, (room_id) => hashed({ room_id })],
    ["slot_id", 255, parseTokenRequest, (slot_id) => hashed({ slot_id })],
    ["id", 768, parseTokenRequest, (id) => hashed(member({ id }))],
    ["claimed_user_id", 255, parseTokenRequest, (claimed_user_id) => hashed(member({ claimed_user_id }))],
    ["claimed_device_id", 512, parseTokenRequest, (claimed_device_id) => hashed(member({ claimed_device_id }))],
    ["access_token", 2048, parseSfuRequest, (access_token) => legacy(token({ access_token }))],
    ["access_token", 2048, parseTokenRequest, (access_token) => hashed(token({ access_token }))],
    ["delay_id", 255, parseSfuRequest, (delay_id) => legacy({ ...D, delay_id })],
    ["delay_id", 255, parseTokenRequest, (delay_id) => hashed({ ...D, delay_id })],
  ];

for (const [name, maxBytes, parse, bodyOf] of LONGEST) {
  Deno.test(`${parse.name} takes a \`${name}\` of ${maxBytes} bytes and says M_BAD_JSON to a longer one`, () => {
    const longest = "é".repeat(maxBytes / 2).padEnd(maxBytes - Math.floor(maxBytes / 2), "x");
    assert.ok(parse(bytes(bodyOf(longest))));
    const message = `The request body's \`${name}\` is over ${maxBytes} bytes`;
    assert.deepEqual(refusal(parse, bodyOf(`${longest}x`)), ["M_BAD_JSON", message]);
  });
}

for (const device of ["8448:P", "0:", "99999:", "1:2:3"]) {
  Deno.test(`a device ID like "${device}" is M_BAD_JSON: its identity could be another user's`, () => {
    const ending = "begins with digits and a colon, like the port of a server name";
    const message = `The request body's \`device_id\` ${ending}`;
    assert.deepEqual(refusal(parseSfuRequest, legacy({ device_id: device })), ["M_BAD_JSON", message]);
    const claimed = hashed(member({ claimed_device_id: device }));
    assert.deepEqual(refusal(parseTokenRequest, claimed), [
      "M_BAD_JSON",
      `The request body's \`claimed_device_id\` ${ending}`,
    ]);
  });
}

for (const device of ["ABCDEFGHIJ", "8448", "8448-P", ":8448:P", "x8448:P", "123456:P", "-1:P", "٣:P"]) {
  Deno.test(`a device ID like "${device}" is taken`, () => {
    assert.ok(parseSfuRequest(bytes(legacy({ device_id: device }))));
    assert.ok(parseTokenRequest(bytes(hashed(member({ claimed_device_id: device })))));
  });
}

for (const [parse, body, message] of BAD_JSON) {
  Deno.test(`${parse.name} says M_BAD_JSON to ${label(body)}`, () => {
    assert.deepEqual(refusal(parse, body), ["M_BAD_JSON", message]);
  });
}

const NOT_JSON: readonly unknown[] = [
  "",
  "{",
  "{}x",
  "not json",
  "{'room':'x'}",
  '{"room":"x",}',
  '\ufeff{"room":"x"}',
  "null",
  "[]",
  "1",
  '"text"',
  `${"[".repeat(30_000)}`,
  legacy({ room: 1 }),
  legacy({ room: ["!r"] }),
  legacy({ room: {} }),
  legacy({ room: true }),
  legacy({ device_id: 5 }),
  legacy({ openid_token: "text" }),
  legacy({ openid_token: [] }),
  legacy({ openid_token: [LEGACY_BODY.openid_token] }),
  legacy(token({ access_token: 1 })),
  legacy(token({ matrix_server_name: {} })),
  legacy({ delay_id: 1, delay_timeout: 1000 }),
  legacy({ delay_id: "d", delay_timeout: "soon" }),
  legacy({ delay_id: "d", delay_timeout: 1.5 }),
  legacy({ delay_id: "d", delay_timeout: true }),
  legacy({ delay_id: "d", delay_timeout: "1.5" }),
  legacy({ delay_id: "d", delay_timeout: " 1000" }),
  legacy({ delay_id: "d", delay_timeout: "0x10" }),
  JSON.stringify(legacy({ delay_id: "d", delay_timeout: 7 })).replace(":7", ":1e999"),
];

for (const body of NOT_JSON) {
  Deno.test(`/sfu/get says M_NOT_JSON to ${label(body)}`, () => {
    assert.deepEqual(refusal(parseSfuRequest, body), ["M_NOT_JSON", "Error reading request"]);
  });
}

for (
  const body of [
    hashed({ room_id: 1 }),
    hashed({ slot_id: [] }),
    hashed({ member: [] }),
    hashed({ member: "text" }),
    hashed(member({ id: 1 })),
    hashed({ openid_token: [] }),
    "[]",
    "{",
  ]
) {
  Deno.test(`/get_token says M_NOT_JSON to ${label(body)}`, () => {
    assert.deepEqual(refusal(parseTokenRequest, body), ["M_NOT_JSON", "Error reading request"]);
  });
}

// One name for different rooms: each of these would be read as U+FFFD.
const HALF = "\ud83d";
const ILL_FORMED: readonly (readonly [what: string, parse: Parse, body: unknown])[] = [
  ["a lone surrogate in the room", parseSfuRequest, legacy({ room: `!${HALF}:e` })],
  ["a lone surrogate in the device", parseSfuRequest, legacy({ device_id: HALF })],
  ["a lone surrogate in the token", parseSfuRequest, legacy(token({ access_token: HALF }))],
  ["a lone surrogate in the room of the new shape", parseTokenRequest, hashed({ room_id: HALF })],
  ["a lone surrogate in the slot", parseTokenRequest, hashed({ slot_id: HALF })],
  ["a lone surrogate in the member", parseTokenRequest, hashed(member({ id: `x${HALF}` }))],
  ["two halves the wrong way round", parseTokenRequest, hashed(member({ id: "\ude00\ud83d" }))],
  ["a byte that is no UTF-8", parseSfuRequest, splice(legacy({ room: "!#:e" }), 0xff)],
  ["an overlong byte", parseSfuRequest, splice(legacy({ room: "!#:e" }), 0xc0)],
  ["a surrogate in UTF-8", parseSfuRequest, splice(legacy({ room: "!#:e" }), 0xed, 0xa0, 0xbd)],
  ["half a character in an unknown field", parseSfuRequest, splice(legacy({ extra: "#" }), 0xe2, 0x82)],
];

for (const [what, parse, body] of ILL_FORMED) {
  Deno.test(`${what} is M_NOT_JSON`, () => {
    assert.deepEqual(refusal(parse, body), ["M_NOT_JSON", "Error reading request"]);
  });
}

Deno.test("unknown fields are ignored at every level", () => {
  const extra = { unknown: { deep: [1, null] }, __proto__x: 1, delay_cs_api_url: "https://example.com" };
  const body = { ...legacy(token(extra)), ...extra };
  assert.deepEqual(parseSfuRequest(bytes(body)), parseSfuRequest(bytes(LEGACY_BODY)));
  const newer = { ...hashed({ ...token(extra), ...member(extra) }), ...extra };
  assert.deepEqual(parseTokenRequest(bytes(newer)), parseTokenRequest(bytes(HASHED_BODY)));
});

Deno.test("what clients send beside the token is of no account, whatever its type", () => {
  for (const value of [null, 3600, "3600", [], {}, true]) {
    assert.equal(
      parseSfuRequest(bytes(legacy(token({ token_type: value, expires_in: value })))).roomId,
      LEGACY_BODY.room,
    );
  }
});

Deno.test("field names that objects have by nature are no fields", () => {
  assert.deepEqual(refusal(parseSfuRequest, '{"__proto__":{"room":"!r:e"}}'), ["M_BAD_JSON", "Missing room parameter"]);
});

Deno.test("the longest device ID that can fit is accepted, by bytes", () => {
  assert.ok(parseSfuRequest(bytes(legacy({ device_id: "D".repeat(241) }))));
  assert.ok(parseSfuRequest(bytes(legacy({ device_id: `${"ä".repeat(120)}D` }))));
});

const DELAYS: readonly (readonly [timeout: unknown, delayMs: number])[] = [
  [1, 1],
  [10_000, 10_000],
  ["10000", 10_000],
  ["10000.0", 10_000],
  ["+10000", 10_000],
  [86_400_000, 86_400_000],
  [86_400_001, 86_400_000],
  [1e300, 86_400_000],
  ["99999999999999999999", 86_400_000],
];

for (const [timeout, delayMs] of DELAYS) {
  Deno.test(`delay_timeout ${JSON.stringify(timeout)} is ${delayMs} ms`, () => {
    for (const [parse, body] of [[parseSfuRequest, LEGACY_BODY], [parseTokenRequest, HASHED_BODY]] as const) {
      const { delayedLeave } = parse(bytes({ ...body, delay_id: "syd_1", delay_timeout: timeout }));
      assert.deepEqual(delayedLeave, { delayId: "syd_1", delayMs });
    }
  });
}

const NO_DELAYS: readonly object[] = [
  {},
  { delay_id: null, delay_timeout: null },
  { delay_id: "", delay_timeout: "" },
  { delay_id: null },
  { delay_cs_api_url: "https://example.com" },
];

for (const fields of NO_DELAYS) {
  Deno.test(`${JSON.stringify(fields)} asks for no delegation`, () => {
    assert.equal(parseSfuRequest(bytes(legacy(fields))).delayedLeave, null);
    assert.equal(parseTokenRequest(bytes(hashed(fields))).delayedLeave, null);
  });
}

const BAD_DELAYS: readonly (readonly [fields: object, message: string])[] = [
  [{ delay_id: "d" }, DELAY],
  [{ delay_id: "d", delay_timeout: null }, DELAY],
  [{ delay_id: "d", delay_timeout: "" }, DELAY],
  [{ delay_timeout: 1000 }, DELAY],
  [{ delay_id: "", delay_timeout: 1000 }, DELAY],
  [{ delay_id: null, delay_timeout: "1000" }, DELAY],
  [{ delay_id: "d", delay_timeout: 0 }, DELAY],
  [{ delay_id: "d", delay_timeout: -1 }, DELAY],
  [{ delay_id: "d", delay_timeout: "-1000" }, DELAY],
  [{ delay_id: "d", delay_timeout: "0" }, DELAY],
  [{ delay_id: "d", delay_timeout: "-0.0" }, DELAY],
  [{ delay_id: ".", delay_timeout: 1000 }, 'The `delay_id` "." is no ID'],
  [{ delay_id: "..", delay_timeout: 1000 }, 'The `delay_id` ".." is no ID'],
];

for (const [fields, message] of BAD_DELAYS) {
  Deno.test(`${JSON.stringify(fields)} is M_BAD_JSON at both endpoints`, () => {
    assert.deepEqual(refusal(parseSfuRequest, legacy(fields)), ["M_BAD_JSON", message]);
    assert.deepEqual(refusal(parseTokenRequest, hashed(fields)), ["M_BAD_JSON", message]);
  });
}

// Puts bytes in place of the only "#" of a body.
function splice(body: object, ...replacement: number[]): Uint8Array {
  const whole = bytes(body);
  const at = whole.indexOf("#".charCodeAt(0));
  return Uint8Array.from([...whole.subarray(0, at), ...replacement, ...whole.subarray(at + 1)]);
}
