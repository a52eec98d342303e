// What one record takes is bounded, whatever a client or a homeserver makes of it, and what is left out is counted.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { boundFields, cutText } from "../../lib/log/bounded_fields.ts";
import { closeLog, openLog } from "../../lib/log/log.ts";

const FIELDS: readonly (readonly [name: string, value: unknown, bounded: unknown])[] = [
  ["user", "@alice:example.com", "@alice:example.com"],
  ["user", "x".repeat(255), "x".repeat(255)],
  ["user", "x".repeat(12_255), `${"x".repeat(255)}…(+12000 bytes)`],
  ["user", "é".repeat(200), `${"é".repeat(127)}…(+146 bytes)`],
  ["user", "😀".repeat(64), `${"😀".repeat(63)}…(+4 bytes)`],
  ["count", 7, 7],
  ["none", null, null],
  ["unset", undefined, undefined],
  ["steps", ["x".repeat(300), "y".repeat(301)], ["x".repeat(300), `${"y".repeat(300)}…(+1 bytes)`]],
  ["names", ["x".repeat(256)], [`${"x".repeat(255)}…(+1 bytes)`]],
  ["stack", "x".repeat(4097), `${"x".repeat(4096)}…(+1 bytes)`],
  ["object", { a: 1 }, { a: 1 }],
  ["object", { a: "x".repeat(300) }, `{"a":"${"x".repeat(249)}…(+53 bytes)`],
  ["steps", range(20), range(20)],
  ["steps", range(50), [...range(10), "…(+30 entries)", ...range(50).slice(40)]],
];
function range(length: number): string[] {
  return Array.from({ length }, (_, index) => `step ${index}`);
}
for (const [index, [name, value, bounded]] of FIELDS.entries()) {
  Deno.test(`a field is cut to its bound, row ${index}: ${name}`, () => {
    assert.deepEqual(boundFields({ [name]: value }), { [name]: bounded });
  });
}

Deno.test("a cut text is the beginning of the text, in whole characters, and says what is missing", () => {
  const text = fc.string({ unit: "grapheme", maxLength: 200 });
  fc.assert(fc.property(text, fc.integer({ min: 1, max: 300 }), (text, maxBytes) => {
    const cut = cutText(text, maxBytes);
    const size = Buffer.byteLength(text);
    if (size <= maxBytes) return assert.equal(cut, text);
    const [, kept = "", missing] = /^(.*)…\(\+(\d+) bytes\)$/su.exec(cut) ?? [];
    assert.ok(text.startsWith(kept) && !kept.includes("\ufffd"));
    assert.equal(Buffer.byteLength(kept) + Number(missing), size);
    assert.ok(Buffer.byteLength(kept) <= maxBytes && Buffer.byteLength(kept) > maxBytes - 4);
  }));
});

Deno.test("a request of 60 KB costs a line of less than 2 KB", () => {
  for (const format of ["text", "json"] as const) {
    let text = "";
    const writer = { write: (line: string) => void (text += line), flush: () => {} };
    const long = "x".repeat(60_000);
    openLog({ level: "info", format, writer }).info("Refused", { cause: long, path: long, user: long, room: long });
    closeLog({ writer });
    assert.ok(text.length < 2000, `${text.length}`);
  }
});
