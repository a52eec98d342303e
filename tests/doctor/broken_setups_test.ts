// Every mistake is found by its check, with its fix; where nothing is wrong, nothing is said.

import assert from "node:assert/strict";
import { BROKEN_SETUPS } from "./broken_setups.ts";
import { examineWorld } from "./examination.ts";
import { PUBLIC_URL } from "./healthy_world.ts";

Deno.test("a set-up in which everything is right has no finding, and each of its checks was made", async () => {
  const checks = await examineWorld({ publicUrl: PUBLIC_URL });
  assert.deepEqual(checks.filter(({ outcome }) => outcome !== "ok"), []);
  const found = new Set(checks.map(({ id }) => id));
  for (const { id } of BROKEN_SETUPS) assert.ok(found.has(id), id);
});

Deno.test("without --public-url that of the well-known document is tried", async () => {
  const checks = await examineWorld({});
  assert.deepEqual(checks.filter(({ outcome }) => outcome !== "ok"), []);
});

for (const { mistake, id, outcome, fix, ...differences } of BROKEN_SETUPS) {
  Deno.test(`found by ${id}: ${mistake}`, async () => {
    const checks = await examineWorld(differences);
    const found = checks.find((check) => check.id === id && check.outcome === outcome);
    assert.ok(found !== undefined, JSON.stringify(checks.filter((check) => check.outcome !== "ok"), null, 1));
    assert.match(found.fix ?? "", fix);
    const secrets = /secret-secret|access_token=|eyJ/;
    assert.ok(!secrets.test(JSON.stringify(checks)));
  });
}

Deno.test("there are more than forty mistakes", () => {
  assert.ok(BROKEN_SETUPS.length > 40);
});
