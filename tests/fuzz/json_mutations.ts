// JSON documents with one thing wrong with them: in their text, or in one of their fields.

import fc from "fast-check";
import { AWKWARD_NAMES, byteMutation } from "../../testing/mutations.ts";
import type { Case } from "./campaign.ts";
import { anyText } from "../../testing/texts.ts";

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

/** Documents as bytes: good ones, most of them with one mutation, and some that are anything at all. */
export function documents(good: fc.Arbitrary<Json>): fc.Arbitrary<Case<Uint8Array>> {
  const bytes = good.map((json) => new TextEncoder().encode(JSON.stringify(json)));
  const byText = fc.tuple(bytes, byteMutation()).map(([bytes, mutate]) => mutate(bytes));
  const byField = good.chain((json) => fieldMutation(json)).map((json) =>
    new TextEncoder().encode(JSON.stringify(json))
  );
  const as = (isMutated: boolean, weight: number, arbitrary: fc.Arbitrary<Uint8Array>) => ({
    weight,
    arbitrary: arbitrary.map((input) => ({ input, isMutated })),
  });
  return fc.oneof(as(false, 2, bytes), as(true, 4, byText), as(true, 6, byField), as(false, 1, fc.uint8Array()));
}

/** A value with one of its fields, at any depth, gone or replaced. */
export function fieldMutation(json: Json): fc.Arbitrary<Json> {
  const value = fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom<unknown[]>(...HARD_VALUES) },
    { weight: 1, arbitrary: fc.jsonValue() },
    { weight: 1, arbitrary: anyText({ maxLength: 260 }) },
  );
  return fc.tuple(fc.constantFrom(...pathsIn(json)), value).map(([path, value]) => replaced(json, path, value));
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
