// What starts and yet looks wrong: each such thing gets one warning that names the variable and the remedy.

import assert from "node:assert/strict";
import { MINIMAL, parse } from "./config_harness.ts";

const WARNED: readonly (readonly [changes: Readonly<Record<string, string | undefined>>, warning: RegExp])[] = [
  [
    { LIVEKIT_FULL_ACCESS_HOMESERVERS: undefined },
    /^LIVEKIT_FULL_ACCESS_HOMESERVERS is not set: users of every homeserver/,
  ],
  [{ LIVEKIT_FULL_ACCESS_HOMESERVERS: "*" }, /^LIVEKIT_FULL_ACCESS_HOMESERVERS is "\*": users of every homeserver/],
  [
    { LIVEKIT_FULL_ACCESS_HOMESERVERS: " , " },
    /^LIVEKIT_FULL_ACCESS_HOMESERVERS names no server: nobody has full access/,
  ],
  [{ LIVEKIT_FULL_ACCESS_HOMESERVERS: "example.com *" }, /has "\*" beside other names: it is ignored/],
  [{ LIVEKIT_SECRET: "x".repeat(31) }, /^The secret of API key "devkey" has under 32 characters/],
  [{ LIVEKIT_SECRET: `${"x".repeat(32)}ä` }, /^The secret of API key "devkey" has characters beyond ASCII/],
  [{ LIVEKIT_URL: "sfu.example.com" }, /^LIVEKIT_URL "sfu.example.com" has no scheme: wss:\/\/ is assumed/],
  [{ LIVEKIT_URL: "sfu:7880" }, /^LIVEKIT_URL "sfu:7880" has no scheme/],
  [
    { LIVEKIT_URL: "ftp://sfu" },
    /^LIVEKIT_URL is "ftp:\/\/sfu", expected a ws, wss, http or https URL: calls to the SFU use https/,
  ],
  [{ LIVEKIT_URL: "wss://sfu/?token=1" }, /^LIVEKIT_URL has a user, a query or a fragment/],
  [{ LIVEKIT_URL: "wss://:pass@sfu/" }, /^LIVEKIT_URL has a user, a query or a fragment/],
  [{ LIVEKIT_JWT_PORT: "6080" }, /^LIVEKIT_JWT_PORT is deprecated: use LIVEKIT_JWT_BIND=":6080"/],
  [
    { LIVEKIT_LOG_LEVEL: "verbose" },
    /^LIVEKIT_LOG_LEVEL is "verbose", expected debug, info, warn or error: info is used/,
  ],
  [
    { LIVEKIT_INSECURE_SKIP_VERIFY_TLS: "1" },
    /^LIVEKIT_INSECURE_SKIP_VERIFY_TLS has no effect: only the exact value YES_I_KNOW_WHAT_I_AM_DOING/,
  ],
  [
    { LIVEKIT_INSECURE_SKIP_VERIFY_TLS: "YES_I_KNOW_WHAT_I_AM_DOING" },
    /^LIVEKIT_INSECURE_SKIP_VERIFY_TLS is on: no certificate is verified/,
  ],
  [
    { LIVEKIT_CS_API_URL_OVERRIDES: "example.com=matrix.example.com" },
    /has "matrix.example.com" for example.com without a scheme: https:\/\/ is assumed/,
  ],
  [{ LIVEKIT_FEDERATION_URL_OVERRIDES: "exa_mple=https://host" }, /has "exa_mple", which is no server name/],
  [
    { LIVEKIT_FULL_ACESS_HOMESERVERS: "a" },
    /^LIVEKIT_FULL_ACESS_HOMESERVERS is not .* did you mean LIVEKIT_FULL_ACCESS_HOMESERVERS\?$/,
  ],
];

for (const [changes, warning] of WARNED) {
  Deno.test(`${Deno.inspect(changes)} starts with one warning`, () => {
    const { warnings } = parse(changes);
    assert.equal(warnings.length, 1, warnings.join("\n"));
    assert.match(warnings[0] ?? "", warning);
  });
}

Deno.test("a strange scheme of LIVEKIT_URL goes to clients as it is", () => {
  const { config } = parse({ LIVEKIT_URL: "ftp://sfu/x" });
  assert.deepEqual([config.livekitUrl, config.sfuApiUrl.href], ["ftp://sfu/x", "https://sfu/x"]);
});

Deno.test("variables of others are no business of ours", () => {
  const others = {
    PATH: "/bin",
    HOME: "/",
    // Kubernetes, for Services named "livekit", "livekit-jwt", "lk-jwt" and "lk-jwt-service".
    LIVEKIT_JWT_PORT: "tcp://10.0.0.3:80",
    LK_JWT_PORT: "tcp://10.0.0.4:80",
    LIVEKIT_SERVICE_HOST: "10.0.0.1",
    LIVEKIT_SERVICE_PORT: "7880",
    LIVEKIT_SERVICE_PORT_HTTP: "7880",
    LIVEKIT_PORT: "tcp://10.0.0.1:7880",
    LIVEKIT_PORT_7880_TCP: "tcp://10.0.0.1:7880",
    LIVEKIT_PORT_7880_TCP_ADDR: "10.0.0.1",
    LK_JWT_SERVICE_SERVICE_HOST: "10.0.0.2",
    LK_JWT_SERVICE_PORT_8080_TCP_PROTO: "tcp",
  };
  assert.deepEqual(parse(others).warnings, []);
});

Deno.test("several warnings are all given", () => {
  const { warnings } = parse({
    LIVEKIT_SECRET: "short",
    LIVEKIT_FULL_ACCESS_HOMESERVERS: undefined,
    LIVEKIT_LOG_LEVEL: "verbose",
    LIVEKIT_JWT_PORT: "8080",
  });
  assert.equal(warnings.length, 4, warnings.join("\n"));
  assert.ok(warnings.every((warning) => !warning.includes("short") && !warning.includes(MINIMAL.LIVEKIT_SECRET)));
});
