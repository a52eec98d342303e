// Key files and variables with one thing wrong: a configuration, or problems that name their variable; never anything
// else, and never a secret in a text.

import assert from "node:assert/strict";
import fc from "fast-check";
import { describeConfig, parseConfig } from "../../lib/config/config.ts";
import { VARIABLES } from "../../lib/config/variables.ts";
import { byteMutation } from "../../testing/mutations.ts";
import { type Case, run } from "./campaign.ts";
import { anyText } from "../../testing/texts.ts";

const CASES = 10_000;
const SECRET = "q7Zt-secret-of-more-than-32-characters";

interface Input {
  readonly variables: Readonly<Record<string, string>>;
  readonly file: string;
}

const keyFiles = fc.record({
  before: fc.constantFrom(
    "",
    "# keys\n",
    "\n\n",
    "other: another-secret-of-more-than-32-characters\n",
    "\ufeff",
    "---\n",
  ),
  separator: fc.constantFrom(": ", ":\t", " : "),
  quote: fc.constantFrom("", '"', "'"),
  after: fc.constantFrom("", "\n", "\r\n", "\n# end", " # one", "\n  \n"),
}).map(({ before, separator, quote, after }) => `${before}devkey${separator}${quote}${SECRET}${quote}${after}`);

const LEAST = {
  LIVEKIT_URL: "wss://sfu.example.com",
  LIVEKIT_KEY_FILE: "/keys",
  LIVEKIT_FULL_ACCESS_HOMESERVERS: "a.b",
};

const HARD_VALUES = [
  ...[
    "",
    " ",
    ",",
    ",,",
    "*",
    "*,a.b",
    "true",
    "TRUE",
    "yes",
    "0",
    "-1",
    "1e3",
    "99999999999",
    "NaN",
    "\0",
    "é",
    "a".repeat(5000),
  ],
  ...[
    "a.b=",
    "=a.b",
    "a.b=c",
    "a.b=http://[",
    "a.b=https://u:p@c.d:0/x?y#z",
    "https://",
    "wss://user:pw@sfu/?token=x#y",
    "x:/y",
  ],
  ...[
    ":0",
    ":99999",
    "[::1]:80",
    "[::1",
    "unix:",
    "unix:/a/b",
    "10.0.0.0/8,::/0",
    "10.0.0.0/33",
    "20/10s",
    "0/1s",
    "1/9h",
  ],
  ...[
    "redis://:pw@h:1/0",
    "rediss://h",
    "unix:/r",
    "redis+sentinel://a:1,b/m",
    "http://h",
    "*.example.com",
    "*.",
    "example.com:1",
  ],
];

// One variable, of any name, set to anything; or the key file damaged.
const values = fc.oneof(fc.constantFrom(...HARD_VALUES), anyText({ maxLength: 60 }));
const settings = fc.tuple(fc.constantFrom(...VARIABLES.map(({ name }) => name), "LIVEKIT_X"), values);
const inputs: fc.Arbitrary<Case<Input>> = fc.oneof(
  { weight: 1, arbitrary: keyFiles.map((file) => ({ input: { variables: LEAST, file }, isMutated: false })) },
  {
    weight: 4,
    arbitrary: fc.tuple(keyFiles, settings).map(([file, [name, value]]) => ({
      input: { variables: { ...LEAST, [name]: value }, file },
      isMutated: true,
    })),
  },
  {
    weight: 3,
    arbitrary: fc.tuple(keyFiles, byteMutation()).map(([file, mutate]) => ({
      input: { variables: LEAST, file: new TextDecoder().decode(mutate(new TextEncoder().encode(file))) },
      isMutated: true,
    })),
  },
);

Deno.test(`${CASES} configurations are taken, or refused with the name of a variable`, async () => {
  await run({
    name: "configurations",
    cases: CASES,
    arbitrary: inputs,
    run: ({ variables, file }) => {
      const parsed = parseConfig(variables, () => file);
      if (!parsed.ok) {
        for (const problem of parsed.problems) assert.match(problem, /LIVEKIT_|LK_JWT_|HTTPS?_PROXY/);
        assertNoSecret([...parsed.warnings, ...parsed.problems], SECRET);
        return "refused";
      }
      const { config, warnings } = parsed;
      const [first] = config.apiKeys;
      assert.ok(first.name !== "" && first.secret.reveal() !== "");
      // In the form in which it would be printed.
      assertNoSecret([...warnings, JSON.stringify(describeConfig(config))], first.secret.reveal());
      return warnings.length > 0 ? "taken with a warning" : "taken";
    },
    mustReach: ["taken", "taken with a warning", "refused"],
  });
});

function assertNoSecret(texts: readonly string[], secret: string): void {
  const all = texts.join("\n");
  assert.ok(!all.includes(SECRET) && (secret.length < 12 || !all.includes(secret)), all);
}
