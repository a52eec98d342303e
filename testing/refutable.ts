// Properties that are worth something: each holds for our implementation and is broken by a wrong one that a hurried
// person might have written. A property that a wrong version survives proves nothing.

import assert from "node:assert/strict";
import fc from "fast-check";

type AnyProperty = fc.IProperty<unknown> | fc.IAsyncProperty<unknown>;

/**
 * Checks a property with our implementation, and that fast-check finds a counterexample for each wrong version.
 *
 * @param property Makes the property out of an implementation.
 * @param wrong Wrong versions by name; the name says what is wrong.
 */
export async function holdsOnlyFor<Implementation>(
  property: (implementation: Implementation) => AnyProperty,
  ours: Implementation,
  wrong: Readonly<Record<string, Implementation>>,
): Promise<void> {
  await fc.assert(property(ours), { numRuns: 400 });
  for (const [name, implementation] of Object.entries(wrong)) {
    const details = await fc.check(property(implementation), { numRuns: 5000, seed: 7, endOnFailure: true });
    assert.ok(details.failed && details.counterexample !== null, `No counterexample for the wrong version "${name}"`);
  }
}

/** A text with one character put in, taken out, replaced, or its case changed. */
export function singleEdit(text: string, inserted: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const at = fc.nat({ max: Math.max(text.length - 1, 0) });
  return fc.oneof(
    fc.tuple(fc.nat({ max: text.length }), inserted).map(([i, c]) => text.slice(0, i) + c + text.slice(i)),
    at.map((i) => text.slice(0, i) + text.slice(i + 1)),
    fc.tuple(at, inserted).map(([i, c]) => text.slice(0, i) + c + text.slice(i + 1)),
    at.map((i) => text.slice(0, i) + swapCase(text.charAt(i)) + text.slice(i + 1)),
  );
}

function swapCase(character: string): string {
  const upper = character.toUpperCase();
  return upper === character ? character.toLowerCase() : upper;
}
