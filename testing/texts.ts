// Texts for properties. fast-check's own unit "binary" is the same, and takes a second to get ready in every test file.

import fc from "fast-check";

const SURROGATES = { first: 0xd800, count: 0x800 };
const LAST = 0x10ffff;

/** Any character but a lone surrogate; those of ASCII and of the first plane more often than the others. */
const character = fc.oneof(
  fc.nat({ max: 0x7f }),
  fc.nat({ max: SURROGATES.first - 1 }),
  fc.nat({ max: LAST - SURROGATES.count }).map((n) => n < SURROGATES.first ? n : n + SURROGATES.count),
).map((codePoint) => String.fromCodePoint(codePoint));

/** Any well-formed text. */
export function anyText(
  length: { readonly minLength?: number; readonly maxLength?: number } = {},
): fc.Arbitrary<string> {
  return fc.string({ unit: character, ...length });
}
