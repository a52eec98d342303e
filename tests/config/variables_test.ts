// The list of variables: complete, allowed by the permission set, and what is said about names that are not on it.

import assert from "node:assert/strict";
import manifest from "../../deno.json" with { type: "json" };
import { findUnknownVariables } from "../../lib/config/unknown_variables.ts";
import { VARIABLES } from "../../lib/config/variables.ts";

const UNKNOWN: readonly (readonly [name: string, meant: string])[] = [
  ["LK_JWT_BIND", "LIVEKIT_JWT_BIND"],
  ["LIVEKIT_SECRET_FILE", "LIVEKIT_SECRET_FROM_FILE"],
  ["LIVEKIT_API_KEY", "LIVEKIT_KEY"],
  ["LIVEKIT_API_SECRET", "LIVEKIT_SECRET"],
  ["LIVEKIT_UR", "LIVEKIT_URL"],
  ["LIVEKIT_LOGLEVEL", "LIVEKIT_LOG_LEVEL"],
  ["LIVEKIT_FULL_ACCESS_HOMESERVER", "LIVEKIT_FULL_ACCESS_HOMESERVERS"],
  ["LIVEKIT_CS_API_OVERRIDES", "LIVEKIT_CS_API_URL_OVERRIDES"],
];

for (const [name, meant] of UNKNOWN) {
  Deno.test(`${name} is taken for ${meant}`, () => {
    const hint = `is not a variable of this service and has no effect: did you mean ${meant}?`;
    assert.deepEqual(findUnknownVariables({ [name]: "x" }), [{ name, hint }]);
  });
}

for (const name of ["LIVEKIT_AS_TOKEN", "LIVEKIT_AS_REGISTRATION_FILE", "LIVEKIT_HS_TOKEN", "LIVEKIT_HS_SERVER_NAME"]) {
  Deno.test(`${name} is of a mode that is not there`, () => {
    const hint = "has no effect: the application-service mode is not supported in this version";
    assert.deepEqual(findUnknownVariables({ [name]: "x" }), [{ name, hint }]);
  });
}

Deno.test("known, foreign and empty variables are not reported", () => {
  const known = Object.fromEntries(VARIABLES.map(({ name }) => [name, "x"]));
  assert.deepEqual(
    findUnknownVariables({ ...known, PATH: "x", livekit_url: "x", LIVEKIT_X: "", LK_JWT_X: undefined }),
    [],
  );
});

Deno.test("every variable has one entry, with a meaning that fits a line of the README", () => {
  assert.equal(new Set(VARIABLES.map(({ name }) => name)).size, VARIABLES.length);
  for (const { name, meaning } of VARIABLES) {
    assert.match(meaning, /^[A-Z`].*\.$/, name);
    assert.ok(meaning.length <= 110, name);
  }
});

Deno.test("the permission set lets the service read every variable, and no other", () => {
  const { allow } = manifest.permissions.service.env;
  const isAllowed = (name: string) =>
    allow.some((pattern) => pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : name === pattern);
  const read = VARIABLES.flatMap((variable) =>
    "isAlsoLowerCase" in variable ? [variable.name, variable.name.toLowerCase()] : [variable.name]
  );
  for (const name of read) assert.ok(isAllowed(name), name);
  for (const pattern of allow.filter((pattern) => !pattern.endsWith("*"))) assert.ok(read.includes(pattern), pattern);
  assert.equal(isAllowed("HOME"), false);
});
