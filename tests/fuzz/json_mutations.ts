// JSON documents as bytes, most of them with one thing wrong with them: in their text, or in one of their fields.

import fc from "fast-check";
import { byteMutation, fieldMutation, type Json } from "../../testing/mutations.ts";
import type { Case } from "./campaign.ts";

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
