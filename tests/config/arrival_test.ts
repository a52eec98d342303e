// Values as they really arrive: with what editors, shells, env files and templates leave around them. Each is taken right,
// or refused with a text that names the fix; none is handed on.

import assert from "node:assert/strict";
import { type Config, describeConfig } from "../../lib/config/config.ts";
import { MINIMAL, parse, problemsOf, tryToParse } from "./config_harness.ts";

const AROUND: readonly (readonly [name: string, put: (value: string) => string])[] = [
  ["a line end of Windows", (value) => `${value}\r`],
  ["blanks", (value) => `  ${value}\t `],
  ["a byte order mark", (value) => `\ufeff${value}`],
  ["line ends", (value) => `\n${value}\r\n`],
];
const EVERYTHING = {
  ...MINIMAL,
  LIVEKIT_INTERNAL_URL: "http://livekit:7880",
  LIVEKIT_JWT_BIND: "127.0.0.1:9000",
  LIVEKIT_LOG_LEVEL: "debug",
  LIVEKIT_LOG_FORMAT: "json",
  LIVEKIT_LOG_IDS: "hash",
  LIVEKIT_ALLOWED_HOMESERVERS: "*.example.com",
  LIVEKIT_BLOCKED_HOMESERVERS: "evil.example",
  LIVEKIT_RATE_LIMIT: "20/10s",
  LIVEKIT_TRUSTED_PROXIES: "10.0.0.0/8",
  LIVEKIT_TOKEN_TTL_SECONDS: "600",
  LIVEKIT_CAN_UPDATE_OWN_METADATA: "false",
  LIVEKIT_RESTRICTED_CAN_PUBLISH: "false",
  LIVEKIT_FEDERATION_URL_OVERRIDES: "example.com=https://synapse.example.com",
  LIVEKIT_CS_API_URL_OVERRIDES: "example.com=https://matrix.example.com",
  LIVEKIT_FEDERATION_ALLOW_NETWORKS: "10.0.0.0/8",
  LIVEKIT_EXTRA_CA_FILE: "/ca.pem",
  LIVEKIT_DELEGATION: "off",
  LIVEKIT_DELEGATE_RESTRICTED: "true",
  LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS: "0",
  LIVEKIT_STATE_DIR: "/var/lib/x",
  LIVEKIT_REDIS_URL: "redis://redis:6379/1",
  LIVEKIT_REDIS_PASSWORD: "hunter2",
  HTTPS_PROXY: "http://proxy:3128",
  NO_PROXY: "localhost",
};
const FILES = { "/ca.pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----" };

function everythingOf(config: Config) {
  const { apiKeys, redis, proxies, livekitUrl } = config;
  const keys = apiKeys.map(({ name, secret }) => [name, secret.reveal()]);
  return { ...describeConfig(config), keys, redis: redis?.options, proxies, livekitUrl };
}

for (const [name, put] of AROUND) {
  Deno.test(`${name} around every value and file changes nothing`, () => {
    const variables = Object.fromEntries(Object.entries(EVERYTHING).map(([name, value]) => [name, put(value)]));
    const files = { "/ca.pem": put(FILES["/ca.pem"]) };
    const { config, warnings } = parse(variables, files);
    assert.deepEqual(warnings, []);
    assert.deepEqual(everythingOf(config), everythingOf(parse(EVERYTHING, FILES).config));
  });
}

for (const quote of ['"', "'"]) {
  Deno.test(`${quote} around every value that is no secret is left out, and said`, () => {
    const entries = Object.entries(EVERYTHING);
    const secrets = ["LIVEKIT_SECRET", "LIVEKIT_REDIS_PASSWORD"];
    const variables = Object.fromEntries(
      entries.map(([name, value]) => [name, secrets.includes(name) ? value : `${quote}${value}${quote}\r`]),
    );
    const { config, warnings } = parse(variables, FILES);
    assert.equal(warnings.length, entries.length - secrets.length);
    for (const warning of warnings) assert.match(warning, /^\w+ begins and ends with a quote: both are left out\./);
    assert.deepEqual(everythingOf(config), everythingOf(parse(EVERYTHING, FILES).config));
  });
}

Deno.test("a byte order mark before the first name of an env file changes nothing", () => {
  const { LIVEKIT_URL, ...others } = MINIMAL;
  const parsed = tryToParse({ "\ufeffLIVEKIT_URL": LIVEKIT_URL, ...others });
  assert.ok(parsed.ok && parsed.config.livekitUrl === LIVEKIT_URL);
});

Deno.test("two quotes and nothing between them are nothing", () => {
  assert.deepEqual(parse({ LIVEKIT_JWT_BIND: '""' }).config.bind, parse().config.bind);
});

const LONG = "sikrit of at least 32 characters, really";
const REFUSED: readonly (readonly [what: string, changes: Readonly<Record<string, string>>, problem: RegExp])[] = [
  ["quotes around a secret", { LIVEKIT_SECRET: `"${LONG}"` }, /^LIVEKIT_SECRET begins and ends with a quote, expected/],
  [
    "quotes around a password",
    { LIVEKIT_REDIS_URL: "redis://redis", LIVEKIT_REDIS_PASSWORD: "'sikrit'" },
    /^LIVEKIT_REDIS_PASSWORD begins and ends with a quote, expected the value alone$/,
  ],
  ["a secret of two lines", { LIVEKIT_SECRET: `${LONG}\nsikrit` }, /^LIVEKIT_SECRET has several lines, expected/],
  [
    "a secret file of two lines",
    { LIVEKIT_SECRET_FROM_FILE: "/two" },
    /^LIVEKIT_SECRET_FROM_FILE names "\/two", which has several lines, expected a file with the value alone$/,
  ],
  [
    "a secret file of two lines of Windows",
    { LIVEKIT_SECRET_FROM_FILE: "/two-crlf" },
    /which has several lines, expected a file with the value alone$/,
  ],
  [
    "a quoted secret file",
    { LIVEKIT_SECRET_FROM_FILE: "/quoted" },
    /which has quotes around its value, expected a file with the value alone$/,
  ],
  [
    "an env file as secret file",
    { LIVEKIT_SECRET_FROM_FILE: "/env" },
    /which has the name of a variable before its value, expected a file with the value alone$/,
  ],
  [
    "a secret file in UTF-16",
    { LIVEKIT_SECRET_FROM_FILE: "/utf-16" },
    /which is not UTF-8 text, expected a text file in UTF-8$/,
  ],
  [
    "the whole of LiveKit's configuration",
    { LIVEKIT_KEY_FILE: "/livekit.yaml" },
    /^LIVEKIT_KEY_FILE names "\/livekit.yaml", which looks like the whole of LiveKit's configuration \(line 3 is "keys:"\), expected the lines below "keys:" alone/,
  ],
  ["a key file with a malformed line", { LIVEKIT_KEY_FILE: "/bad" }, /which has a malformed line 2, expected lines of/],
  [
    "a URL with a blank in it",
    { LIVEKIT_URL: "wss://sfu .example.com" },
    /^LIVEKIT_URL is "wss:\/\/sfu .example.com", /,
  ],
  [
    "a URL with a line end in it",
    { LIVEKIT_URL: "wss://a\r\nb" },
    /^LIVEKIT_URL is "wss:\/\/a\\r\\nb", expected a URL/,
  ],
  ["a template that nobody filled in", { LIVEKIT_URL: "wss://${DOMAIN}" }, /^LIVEKIT_URL is "wss:\/\/\$\{DOMAIN\}", /],
  [
    "a public URL with a quote in it, beside an internal one",
    { LIVEKIT_URL: 'wss://sfu"', LIVEKIT_INTERNAL_URL: "http://sfu" },
    /^LIVEKIT_URL is "wss:\/\/sfu\\"", expected a URL/,
  ],
];
const BAD_FILES = {
  "/two": `${LONG}\n# the old one: sikrit\n`,
  "/two-crlf": `${LONG}\r\nsikrit\r\n`,
  "/quoted": `"${LONG}"\n`,
  "/env": `LIVEKIT_SECRET=${LONG}\n`,
  "/utf-16": new TextDecoder().decode(new Uint8Array([0xff, 0xfe, 0x73, 0, 0x69, 0])),
  "/livekit.yaml": `port: 7880\n\nkeys:\n  devkey: ${LONG}\n`,
  "/bad": `devkey: ${LONG}\n${LONG}\n`,
};
for (const [what, changes, problem] of REFUSED) {
  Deno.test(`${what} is refused, and the text names the fix and no secret`, () => {
    const problems = problemsOf(changes, BAD_FILES);
    assert.equal(problems.length, 1, problems.join("\n"));
    assert.match(problems[0] ?? "", problem);
    assert.doesNotMatch(problems.join("\n"), /sikrit/);
  });
}

const NAMES: readonly (readonly [entry: string, warning: RegExp | null])[] = [
  ["example.com", null],
  ["example.com:8448", null],
  ["localhost", null],
  ["localhost:8448", null],
  ["synapse.m.localhost", null],
  ["192.0.2.1", null],
  ["[2001:db8::1]:8448", null],
  ["Example.com", /which matches no server whose name is in lower case, as nearly all are: write "example.com"$/],
  ["https://example.com", /which is a URL or a path and matches nobody: write it as it stands in user IDs/],
  ["example.com/", /which is a URL or a path and matches nobody/],
  ["@alice:example.com", /has "alice.*|which is a user ID and matches nobody/],
  ["*.example.com", /which is a pattern and matches nobody/],
  ["exa_mple.com", /which is no server name and matches nobody/],
  ["example.com:port", /which is no server name and matches nobody/],
  ["synapse", /which looks like a container or host, not like a server name: write it as it stands in user IDs/],
  ["synapse:8008", /which looks like a container or host/],
  ["synapse.ess.svc.cluster.local:8008", /which looks like a container or host/],
];
for (const [entry, warning] of NAMES) {
  Deno.test(`"${entry}" in the list of homeservers ${warning === null ? "is fine" : "is loud"}`, () => {
    const { warnings } = parse({ LIVEKIT_FULL_ACCESS_HOMESERVERS: `${entry} fine.example` });
    assert.equal(warnings.length, warning === null ? 0 : 1, warnings.join("\n"));
    if (warning !== null) assert.match(warnings[0] ?? "", warning);
  });
}

Deno.test("entries of the other lists that match nobody are loud, too", () => {
  const { warnings } = parse({
    LIVEKIT_ALLOWED_HOMESERVERS: "Example.org *.Example.net *.test a.example",
    LIVEKIT_FEDERATION_URL_OVERRIDES: "synapse=https://host",
    LIVEKIT_CS_API_URL_OVERRIDES: "Example.com=https://host",
  });
  assert.deepEqual(warnings.map((warning) => warning.split(", ")[0]), [
    'LIVEKIT_ALLOWED_HOMESERVERS has "Example.org"',
    'LIVEKIT_ALLOWED_HOMESERVERS has "*.Example.net"',
    'LIVEKIT_FEDERATION_URL_OVERRIDES has "synapse"',
    'LIVEKIT_CS_API_URL_OVERRIDES has "Example.com"',
  ]);
});

const CREDENTIALS = ["usr:s3kr1t@", "usr:s3k,r1t@", "s3kr1t@", "usr:s3k/r1t@", "usr:s3k r1t@", "usr:s3k@r1t@"];
const WITH_CREDENTIALS: readonly ((userInfo: string) => Readonly<Record<string, string>>)[] = [
  (userInfo) => ({ LIVEKIT_URL: `wss://${userInfo}sfu` }),
  (userInfo) => ({ LIVEKIT_URL: `${userInfo}sfu` }),
  (userInfo) => ({ LIVEKIT_URL: `ftp://${userInfo}sfu` }),
  (userInfo) => ({ LIVEKIT_INTERNAL_URL: `http://${userInfo}sfu:port` }),
  (userInfo) => ({ LIVEKIT_INTERNAL_URL: `${userInfo}sfu` }),
  (userInfo) => ({ LIVEKIT_FEDERATION_URL_OVERRIDES: `a.example=https://${userInfo}host` }),
  (userInfo) => ({ LIVEKIT_FEDERATION_URL_OVERRIDES: `a.example=${userInfo}host` }),
  (userInfo) => ({ LIVEKIT_CS_API_URL_OVERRIDES: `a.example=ftp://${userInfo}host` }),
  (userInfo) => ({ LIVEKIT_CS_API_URL_OVERRIDES: `https://${userInfo}host` }),
  (userInfo) => ({ LIVEKIT_FULL_ACCESS_HOMESERVERS: `https://${userInfo}host` }),
  (userInfo) => ({ LIVEKIT_REDIS_URL: `redis://${userInfo}redis:port` }),
  (userInfo) => ({ LIVEKIT_REDIS_URL: `${userInfo}redis` }),
  (userInfo) => ({ HTTPS_PROXY: `gopher://${userInfo}proxy` }),
];
for (const [index, changesOf] of WITH_CREDENTIALS.entries()) {
  Deno.test(`no text shows a user or password: ${JSON.stringify(changesOf("…@"))}, row ${index}`, () => {
    for (const userInfo of CREDENTIALS) {
      const parsed = tryToParse({ ...MINIMAL, ...changesOf(userInfo) });
      const printed = parsed.ok ? JSON.stringify(describeConfig(parsed.config)) : parsed.problems.join("\n");
      assert.doesNotMatch(`${printed}\n${parsed.warnings.join("\n")}`, /s3k|r1t|usr/, userInfo);
    }
  });
}
