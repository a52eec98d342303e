// Names of former releases: what they said still counts, or the start tells how they are called now. None opens a door.

import assert from "node:assert/strict";
import { describeConfig } from "../../lib/config/config.ts";
import { configOf, MINIMAL, parse, problemsOf, tryToParse } from "./config_harness.ts";

const FULL_ACCESS = "LIVEKIT_FULL_ACCESS_HOMESERVERS";
const alone = (value: string) => ({ [FULL_ACCESS]: undefined, LIVEKIT_LOCAL_HOMESERVERS: value });

Deno.test("an old list of homeservers counts as the new one, and does not open the door to everybody", () => {
  const { config, warnings } = parse(alone("example.com, example.org"));
  assert.deepEqual(config.fullAccess, new Set(["example.com", "example.org"]));
  assert.deepEqual(warnings, [
    `LIVEKIT_LOCAL_HOMESERVERS is the former name of ${FULL_ACCESS}, and counts as such: rename it`,
  ]);
});

Deno.test("an old list that names nobody gives full access to nobody", () => {
  assert.deepEqual(configOf(alone(" , ")).fullAccess, new Set());
});

Deno.test("an old list that is a * or empty means what it meant", () => {
  assert.equal(configOf(alone("*")).fullAccess, "*");
  assert.equal(configOf(alone("")).fullAccess, "*");
});

Deno.test("the old list beside the same new one is said to be of no use", () => {
  const { config, warnings } = parse({
    [FULL_ACCESS]: "a.example b.example",
    LIVEKIT_LOCAL_HOMESERVERS: "b.example,a.example",
  });
  assert.deepEqual(config.fullAccess, new Set(["a.example", "b.example"]));
  assert.deepEqual(warnings, [
    `LIVEKIT_LOCAL_HOMESERVERS is the former name of ${FULL_ACCESS}, which says the same: remove it`,
  ]);
});

Deno.test("the old list beside another new one does not start", () => {
  assert.deepEqual(problemsOf({ LIVEKIT_LOCAL_HOMESERVERS: "other.example" }), [
    `${FULL_ACCESS} and LIVEKIT_LOCAL_HOMESERVERS differ, expected ${FULL_ACCESS} alone`,
  ]);
});

const PORTS: readonly (readonly [changes: Readonly<Record<string, string>>, bind: string, warning: RegExp])[] = [
  [{ LK_JWT_PORT: "8081" }, ":8081", /^LK_JWT_PORT is deprecated: use LIVEKIT_JWT_BIND=":8081"$/],
  [{ LK_JWT_PORT: "8081\r" }, ":8081", /^LK_JWT_PORT is deprecated/],
  [
    { LK_JWT_PORT: "8080", LIVEKIT_JWT_BIND: ":8081" },
    ":8081",
    /^LK_JWT_PORT has no effect beside LIVEKIT_JWT_BIND: remove it$/,
  ],
];
for (const [changes, bind, warning] of PORTS) {
  Deno.test(`${JSON.stringify(changes)} listens on ${bind}`, () => {
    const { config, warnings } = parse(changes);
    assert.equal(describeConfig(config).bind, bind);
    assert.equal(warnings.length, 1, warnings.join("\n"));
    assert.match(warnings[0] ?? "", warning);
  });
}

Deno.test("the two newer names of the port are not mixed, and the oldest has no say beside one of them", () => {
  const { config, warnings } = parse({ LK_JWT_PORT: "1", LIVEKIT_JWT_PORT: "2" });
  assert.equal(describeConfig(config).bind, ":2");
  assert.equal(warnings.length, 2);
  assert.deepEqual(problemsOf({ LK_JWT_PORT: "http" }), ['LK_JWT_PORT is "http", expected a port']);
});

Deno.test("the files of release 0.2.2 are recognized, and the start tells their new names", () => {
  const variables = {
    ...MINIMAL,
    LIVEKIT_KEY: undefined,
    LIVEKIT_SECRET: undefined,
    LIVEKIT_KEY_FILE: "/key",
    LIVEKIT_SECRET_FILE: "/secret",
  };
  const parsed = tryToParse(variables, { "/key": "devkey\n", "/secret": "sikrit\n" });
  assert.ok(!parsed.ok);
  assert.deepEqual(parsed.problems, [
    'LIVEKIT_KEY_FILE names "/key", which has one value, expected lines of the form "key: secret", or ' +
    "LIVEKIT_KEY_FROM_FILE as the variable's name",
  ]);
  assert.deepEqual(parsed.warnings, [
    "LIVEKIT_SECRET_FILE is not a variable of this service and has no effect: did you mean LIVEKIT_SECRET_FROM_FILE?",
  ]);
});
