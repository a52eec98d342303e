// From environment variables and the files they name to one checked configuration. Pure: it is given both. Everything
// wrong is reported at once, one line per problem; what only looks wrong is a warning, and the service starts.

import { type Bind, formatBind, parseBind } from "./bind.ts";
import {
  Environment,
  parseBoolean,
  parseChoice,
  parseHomeservers,
  parseInteger,
  parseNetworks,
  parseUrlMap,
  Problems,
  withoutCredentials,
} from "./values.ts";
import { type Admission, type RateLimitRule, readAdmission } from "./admission.ts";
import { readApiKeys } from "./api_keys.ts";
import type { ApiKey } from "../livekit/access_token.ts";
import type { HomeserverPattern } from "../admission/homeserver_policy.ts";
import type { Network } from "../net/ip_range.ts";
import type { ProxyVariables } from "../net/proxies.ts";
import { LOG_FORMATS, type LogFormat, type LogLevel } from "../log/log.ts";
import { LOG_ID_FORMS, type LogIdForm } from "../log/pseudonyms.ts";
import { parseRedisUrl, RedisTarget } from "../redis/url.ts";
import { Secret } from "../secret.ts";
import { findUnknownVariables } from "./variables.ts";

/** The whole configuration, checked. */
export interface Config extends Admission {
  /** What clients get, byte for byte. */
  readonly livekitUrl: string;
  /** Base of the SFU's API, `http:` or `https:`. */
  readonly sfuApiUrl: URL;
  /** At least one; the first signs. */
  readonly apiKeys: readonly [ApiKey, ...ApiKey[]];
  readonly bind: Bind;
  readonly fullAccess: "*" | ReadonlySet<string>;
  readonly log: { readonly level: LogLevel; readonly format: LogFormat };
  /** How IDs of users and rooms appear in the log. */
  readonly logIds: LogIdForm;
  readonly tokenTtlSeconds: number;
  readonly canUpdateOwnMetadata: boolean;
  readonly restrictedCanPublish: boolean;
  readonly federationUrlOverrides: ReadonlyMap<string, URL>;
  readonly csApiUrlOverrides: ReadonlyMap<string, URL>;
  readonly federationAllowNetworks: readonly Network[];
  /** PEM text; undefined without a file. */
  readonly extraCertificates: string | undefined;
  readonly certificateDirs: string | undefined;
  readonly proxies: ProxyVariables;
  readonly skipTlsVerification: boolean;
  /** Whether delayed leave events are taken charge of. */
  readonly delegation: boolean;
  /** Those of other homeservers' users too. */
  readonly delegateRestricted: boolean;
  /** 0 = off. */
  readonly sanityCheckIntervalSeconds: number;
  /** Where one process keeps its state; null = nowhere. */
  readonly stateDir: string | null;
  /** Shared by all replicas; null = there is one process. */
  readonly redis: RedisTarget | null;
}

/** A configuration, and what the operator should know about it. */
export interface ParsedConfig {
  readonly config: Config;
  readonly warnings: readonly string[];
}

/** The configuration cannot be used: one line per problem, each naming its variable. */
export class ConfigError extends Error {
  override name = "ConfigError";

  constructor(readonly problems: readonly string[]) {
    super(problems.join("\n"));
  }
}

/** Reads a file as text; throws when it cannot. */
export type ReadTextFile = (path: string) => string;

/** The environment as a plain object. */
export type EnvironmentVariables = Readonly<Record<string, string | undefined>>;

const SKIP_TLS = "YES_I_KNOW_WHAT_I_AM_DOING";
const DEFAULT_BIND = ":8080";
const DEFAULT_SANITY_CHECK_SECONDS = 60;
const MAX_INTERVAL_SECONDS = 2_147_483; // what a timer can hold
const DEFAULT_TTL_SECONDS = 3600;

/**
 * Parses the environment. An empty value means unset; values from files are trimmed.
 *
 * @throws ConfigError
 */
export function parseConfig(variables: EnvironmentVariables, readTextFile: ReadTextFile): ParsedConfig {
  const problems = new Problems();
  const env = new Environment(variables, readTextFile, problems);

  for (const { name, meant } of findUnknownVariables(variables)) {
    problems.warn(`${name} is not a variable of this service and has no effect: did you mean ${meant}?`);
  }
  const livekitUrl = env.get("LIVEKIT_URL") ?? "";
  if (livekitUrl === "") problems.add("LIVEKIT_URL", "is not set", "the wss:// URL of the SFU");
  const apiKeys = readApiKeys(env, problems);
  const bind = readBind(env, problems);
  const fullAccess = parseHomeservers(env, "LIVEKIT_FULL_ACCESS_HOMESERVERS", problems);
  const config = {
    livekitUrl,
    sfuApiUrl: parseSfuApiUrl(env, problems),
    apiKeys,
    bind,
    fullAccess,
    ...readAdmission(env, problems, fullAccess, bind?.transport === "unix"),
    log: {
      level: readLogLevel(env, problems),
      format: parseChoice(env, "LIVEKIT_LOG_FORMAT", problems, LOG_FORMATS, "text"),
    },
    logIds: parseChoice(env, "LIVEKIT_LOG_IDS", problems, LOG_ID_FORMS, "plain"),
    tokenTtlSeconds: parseInteger(env, "LIVEKIT_TOKEN_TTL_SECONDS", problems, DEFAULT_TTL_SECONDS, 60, 86_400),
    canUpdateOwnMetadata: parseBoolean(env, "LIVEKIT_CAN_UPDATE_OWN_METADATA", problems, true),
    restrictedCanPublish: parseBoolean(env, "LIVEKIT_RESTRICTED_CAN_PUBLISH", problems, true),
    federationUrlOverrides: parseUrlMap(env, "LIVEKIT_FEDERATION_URL_OVERRIDES", problems),
    csApiUrlOverrides: parseUrlMap(env, "LIVEKIT_CS_API_URL_OVERRIDES", problems),
    federationAllowNetworks: parseNetworks(env, "LIVEKIT_FEDERATION_ALLOW_NETWORKS", problems),
    extraCertificates: readExtraCertificates(env, problems),
    certificateDirs: env.get("SSL_CERT_DIR"),
    proxies: readProxies(env, problems),
    skipTlsVerification: readSkipTls(env, problems),
    delegation: parseBoolean(env, "LIVEKIT_DELEGATION", problems, true),
    delegateRestricted: parseBoolean(env, "LIVEKIT_DELEGATE_RESTRICTED", problems, false),
    stateDir: env.get("LIVEKIT_STATE_DIR") ?? env.get("STATE_DIRECTORY")?.split(":")[0] ?? null,
    sanityCheckIntervalSeconds: parseInteger(
      env,
      "LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS",
      problems,
      DEFAULT_SANITY_CHECK_SECONDS,
      0,
      MAX_INTERVAL_SECONDS,
    ),
    redis: readRedis(env, problems),
  };
  const { sfuApiUrl } = config;
  if (problems.found.length > 0 || sfuApiUrl === null || bind === null || apiKeys === null) {
    throw new ConfigError(problems.found);
  }
  return { config: { ...config, sfuApiUrl, bind, apiKeys }, warnings: problems.warnings };
}

/** The effective configuration for one line of the log; secrets show as "[redacted]". */
export function describeConfig(config: Config): Record<string, unknown> {
  return {
    livekit_url: config.livekitUrl,
    sfu_api: config.sfuApiUrl.origin + config.sfuApiUrl.pathname,
    api_keys: config.apiKeys.map(({ name }) => name),
    bind: formatBind(config.bind),
    full_access: config.fullAccess === "*" ? "*" : [...config.fullAccess],
    allowed_homeservers: describePatterns(config.homeservers.allowed),
    blocked_homeservers: describePatterns(config.homeservers.blocked),
    rate_limit: describeRateLimit(config.rateLimit),
    trusted_proxies: config.trustedProxies.map(describeNetwork),
    log_level: config.log.level,
    log_ids: config.logIds,
    token_ttl_seconds: config.tokenTtlSeconds,
    can_update_own_metadata: config.canUpdateOwnMetadata,
    restricted_can_publish: config.restrictedCanPublish,
    federation_url_overrides: describeMap(config.federationUrlOverrides),
    cs_api_url_overrides: describeMap(config.csApiUrlOverrides),
    federation_allow_networks: config.federationAllowNetworks.map(describeNetwork),
    extra_ca: config.extraCertificates !== undefined,
    proxy: Object.keys(config.proxies),
    skip_tls_verification: config.skipTlsVerification,
    delegation: config.delegation,
    delegate_restricted: config.delegateRestricted,
    state_dir: config.stateDir ?? "none",
    sanity_check_interval_seconds: config.sanityCheckIntervalSeconds,
    redis: config.redis?.description ?? "none",
  };
}

function describeMap(map: ReadonlyMap<string, URL>): Record<string, string> {
  return Object.fromEntries([...map].map(([server, url]) => [server, url.origin]));
}

function describePatterns(patterns: "*" | readonly HomeserverPattern[]): "*" | readonly string[] {
  return patterns === "*" ? "*" : patterns.map(({ text }) => text);
}

function describeRateLimit(rule: RateLimitRule | null): string {
  return rule === null ? "none" : `${rule.requests}/${rule.windowSeconds}s`;
}

function describeNetwork([address, prefixLength]: Network): string {
  return `${address}/${prefixLength}`;
}

function parseSfuApiUrl(env: Environment, problems: Problems): URL | null {
  const name = env.get("LIVEKIT_INTERNAL_URL") === undefined ? "LIVEKIT_URL" : "LIVEKIT_INTERNAL_URL";
  const text = env.get(name);
  if (text === undefined) return null;
  const shown = withoutCredentials(text);
  const withScheme = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `wss://${text}`;
  // Clients get a strange scheme as it is, and may know better; the service's own calls need one to go by.
  const isUsual = /^(ws|http)s?:/i.test(withScheme);
  const apiUrl = isUsual ? withScheme.replace(/^ws/i, "http") : withScheme.replace(/^[^:]+/, "https");
  if (!URL.canParse(apiUrl)) {
    problems.add(name, `is "${shown}"`, "a URL such as wss://sfu.example.com");
    return null;
  }
  if (withScheme !== text) problems.warn(`${name} "${shown}" has no scheme: wss:// is assumed for calls to the SFU`);
  if (!isUsual) {
    problems.warn(`${name} is "${shown}", expected a ws, wss, http or https URL: calls to the SFU use https`);
  }
  const url = new URL(apiUrl);
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    problems.warn(`${name} has a user, a query or a fragment, which calls to the SFU leave out`);
    url.username =
      url.password =
      url.search =
      url.hash =
        "";
  }
  return url;
}

function readBind(env: Environment, problems: Problems): Bind | null {
  const bind = env.get("LIVEKIT_JWT_BIND");
  const port = env.get("LIVEKIT_JWT_PORT");
  if (bind !== undefined && port !== undefined) {
    problems.add("LIVEKIT_JWT_BIND and LIVEKIT_JWT_PORT", "are both set", "LIVEKIT_JWT_BIND alone");
    return null;
  }
  const text = bind ?? (port === undefined ? DEFAULT_BIND : `:${port}`);
  if (port !== undefined) problems.warn(`LIVEKIT_JWT_PORT is deprecated: use LIVEKIT_JWT_BIND=":${port}"`);
  const parsed = parseBind(text);
  if (parsed === null) {
    const name = port === undefined ? "LIVEKIT_JWT_BIND" : "LIVEKIT_JWT_PORT";
    problems.add(name, `is "${bind ?? port}"`, port === undefined ? ":8080, host:port or unix:/path" : "a port");
  }
  return parsed;
}

function readLogLevel(env: Environment, problems: Problems): LogLevel {
  const text = env.get("LIVEKIT_LOG_LEVEL")?.toLowerCase();
  switch (text) {
    case undefined:
      return "info";
    case "debug":
    case "info":
    case "warning":
    case "error":
      return text;
    case "warn":
      return "warning";
    default:
      problems.warn(`LIVEKIT_LOG_LEVEL is "${text}", expected debug, info, warn or error: info is used`);
      return "info";
  }
}

function readExtraCertificates(env: Environment, problems: Problems): string | undefined {
  const text = env.readFileOf("LIVEKIT_EXTRA_CA_FILE");
  if (text !== undefined && !text.includes("-----BEGIN CERTIFICATE-----")) {
    problems.add("LIVEKIT_EXTRA_CA_FILE", "names a file without a certificate", "PEM certificates");
  }
  return text;
}

function readSkipTls(env: Environment, problems: Problems): boolean {
  const text = env.get("LIVEKIT_INSECURE_SKIP_VERIFY_TLS");
  if (text === undefined) return false;
  if (text !== SKIP_TLS) {
    problems.warn(`LIVEKIT_INSECURE_SKIP_VERIFY_TLS has no effect: only the exact value ${SKIP_TLS} counts`);
    return false;
  }
  problems.warn(
    "LIVEKIT_INSECURE_SKIP_VERIFY_TLS is on: no certificate is verified and internal addresses are open to every request. " +
      "For a private CA use LIVEKIT_EXTRA_CA_FILE instead",
  );
  return true;
}

function readRedis(env: Environment, problems: Problems): RedisTarget | null {
  const url = env.get("LIVEKIT_REDIS_URL");
  const password = env.get("LIVEKIT_REDIS_PASSWORD");
  if (url === undefined) {
    if (password !== undefined) problems.warn("LIVEKIT_REDIS_PASSWORD has no effect without LIVEKIT_REDIS_URL");
    return null;
  }
  const target = parseRedisUrl(new Secret(url), password === undefined ? null : new Secret(password));
  if (target instanceof RedisTarget) return target;
  problems.add("LIVEKIT_REDIS_URL", target.problem, target.expected);
  return null;
}

function readProxies(env: Environment, problems: Problems): ProxyVariables {
  const proxies: Record<string, string> = {};
  for (const name of ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"]) {
    const value = env.get(name.toLowerCase()) ?? env.get(name);
    if (value === undefined) continue;
    const url = name === "NO_PROXY" || value.includes("://") ? value : `http://${value}`;
    if (name !== "NO_PROXY" && !(URL.canParse(url) && /^https?:/.test(url))) {
      // Going around a proxy that was asked for could be worse than not starting.
      problems.add(name, "is no proxy that can be used (value not shown)", "an http:// or https:// URL");
    }
    proxies[name] = url;
  }
  return proxies;
}
