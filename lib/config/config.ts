// From environment variables and the files they name to one checked configuration. Pure: it is given both. Everything
// wrong is reported at once, one line per problem; what only looks wrong is a warning, and the service starts.

import { type Bind, formatBind } from "../http/bind.ts";
import { type Admission, type RateLimitRule, readAdmission } from "./admission.ts";
import { readApiKeys } from "./api_keys.ts";
import { readBind, readMetricsBind } from "./bind.ts";
import { Environment, type EnvironmentVariables, type ReadTextFile } from "./environment.ts";
import { warnIfItMatchesNobody } from "./homeserver_names.ts";
import { findUnknownVariables } from "./unknown_variables.ts";
import { readLivekitUrl, readProxies, readSfuApiUrl, readUrlMap, withoutUserInfo } from "./urls.ts";
import { parseBoolean, parseChoice, parseInteger, parseNetworks } from "./values.ts";
import type { ApiKey } from "../livekit/access_token.ts";
import type { HomeserverPattern } from "../admission/homeserver_policy.ts";
import type { Network } from "../net/ip_range.ts";
import type { ProxyVariables } from "../net/proxies.ts";
import { LOG_FORMATS, type LogFormat, type LogLevel } from "../log/log.ts";
import { LOG_ID_FORMS, type LogIdForm } from "../log/pseudonyms.ts";
import { parseRedisUrl, RedisTarget } from "../redis/url.ts";
import { Secret } from "../secret.ts";

/** The whole configuration, checked. */
export interface Config extends Admission {
  /** What clients get, byte for byte. */
  readonly livekitUrl: string;
  /** Base of the SFU's API, `http:` or `https:`. */
  readonly sfuApiUrl: URL;
  /** At least one; the first signs. */
  readonly apiKeys: readonly [ApiKey, ...ApiKey[]];
  readonly bind: Bind;
  /** Where metrics, readiness and status are served; null = nowhere. */
  readonly metricsBind: Bind | null;
  /** Whether the set-up is checked after the start. */
  readonly startupChecks: boolean;
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
  /** Whether delayed leave events can be delegated. */
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

/** A configuration, or why there is none; and what the operator should know about it, in both cases. */
export type ParsedConfig =
  & {
    /** How to write about it. */
    readonly log: Config["log"];
    readonly warnings: readonly string[];
  }
  & (
    | { readonly ok: true; readonly config: Config }
    /** One line per problem, each naming its variable. */
    | { readonly ok: false; readonly problems: readonly string[] }
  );

const SKIP_TLS = "YES_I_KNOW_WHAT_I_AM_DOING";
const MAX_INTERVAL_SECONDS = 2_147_483; // what a timer can hold

/** Parses the environment. An empty value means unset; values and files are trimmed. */
export function parseConfig(variables: EnvironmentVariables, readTextFile: ReadTextFile): ParsedConfig {
  const env = new Environment(variables, readTextFile);
  const { found: problems, warnings } = env.problems;
  for (const { name, hint } of findUnknownVariables(variables)) warnings.push(`${name} ${hint}`);

  const log = { level: readLogLevel(env), format: parseChoice(env, "LIVEKIT_LOG_FORMAT", LOG_FORMATS) };
  const bind = readBind(env);
  const apiKeys = readApiKeys(env);
  const sfuApiUrl = readSfuApiUrl(env);
  const config = {
    livekitUrl: readLivekitUrl(env),
    ...readAdmission(env, bind?.transport === "unix"),
    metricsBind: readMetricsBind(env),
    startupChecks: parseBoolean(env, "LIVEKIT_STARTUP_CHECKS"),
    log,
    logIds: parseChoice(env, "LIVEKIT_LOG_IDS", LOG_ID_FORMS),
    tokenTtlSeconds: parseInteger(env, "LIVEKIT_TOKEN_TTL_SECONDS", 60, 86_400),
    canUpdateOwnMetadata: parseBoolean(env, "LIVEKIT_CAN_UPDATE_OWN_METADATA"),
    restrictedCanPublish: parseBoolean(env, "LIVEKIT_RESTRICTED_CAN_PUBLISH"),
    federationUrlOverrides: readOverrides(env, "LIVEKIT_FEDERATION_URL_OVERRIDES"),
    csApiUrlOverrides: readOverrides(env, "LIVEKIT_CS_API_URL_OVERRIDES"),
    federationAllowNetworks: parseNetworks(env, "LIVEKIT_FEDERATION_ALLOW_NETWORKS"),
    extraCertificates: readExtraCertificates(env),
    certificateDirs: env.get("SSL_CERT_DIR"),
    proxies: readProxies(env),
    skipTlsVerification: readSkipTls(env),
    delegation: parseBoolean(env, "LIVEKIT_DELEGATION"),
    delegateRestricted: parseBoolean(env, "LIVEKIT_DELEGATE_RESTRICTED"),
    stateDir: env.get("LIVEKIT_STATE_DIR") ?? env.get("STATE_DIRECTORY")?.split(":")[0] ?? null,
    sanityCheckIntervalSeconds: parseInteger(env, "LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS", 0, MAX_INTERVAL_SECONDS),
    redis: readRedis(env),
  };
  if (problems.length > 0 || sfuApiUrl === null || bind === null || apiKeys === null) {
    return { ok: false, problems, warnings, log };
  }
  return { ok: true, config: { ...config, sfuApiUrl, bind, apiKeys }, warnings, log };
}

/** The effective configuration for one line of the log; secrets show as "[redacted]". */
export function describeConfig(config: Config): Record<string, unknown> {
  return {
    livekit_url: withoutUserInfo(config.livekitUrl),
    sfu_api: config.sfuApiUrl.origin + config.sfuApiUrl.pathname,
    api_keys: config.apiKeys.map(({ name }) => name),
    bind: formatBind(config.bind),
    metrics_bind: config.metricsBind === null ? "none" : formatBind(config.metricsBind),
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

function readOverrides(
  env: Environment,
  name: "LIVEKIT_FEDERATION_URL_OVERRIDES" | "LIVEKIT_CS_API_URL_OVERRIDES",
): ReadonlyMap<string, URL> {
  const overrides = readUrlMap(env, name);
  for (const server of overrides.keys()) warnIfItMatchesNobody(env, name, server, server);
  return overrides;
}

function readLogLevel(env: Environment): LogLevel {
  const text = env.get("LIVEKIT_LOG_LEVEL").toLowerCase();
  switch (text) {
    case "debug":
    case "info":
    case "warning":
    case "error":
      return text;
    case "warn":
      return "warning";
    default:
      env.problems.warn(`LIVEKIT_LOG_LEVEL is "${text}", expected debug, info, warn or error: info is used`);
      return "info";
  }
}

function readExtraCertificates(env: Environment): string | undefined {
  const text = env.readFileOf("LIVEKIT_EXTRA_CA_FILE");
  if (text !== undefined && !text.includes("-----BEGIN CERTIFICATE-----")) {
    env.problems.add("LIVEKIT_EXTRA_CA_FILE", "names a file without a certificate", "PEM certificates");
  }
  return text;
}

function readSkipTls(env: Environment): boolean {
  const text = env.get("LIVEKIT_INSECURE_SKIP_VERIFY_TLS");
  if (text === undefined) return false;
  if (text !== SKIP_TLS) {
    env.problems.warn(`LIVEKIT_INSECURE_SKIP_VERIFY_TLS has no effect: only the exact value ${SKIP_TLS} counts`);
    return false;
  }
  env.problems.warn(
    "LIVEKIT_INSECURE_SKIP_VERIFY_TLS is on: no certificate is verified and internal addresses are open to every request. " +
      "For a private CA use LIVEKIT_EXTRA_CA_FILE instead",
  );
  return true;
}

function readRedis(env: Environment): RedisTarget | null {
  const url = env.get("LIVEKIT_REDIS_URL");
  const password = env.get("LIVEKIT_REDIS_PASSWORD");
  if (url === undefined) {
    if (password !== undefined) env.problems.warn("LIVEKIT_REDIS_PASSWORD has no effect without LIVEKIT_REDIS_URL");
    return null;
  }
  const target = parseRedisUrl(new Secret(url), password === undefined ? null : new Secret(password));
  if (target instanceof RedisTarget) return target;
  env.problems.add("LIVEKIT_REDIS_URL", target.problem, target.expected);
  return null;
}
