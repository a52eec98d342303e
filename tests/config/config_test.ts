// Every variable: what it means unset, what it takes, what it refuses and in which words.

import assert from "node:assert/strict";
import type { Config } from "../../lib/config/config.ts";
import { describeConfig } from "../../lib/config/config.ts";
import { configOf, MINIMAL, parse, problemsOf, tryToParse } from "./config_harness.ts";

Deno.test("the least configuration starts with every default and no warning", () => {
  const { config, warnings } = parse();
  assert.deepEqual(warnings, []);
  assert.deepEqual(config.apiKeys.map(({ name, secret }) => [name, secret.reveal()]), [[
    "devkey",
    MINIMAL.LIVEKIT_SECRET,
  ]]);
  assert.equal(config.sfuApiUrl.href, "https://sfu.example.com/");
  const defaults: Partial<Config> = {
    livekitUrl: "wss://sfu.example.com",
    bind: { transport: "tcp", hostname: "::", port: 8080 },
    fullAccess: new Set(["example.com"]),
    log: { level: "info", format: "text" },
    tokenTtlSeconds: 3600,
    canUpdateOwnMetadata: true,
    restrictedCanPublish: true,
    federationUrlOverrides: new Map(),
    csApiUrlOverrides: new Map(),
    federationAllowNetworks: [],
    extraCertificates: undefined,
    certificateDirs: undefined,
    proxies: {},
    skipTlsVerification: false,
    sanityCheckIntervalSeconds: 60,
    redis: null,
  };
  assert.deepEqual({ ...config, ...defaults }, config);
});

Deno.test("an empty value is the same as none, for every variable", () => {
  const names = [
    "LIVEKIT_INTERNAL_URL",
    "LIVEKIT_KEY_FILE",
    "LIVEKIT_KEY_FROM_FILE",
    "LIVEKIT_SECRET_FROM_FILE",
    "LIVEKIT_JWT_BIND",
    "LIVEKIT_JWT_PORT",
    "LIVEKIT_LOG_LEVEL",
    "LIVEKIT_LOG_FORMAT",
    "LIVEKIT_TOKEN_TTL_SECONDS",
    "LIVEKIT_CAN_UPDATE_OWN_METADATA",
    "LIVEKIT_RESTRICTED_CAN_PUBLISH",
    "LIVEKIT_FEDERATION_URL_OVERRIDES",
    "LIVEKIT_CS_API_URL_OVERRIDES",
    "LIVEKIT_FEDERATION_ALLOW_NETWORKS",
    "LIVEKIT_EXTRA_CA_FILE",
    "LIVEKIT_INSECURE_SKIP_VERIFY_TLS",
    "LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS",
    "LIVEKIT_REDIS_URL",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "https_proxy",
    "NO_PROXY",
    "LIVEKIT_NO_SUCH_VARIABLE",
  ];
  const { config, warnings } = parse(Object.fromEntries(names.map((name) => [name, ""])));
  assert.deepEqual(describeConfig(config), describeConfig(configOf()));
  assert.deepEqual(warnings, []);
});

interface Accepted {
  readonly changes: Readonly<Record<string, string | undefined>>;
  readonly read: (config: Config) => unknown;
  readonly value: unknown;
}

const pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----";
const CA = { "/ca.pem": `\n${pem}\n` };
const accepted = (changes: Accepted["changes"], read: Accepted["read"], value: unknown) => ({ changes, read, value });
const api = (config: Config) => config.sfuApiUrl.href;
const map = (urls: ReadonlyMap<string, URL>) => [...urls].map(([server, url]) => [server, url.href]);

const ACCEPTED: readonly Accepted[] = [
  accepted(
    { LIVEKIT_URL: "wss://Sfu.Example.com//livekit/sfu/" },
    (c) => c.livekitUrl,
    "wss://Sfu.Example.com//livekit/sfu/",
  ),
  accepted({ LIVEKIT_URL: "wss://sfu.example.com/livekit/sfu" }, api, "https://sfu.example.com/livekit/sfu"),
  accepted({ LIVEKIT_URL: "ws://sfu:7880" }, api, "http://sfu:7880/"),
  accepted({ LIVEKIT_URL: "WSS://sfu" }, api, "https://sfu/"),
  accepted({ LIVEKIT_URL: "http://sfu:7880" }, api, "http://sfu:7880/"),
  accepted({ LIVEKIT_INTERNAL_URL: "http://livekit:7880" }, api, "http://livekit:7880/"),
  accepted({ LIVEKIT_INTERNAL_URL: "http://livekit:7880" }, (c) => c.livekitUrl, MINIMAL.LIVEKIT_URL),
  accepted({ LIVEKIT_JWT_BIND: "127.0.0.1:9000" }, (c) => c.bind, {
    transport: "tcp",
    hostname: "127.0.0.1",
    port: 9000,
  }),
  accepted({ LIVEKIT_JWT_BIND: "unix:/run/jwt.sock" }, (c) => c.bind, { transport: "unix", path: "/run/jwt.sock" }),
  accepted({ LIVEKIT_JWT_PORT: "6080" }, (c) => c.bind, { transport: "tcp", hostname: "::", port: 6080 }),
  accepted({ LIVEKIT_LOG_LEVEL: "debug" }, (c) => c.log.level, "debug"),
  accepted({ LIVEKIT_LOG_LEVEL: "warn" }, (c) => c.log.level, "warning"),
  accepted({ LIVEKIT_LOG_LEVEL: "WARNING" }, (c) => c.log.level, "warning"),
  accepted({ LIVEKIT_LOG_LEVEL: "error" }, (c) => c.log.level, "error"),
  accepted({ LIVEKIT_LOG_FORMAT: "json" }, (c) => c.log.format, "json"),
  accepted({ LIVEKIT_TOKEN_TTL_SECONDS: "60" }, (c) => c.tokenTtlSeconds, 60),
  accepted({ LIVEKIT_TOKEN_TTL_SECONDS: "86400" }, (c) => c.tokenTtlSeconds, 86_400),
  accepted({ LIVEKIT_CAN_UPDATE_OWN_METADATA: "false" }, (c) => c.canUpdateOwnMetadata, false),
  accepted({ LIVEKIT_CAN_UPDATE_OWN_METADATA: "TRUE" }, (c) => c.canUpdateOwnMetadata, true),
  accepted({ LIVEKIT_RESTRICTED_CAN_PUBLISH: "0" }, (c) => c.restrictedCanPublish, false),
  accepted({ LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS: "0" }, (c) => c.sanityCheckIntervalSeconds, 0),
  accepted({ LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS: "604800" }, (c) => c.sanityCheckIntervalSeconds, 604_800),
  accepted(
    { LIVEKIT_FULL_ACCESS_HOMESERVERS: "a.example, b.example:8448  c" },
    (c) => c.fullAccess,
    new Set(["a.example", "b.example:8448", "c"]),
  ),
  accepted({ LIVEKIT_FULL_ACCESS_HOMESERVERS: "*" }, (c) => c.fullAccess, "*"),
  accepted({ LIVEKIT_FULL_ACCESS_HOMESERVERS: undefined }, (c) => c.fullAccess, "*"),
  accepted({ LIVEKIT_FULL_ACCESS_HOMESERVERS: "*,example.com" }, (c) => c.fullAccess, new Set(["example.com"])),
  accepted(
    { LIVEKIT_FEDERATION_URL_OVERRIDES: "a=http://synapse:8008,b=https://b/x" },
    (c) => map(c.federationUrlOverrides),
    [["a", "http://synapse:8008/"], ["b", "https://b/x"]],
  ),
  accepted({ LIVEKIT_CS_API_URL_OVERRIDES: "example.com=matrix.example.com" }, (c) => map(c.csApiUrlOverrides), [[
    "example.com",
    "https://matrix.example.com/",
  ]]),
  accepted({ LIVEKIT_CS_API_URL_OVERRIDES: "a:8448=http://a b=https://b/?x=y" }, (c) => map(c.csApiUrlOverrides), [[
    "a:8448",
    "http://a/",
  ], ["b", "https://b/?x=y"]]),
  accepted(
    { LIVEKIT_FEDERATION_ALLOW_NETWORKS: "10.0.0.0/8, fd00::/8 192.0.2.1" },
    (c) => describeConfig(c).federation_allow_networks,
    ["10.0.0.0/8", "fd00::/8", "192.0.2.1/32"],
  ),
  accepted({ LIVEKIT_EXTRA_CA_FILE: "/ca.pem" }, (c) => c.extraCertificates, pem),
  accepted({ LIVEKIT_INSECURE_SKIP_VERIFY_TLS: "YES_I_KNOW_WHAT_I_AM_DOING" }, (c) => c.skipTlsVerification, true),
  accepted({ LIVEKIT_INSECURE_SKIP_VERIFY_TLS: "true" }, (c) => c.skipTlsVerification, false),
  accepted(
    { LIVEKIT_REDIS_URL: "REDISS://:pass@redis:6379/0", LIVEKIT_REDIS_PASSWORD: "not this one" },
    (c) => c.redis?.options,
    { host: "redis", port: 6379, db: 0, tls: {}, password: "pass" },
  ),
  accepted({ SSL_CERT_DIR: "/a:/b" }, (c) => c.certificateDirs, "/a:/b"),
  accepted({ HTTP_PROXY: "proxy:3128", NO_PROXY: "localhost" }, (c) => c.proxies, {
    HTTP_PROXY: "http://proxy:3128",
    NO_PROXY: "localhost",
  }),
  accepted({ HTTPS_PROXY: "socks5h://a:1080" }, (c) => c.proxies, { HTTPS_PROXY: "socks5h://a:1080" }),
  accepted({ HTTPS_PROXY: "http://a", https_proxy: "http://b" }, (c) => c.proxies, { HTTPS_PROXY: "http://b" }),
];

for (const { changes, read, value } of ACCEPTED) {
  Deno.test(`${Deno.inspect(changes)} is read as ${Deno.inspect(value, { breakLength: Infinity })}`, () => {
    assert.deepEqual(read(configOf(changes, CA)), value);
  });
}

const REDIS_FORMS = "redis://[user:password@]host[:port][/db], rediss://…, unix:/path or " +
  "redis+sentinel://host:port[,host:port…]/master[/db]";

const REFUSED: readonly (readonly [changes: Readonly<Record<string, string | undefined>>, problem: string])[] = [
  [{ LIVEKIT_URL: undefined }, "LIVEKIT_URL is not set, expected the wss:// URL of the SFU"],
  [
    { LIVEKIT_URL: "wss://sfu example" },
    'LIVEKIT_URL is "wss://sfu example", expected a URL such as wss://sfu.example.com',
  ],
  [
    { LIVEKIT_INTERNAL_URL: "http://:7880" },
    'LIVEKIT_INTERNAL_URL is "http://:7880", expected a URL such as wss://sfu.example.com',
  ],
  [
    { LIVEKIT_KEY: undefined },
    "LIVEKIT_KEY is not set, expected LIVEKIT_KEY, LIVEKIT_KEY_FROM_FILE or LIVEKIT_KEY_FILE",
  ],
  [
    { LIVEKIT_SECRET: " \r\n" },
    "LIVEKIT_SECRET is not set, expected LIVEKIT_SECRET, LIVEKIT_SECRET_FROM_FILE or LIVEKIT_KEY_FILE",
  ],
  [{ LIVEKIT_JWT_BIND: "8080" }, 'LIVEKIT_JWT_BIND is "8080", expected :8080, host:port or unix:/path'],
  [{ LIVEKIT_JWT_BIND: "localhost" }, 'LIVEKIT_JWT_BIND is "localhost", expected :8080, host:port or unix:/path'],
  [{ LIVEKIT_JWT_BIND: ":65536" }, 'LIVEKIT_JWT_BIND is ":65536", expected :8080, host:port or unix:/path'],
  [{ LIVEKIT_JWT_PORT: "http" }, 'LIVEKIT_JWT_PORT is "http", expected a port'],
  [
    { LIVEKIT_JWT_BIND: ":1", LIVEKIT_JWT_PORT: "1" },
    "LIVEKIT_JWT_BIND and LIVEKIT_JWT_PORT are both set, expected LIVEKIT_JWT_BIND alone",
  ],
  [{ LIVEKIT_LOG_FORMAT: "xml" }, 'LIVEKIT_LOG_FORMAT is "xml", expected text or json'],
  [{ LIVEKIT_TOKEN_TTL_SECONDS: "59" }, 'LIVEKIT_TOKEN_TTL_SECONDS is "59", expected a whole number from 60 to 86400'],
  [{ LIVEKIT_TOKEN_TTL_SECONDS: "1h" }, 'LIVEKIT_TOKEN_TTL_SECONDS is "1h", expected a whole number from 60 to 86400'],
  [{ LIVEKIT_CAN_UPDATE_OWN_METADATA: "maybe" }, 'LIVEKIT_CAN_UPDATE_OWN_METADATA is "maybe", expected true or false'],
  [{ LIVEKIT_RESTRICTED_CAN_PUBLISH: "2" }, 'LIVEKIT_RESTRICTED_CAN_PUBLISH is "2", expected true or false'],
  [
    { LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS: "-1" },
    'LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS is "-1", expected a whole number from 0 to 2147483',
  ],
  [
    { LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS: "1.5" },
    'LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS is "1.5", expected a whole number from 0 to 2147483',
  ],
  [
    { LIVEKIT_CS_API_URL_OVERRIDES: "example.com" },
    'LIVEKIT_CS_API_URL_OVERRIDES has "example.com", expected entries of the form server=https://host',
  ],
  [
    { LIVEKIT_CS_API_URL_OVERRIDES: "a=ftp://a" },
    'LIVEKIT_CS_API_URL_OVERRIDES has "ftp://a" for a, expected an http or https URL',
  ],
  [
    { LIVEKIT_FEDERATION_URL_OVERRIDES: "=https://a" },
    'LIVEKIT_FEDERATION_URL_OVERRIDES has "=https://a", expected entries of the form server=https://host',
  ],
  [
    { LIVEKIT_FEDERATION_ALLOW_NETWORKS: "10.0.0.0/33" },
    'LIVEKIT_FEDERATION_ALLOW_NETWORKS has "10.0.0.0/33", expected networks such as 10.0.0.0/8 or fd00::/8',
  ],
  [
    { LIVEKIT_EXTRA_CA_FILE: "/none" },
    'LIVEKIT_EXTRA_CA_FILE names "/none", which cannot be read (No such file or directory (os error 2)), expected a readable file',
  ],
  [
    { LIVEKIT_EXTRA_CA_FILE: "/text" },
    "LIVEKIT_EXTRA_CA_FILE names a file without a certificate, expected PEM certificates",
  ],
  [
    { LIVEKIT_REDIS_URL: "http://redis" },
    `LIVEKIT_REDIS_URL is not a Redis URL, expected ${REDIS_FORMS}`,
  ],
  [
    { LIVEKIT_REDIS_URL: "redis://redis:port" },
    `LIVEKIT_REDIS_URL has a host or port that is none, expected ${REDIS_FORMS}`,
  ],
];

for (const [changes, problem] of REFUSED) {
  Deno.test(`${Deno.inspect(changes)} is refused, and the text says what to write instead`, () => {
    assert.deepEqual(problemsOf(changes, { "/text": "no certificate" }), [problem]);
  });
}

Deno.test("a proxy that cannot be used is refused, and its URL, which may hold a password, is not shown", () => {
  assert.deepEqual(problemsOf({ HTTPS_PROXY: "socks4://user:hunter2@proxy" }), [
    "HTTPS_PROXY is no proxy that can be used (value not shown), expected a URL that begins with http://, https://, " +
    "socks5://, socks5h://",
  ]);
});

Deno.test("everything wrong is said at once, one line per problem", () => {
  const problems = problemsOf({
    LIVEKIT_URL: undefined,
    LIVEKIT_KEY: undefined,
    LIVEKIT_SECRET: undefined,
    LIVEKIT_JWT_BIND: "x",
    LIVEKIT_LOG_FORMAT: "xml",
    LIVEKIT_TOKEN_TTL_SECONDS: "x",
    LIVEKIT_REDIS_URL: "x",
    LIVEKIT_CS_API_URL_OVERRIDES: "x y=",
  });
  assert.equal(problems.length, 9);
  for (const problem of problems) assert.match(problem, /^LIVEKIT_[A-Z_]+ .+, expected [^\n]+[^.\n]$/);
});

Deno.test("no environment at all is three problems", () => {
  const parsed = tryToParse({});
  assert.ok(!parsed.ok);
  assert.deepEqual(parsed.problems.map((problem) => problem.split(" ")[0]).sort(), [
    "LIVEKIT_KEY",
    "LIVEKIT_SECRET",
    "LIVEKIT_URL",
  ]);
});

Deno.test("no secret stands in a problem, a warning, or the printed configuration", () => {
  const secrets = {
    LIVEKIT_SECRET: "sikrit-a",
    LIVEKIT_REDIS_URL: "redis://user:sikrit-b@redis:6379",
    LIVEKIT_INTERNAL_URL: "http://user:sikrit-c@sfu:7880",
    LIVEKIT_FEDERATION_URL_OVERRIDES: "example.com=https://user:sikrit-d@host",
    HTTPS_PROXY: "http://user:sikrit-e@proxy:3128",
  };
  const { config, warnings } = parse(secrets);
  const said = [
    JSON.stringify(describeConfig(config)),
    Deno.inspect(describeConfig(config)),
    Deno.inspect(config.apiKeys),
    Deno.inspect(config.redis, { depth: 9 }),
    JSON.stringify(config.redis),
  ];
  assert.doesNotMatch([...said, ...warnings].join("\n"), /sikrit/);

  const broken = problemsOf({
    LIVEKIT_SECRET: "sikrit-a",
    LIVEKIT_KEY: undefined,
    LIVEKIT_REDIS_URL: "http://user:sikrit-b@redis",
    LIVEKIT_INTERNAL_URL: "http://user:sikrit-c@sfu:port",
    LIVEKIT_FEDERATION_URL_OVERRIDES: "https://user:sikrit-d@host",
    LIVEKIT_CS_API_URL_OVERRIDES: "a=ftp://user:sikrit-d@host",
    HTTPS_PROXY: "socks4://user:sikrit-e@proxy",
  });
  assert.equal(broken.length, 6);
  assert.doesNotMatch(broken.join("\n"), /sikrit/);
});
