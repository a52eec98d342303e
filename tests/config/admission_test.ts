// Who may ask, and how often, as the environment says it.

import assert from "node:assert/strict";
import { describeConfig } from "../../lib/config/config.ts";
import { configOf, parse, problemsOf } from "./config_harness.ts";

Deno.test("without a word everybody may ask, as often as they like", () => {
  const { homeservers, rateLimit, trustedProxies } = configOf();
  assert.deepEqual(homeservers, { allowed: "*", blocked: [] });
  assert.equal(rateLimit, null);
  assert.deepEqual(trustedProxies, []);
});

Deno.test("lists hold names and suffixes, by commas or spaces", () => {
  const config = configOf({
    LIVEKIT_ALLOWED_HOMESERVERS: "example.com, *.example.org",
    LIVEKIT_BLOCKED_HOMESERVERS: "evil.example:8448\n*.evil.example",
  });
  const { allowed_homeservers, blocked_homeservers } = describeConfig(config);
  assert.deepEqual(allowed_homeservers, ["example.com", "*.example.org"]);
  assert.deepEqual(blocked_homeservers, ["evil.example:8448", "*.evil.example"]);
});

Deno.test("an allow list of * alone is none", () => {
  assert.equal(configOf({ LIVEKIT_ALLOWED_HOMESERVERS: "*" }).homeservers.allowed, "*");
});

const RATES: readonly (readonly [text: string, requests: number, windowSeconds: number])[] = [
  ["20/10s", 20, 10],
  [" 20/10s ", 20, 10],
  ["1/s", 1, 1],
  ["100/1m", 100, 60],
  ["100/m", 100, 60],
  ["100000/1h", 100_000, 3600],
  ["5/3600s", 5, 3600],
];

for (const [text, requests, windowSeconds] of RATES) {
  Deno.test(`LIVEKIT_RATE_LIMIT=${text} is ${requests} requests in ${windowSeconds} s`, () => {
    assert.deepEqual(configOf({ LIVEKIT_RATE_LIMIT: text }).rateLimit, { requests, windowSeconds });
  });
}

const REFUSED: readonly (readonly [name: string, value: string, problem: string])[] = [
  ["LIVEKIT_ALLOWED_HOMESERVERS", "example.com *", 'has "*", expected server names such as example.com'],
  ["LIVEKIT_ALLOWED_HOMESERVERS", "https://example.com", 'has "https://example.com", expected server names'],
  ["LIVEKIT_BLOCKED_HOMESERVERS", "*", 'has "*", expected server names such as example.com, or *.example.com'],
  ["LIVEKIT_BLOCKED_HOMESERVERS", "evil_.example", 'has "evil_.example", expected server names'],
  ...["20", "20/10", "/10s", "0/10s", "20/0s", "20/2h", "20/61m", "100001/1s", "1.5/s", "20/10d", "20/-1s"]
    .map((value) => ["LIVEKIT_RATE_LIMIT", value, `is "${value}", expected requests per window`] as const),
  ["LIVEKIT_TRUSTED_PROXIES", "10.0.0.0/8 nginx", 'has "nginx", expected networks such as 10.0.0.0/8'],
];

for (const [name, value, problem] of REFUSED) {
  Deno.test(`${name}="${value}" does not start: it could mean less than was meant`, () => {
    const [found, ...others] = problemsOf({ [name]: value });
    assert.ok(found?.startsWith(`${name} ${problem}`), found);
    assert.deepEqual(others, []);
  });
}

const WARNED: readonly (readonly [changes: Readonly<Record<string, string>>, warnings: readonly RegExp[]])[] = [
  [{ LIVEKIT_ALLOWED_HOMESERVERS: "a.example", LIVEKIT_BLOCKED_HOMESERVERS: "b.example" }, []],
  [{ LIVEKIT_ALLOWED_HOMESERVERS: "," }, [/^LIVEKIT_ALLOWED_HOMESERVERS names no server: only those with full access/]],
  [
    { LIVEKIT_BLOCKED_HOMESERVERS: "*.com" },
    [/^LIVEKIT_BLOCKED_HOMESERVERS covers "example.com", which LIVEKIT_FULL_ACCESS_HOMESERVERS lists: it is refused$/],
  ],
  [
    { LIVEKIT_ALLOWED_HOMESERVERS: "a.test *.b.test", LIVEKIT_BLOCKED_HOMESERVERS: "*.test" },
    [/covers "a.test", which LIVEKIT_ALLOWED_HOMESERVERS lists: it is refused$/, /covers "\*.b.test"/],
  ],
  [{ LIVEKIT_ALLOWED_HOMESERVERS: "*.test", LIVEKIT_BLOCKED_HOMESERVERS: "a.test" }, []],
  [{ LIVEKIT_TRUSTED_PROXIES: "::1" }, []],
  [{ LIVEKIT_RATE_LIMIT: "20/10s" }, [/^LIVEKIT_RATE_LIMIT is set without LIVEKIT_TRUSTED_PROXIES: behind a proxy/]],
  [{ LIVEKIT_RATE_LIMIT: "20/10s", LIVEKIT_JWT_BIND: "unix:/run/jwt.sock" }, []],
  [{ LIVEKIT_RATE_LIMIT: "20/10s", LIVEKIT_TRUSTED_PROXIES: "10.0.0.0/8, fd00::/8, 192.0.2.1" }, []],
];

for (const [changes, expected] of WARNED) {
  Deno.test(`${JSON.stringify(changes)} gets ${expected.length} warnings`, () => {
    const { warnings } = parse(changes);
    assert.equal(warnings.length, expected.length, warnings.join("\n"));
    expected.forEach((pattern, index) => assert.match(warnings[index] ?? "", pattern));
  });
}

Deno.test("LIVEKIT_LOG_IDS is plain or hash, in any case", () => {
  assert.equal(configOf().logIds, "plain");
  assert.equal(configOf({ LIVEKIT_LOG_IDS: "Hash" }).logIds, "hash");
  assert.deepEqual(problemsOf({ LIVEKIT_LOG_IDS: "hashed" }), [
    'LIVEKIT_LOG_IDS is "hashed", expected plain or hash',
  ]);
});
