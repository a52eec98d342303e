// What happens to bytes and JSON on their way, by accident or on purpose.

import fc from "fast-check";
import { anyText } from "./texts.ts";

/** Texts that look like names of servers, users or hosts, and are taken for them where a parser is lax. */
export const AWKWARD_NAMES = [
  "example.com:0",
  "[::1]",
  "a/b",
  "example.com:99999",
  "@bob:example.com",
  "127.0.0.1",
  "%00",
  "a@b",
] as const;

/** Bytes of a JSON text: one changed, some cut out, repeated, or put in; the rest cut off; or far too many. */
export function byteMutation(): fc.Arbitrary<(bytes: Uint8Array) => Uint8Array> {
  const junk = fc.constantFrom(
    '"',
    "{",
    "}",
    "[",
    ",",
    ":",
    "\\",
    "\\ud800",
    "null",
    "1e999",
    "\0",
    "\ufeff",
    "//",
    "-",
  );
  const change = fc.record({ at: fc.nat(400), length: fc.nat(20), junk, byte: fc.nat(255), kind: fc.nat(4) });
  return change.map(({ at, length, junk, byte, kind }) => (body) => {
    const from = at % Math.max(body.length, 1);
    const head = body.subarray(0, from);
    const middle = body.subarray(from, from + length);
    const tail = body.subarray(from + length);
    switch (kind) {
      case 0:
        return Buffer.concat([head, Uint8Array.of(byte), body.subarray(from + 1)]);
      case 1:
        return Buffer.concat([head, tail]);
      case 2:
        return Buffer.concat([head, middle, middle, tail]);
      case 3:
        return Buffer.concat([head, new TextEncoder().encode(junk), body.subarray(from)]);
      default:
        return at < 40 ? Buffer.concat([body, new Uint8Array(70_000).fill(32)]) : head;
    }
  });
}

/** A JSON value that one can walk into. */
export type Json = { readonly [key: string]: unknown };

const HARD_VALUES = [
  ...[
    undefined,
    null,
    "",
    " ",
    0,
    -1,
    1.5,
    1e21,
    true,
    [],
    {},
    [null],
    [[]],
    "a".repeat(300),
    "\ud800",
    "\0",
    "..",
    "💩",
  ],
  ...AWKWARD_NAMES,
  ...["a b", "\r\n"],
  ...["https://", "http://example.com", "https://example.com:0", "javascript:alert(1)", "1970-01-01T00:00:00Z", "{}"],
];

/**
 * A value with one of its fields, at any depth, gone or replaced.
 *
 * @param missing Fields that it has not, and may be given.
 */
export function fieldMutation(json: Json, missing: readonly string[] = []): fc.Arbitrary<Json> {
  const value = fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom<unknown[]>(...HARD_VALUES) },
    { weight: 1, arbitrary: fc.jsonValue() },
    { weight: 1, arbitrary: anyText({ maxLength: 260 }) },
  );
  return fc.tuple(fc.constantFrom(...pathsIn(json), ...missing.map((name) => [name])), value).map(([path, value]) =>
    replaced(json, path, value)
  );
}

function pathsIn(json: Json): string[][] {
  return Object.entries(json).flatMap(([key, value]) => [
    [key],
    ...(isJson(value) ? pathsIn(value).map((path) => [key, ...path]) : []),
  ]);
}

function replaced(json: Json, [key = "", ...rest]: readonly string[], value: unknown): Json {
  const held = json[key];
  return { ...json, [key]: rest.length > 0 && isJson(held) ? replaced(held, rest, value) : value };
}

function isJson(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
