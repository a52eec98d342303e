// Environments that packages and guides really set: all of them must start, and mean what they meant to release 0.6.0.

import assert from "node:assert/strict";
import { type Config, describeConfig } from "../../lib/config/config.ts";
import { parseAlone } from "./config_harness.ts";

const SECRET = "a secret of at least 32 characters";
const SKIP = "YES_I_KNOW_WHAT_I_AM_DOING";

interface Package {
  readonly who: string;
  readonly variables: Readonly<Record<string, string>>;
  readonly files?: Readonly<Record<string, string>>;
  readonly check: (config: Config) => void;
  readonly warnings: number;
}

const listens = (bind: string) => (config: Config) => assert.equal(describeConfig(config).bind, bind);

const PACKAGES: readonly Package[] = [
  {
    who: "the ESS helm chart",
    variables: {
      LIVEKIT_KEY: "matrix-rtc",
      LIVEKIT_SECRET_FROM_FILE: "/secrets/generated/ELEMENT_CALL_LIVEKIT_SECRET",
      LIVEKIT_URL: "wss://mrtc.example.com",
      LIVEKIT_FULL_ACCESS_HOMESERVERS: "example.com",
      LIVEKIT_CS_API_URL_OVERRIDES: "example.com=http://ess-synapse-main.ess.svc.cluster.local:8008",
      KUBERNETES_SERVICE_HOST: "10.0.0.1",
      ESS_MATRIX_RTC_AUTHORISATION_SERVICE_PORT: "tcp://10.0.0.2:8080",
    },
    files: { "/secrets/generated/ELEMENT_CALL_LIVEKIT_SECRET": SECRET },
    check: (config) => {
      assert.equal(config.apiKeys[0].secret.reveal(), SECRET);
      assert.equal(
        config.csApiUrlOverrides.get("example.com")?.href,
        "http://ess-synapse-main.ess.svc.cluster.local:8008/",
      );
    },
    warnings: 0,
  },
  {
    who: "the ESS helm chart without a server name, in its CI",
    variables: {
      LIVEKIT_KEY: "matrix-rtc",
      LIVEKIT_SECRET_FROM_FILE: "/secrets/x/LIVEKIT_SECRET",
      LIVEKIT_URL: "wss://mrtc.example.com",
      LIVEKIT_FULL_ACCESS_HOMESERVERS: "*",
      LIVEKIT_INSECURE_SKIP_VERIFY_TLS: SKIP,
    },
    files: { "/secrets/x/LIVEKIT_SECRET": `${SECRET}\n` },
    check: (config) => assert.deepEqual([config.fullAccess, config.skipTlsVerification], ["*", true]),
    warnings: 2,
  },
  {
    who: "matrix-docker-ansible-deploy",
    variables: {
      LIVEKIT_JWT_BIND: ":8080",
      LIVEKIT_KEY: "devkey",
      LIVEKIT_URL: "wss://matrix.example.com/livekit-server",
      LIVEKIT_SECRET: SECRET,
      LIVEKIT_FULL_ACCESS_HOMESERVERS: "example.com",
      LIVEKIT_CS_API_URL_OVERRIDES: "",
    },
    check: (config) => {
      assert.equal(config.sfuApiUrl.pathname, "/livekit-server");
      listens(":8080")(config);
    },
    warnings: 0,
  },
  {
    who: "the NixOS module",
    variables: {
      LIVEKIT_URL: "wss://example.com/livekit/sfu",
      LIVEKIT_KEY_FILE: "/run/credentials/lk-jwt-service.service/livekit-secrets",
      LIVEKIT_JWT_BIND: ":8080",
      LIVEKIT_FULL_ACCESS_HOMESERVERS: "*",
      CREDENTIALS_DIRECTORY: "/run/credentials/lk-jwt-service.service",
    },
    files: { "/run/credentials/lk-jwt-service.service/livekit-secrets": `lk-jwt-service: ${SECRET}\n` },
    check: (config) => assert.equal(config.apiKeys[0].name, "lk-jwt-service"),
    warnings: 1,
  },
  {
    who: "the older NixOS module",
    variables: { LIVEKIT_URL: "ws://localhost:7880", LIVEKIT_JWT_PORT: "8080", LIVEKIT_KEY_FILE: "/keys" },
    files: { "/keys": `lk-jwt-service: ${SECRET}` },
    check: listens(":8080"),
    warnings: 2,
  },
  {
    who: "Element Call's self-hosting guide",
    variables: {
      LK_JWT_PORT: "8080",
      LIVEKIT_URL: "wss://matrix-rtc.example.com/livekit/sfu",
      LIVEKIT_KEY: "key",
      LIVEKIT_SECRET: SECRET,
      LIVEKIT_FULL_ACCESS_HOMESERVERS: "example.com",
    },
    check: listens(":8080"),
    warnings: 1,
  },
  {
    who: "Element Call's development backend",
    variables: {
      LIVEKIT_JWT_PORT: "6080",
      LIVEKIT_URL: "wss://matrix-rtc.m.localhost/livekit/sfu",
      LIVEKIT_KEY: "devkey",
      LIVEKIT_SECRET: "secret",
      LIVEKIT_FULL_ACCESS_HOMESERVERS: "synapse.m.localhost",
      LIVEKIT_INSECURE_SKIP_VERIFY_TLS: SKIP,
    },
    check: listens(":6080"),
    warnings: 3,
  },
  {
    who: "the guides of continuwuity and tuwunel",
    variables: {
      LIVEKIT_JWT_BIND: ":8081",
      LIVEKIT_URL: "wss://livekit.example.com",
      LIVEKIT_KEY: "key",
      LIVEKIT_SECRET: SECRET,
      LIVEKIT_FULL_ACCESS_HOMESERVERS: "example.com",
    },
    check: listens(":8081"),
    warnings: 0,
  },
  {
    who: "composes with an https URL and a path",
    variables: {
      LIVEKIT_URL: "https://livekit.example.com/livekit/sfu/",
      LIVEKIT_KEY: "key",
      LIVEKIT_SECRET: SECRET,
      LIVEKIT_FULL_ACCESS_HOMESERVERS: "example.com, example.org",
    },
    check: (config) => {
      assert.equal(config.livekitUrl, "https://livekit.example.com/livekit/sfu/");
      assert.deepEqual(config.fullAccess, new Set(["example.com", "example.org"]));
    },
    warnings: 0,
  },
  {
    who: "a release 0.6.0 set-up that uses everything",
    variables: {
      LIVEKIT_URL: "wss://sfu.example.com",
      LIVEKIT_KEY_FROM_FILE: "/key",
      LIVEKIT_SECRET_FROM_FILE: "/secret",
      LIVEKIT_JWT_BIND: "0.0.0.0:8080",
      LIVEKIT_FULL_ACCESS_HOMESERVERS: "example.com",
      LIVEKIT_LOG_LEVEL: "trace",
      LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS: "300",
      LIVEKIT_CS_API_URL_OVERRIDES: "example.com=matrix.example.com",
      LIVEKIT_REDIS_URL: "redis://redis:6379/0",
    },
    files: { "/key": "key\n", "/secret": `${SECRET}\n` },
    check: listens("0.0.0.0:8080"),
    warnings: 2,
  },
];

for (const { who, variables, files, check, warnings: expected } of PACKAGES) {
  Deno.test(`the environment of ${who} starts, with ${expected} warning(s)`, () => {
    const { config, warnings } = parseAlone(variables, files);
    check(config);
    assert.equal(warnings.length, expected, warnings.join("\n"));
  });
}
