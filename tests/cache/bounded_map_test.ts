// BoundedMap: never above its limit, the oldest goes.

import assert from "node:assert/strict";
import fc from "fast-check";
import { BoundedMap } from "../../lib/cache/bounded_map.ts";

Deno.test("the entry that was set longest ago makes room, and is told", () => {
  const map = new BoundedMap<string, number>(2);
  map.set("a", 1);
  map.set("b", 2);
  map.set("a", 3);
  assert.deepEqual(map.set("c", 4), ["b", 2]);
  assert.deepEqual([...map], [["a", 3], ["c", 4]]);
});

Deno.test("it holds the newest keys and no more than its limit, whatever is set and deleted", () => {
  const operation = fc.record({ key: fc.integer({ min: 0, max: 9 }), isDelete: fc.boolean() });
  fc.assert(fc.property(fc.integer({ min: 1, max: 6 }), fc.array(operation), (limit, operations) => {
    const map = new BoundedMap<number, number>(limit);
    let expected: number[] = [];
    operations.forEach(({ key, isDelete }, index) => {
      expected = expected.filter((one) => one !== key);
      if (isDelete) map.delete(key);
      else {
        map.set(key, index);
        expected = [...expected, key].slice(-limit);
      }
    });
    assert.deepEqual([...map.keys()], expected);
  }));
});
