// Who may ask, and how often: the lists of homeservers, the rate limit, and the proxies whose word counts for it.

import type { Environment } from "./environment.ts";
import { readFullAccess, warnIfItMatchesNobody } from "./homeserver_names.ts";
import { parseNetworks, splitList } from "./values.ts";
import type { VariableName } from "./variables.ts";
import { type HomeserverPattern, HomeserverPolicy, parseHomeserverPattern } from "../admission/homeserver_policy.ts";
import { parseServerName } from "../matrix/server_name.ts";
import type { Network } from "../net/ip_range.ts";

/** Requests per client address and window. */
export interface RateLimitRule {
  readonly requests: number;
  readonly windowSeconds: number;
}

/** The operator's choices about who may ask. */
export interface Admission {
  /** Whose users may create rooms: `*` = everybody's. */
  readonly fullAccess: "*" | ReadonlySet<string>;
  readonly homeservers: {
    /** `*` = all, as far as they are not blocked. */
    readonly allowed: "*" | readonly HomeserverPattern[];
    readonly blocked: readonly HomeserverPattern[];
  };
  /** null = no limit. */
  readonly rateLimit: RateLimitRule | null;
  /** Networks of proxies whose `X-Forwarded-For` and `X-Request-Id` count. */
  readonly trustedProxies: readonly Network[];
}

const ALLOWED = "LIVEKIT_ALLOWED_HOMESERVERS";
const BLOCKED = "LIVEKIT_BLOCKED_HOMESERVERS";
const RATE_LIMIT = "LIVEKIT_RATE_LIMIT";
const PROXIES = "LIVEKIT_TRUSTED_PROXIES";

const MAX_REQUESTS = 100_000;
const MAX_WINDOW_SECONDS = 3600;
const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 };

/** Reads the choices; a list that could mean less than was meant is a problem, not a warning. */
export function readAdmission(env: Environment, listensOnUnixSocket: boolean): Admission {
  const { problems } = env;
  const fullAccess = readFullAccess(env);
  const homeservers = { allowed: readAllowed(env), blocked: readPatterns(env, BLOCKED) };
  warnAboutContradictions(env, homeservers, fullAccess);

  const rateLimit = readRateLimit(env);
  const trustedProxies = parseNetworks(env, PROXIES);
  if (rateLimit !== null && trustedProxies.length === 0 && !listensOnUnixSocket) {
    problems.warn(
      `${RATE_LIMIT} is set without ${PROXIES}: behind a proxy all clients together count as one, the proxy itself`,
    );
  }
  return { fullAccess, homeservers, rateLimit, trustedProxies };
}

function readAllowed(env: Environment): "*" | readonly HomeserverPattern[] {
  const text = env.get(ALLOWED);
  if (text === "*") return "*";
  const patterns = readPatterns(env, ALLOWED);
  for (const { text, name, isSuffix } of patterns) {
    warnIfItMatchesNobody(env, ALLOWED, text, isSuffix ? `x.${name}` : name);
  }
  if (splitList(text).length === 0) {
    env.problems.warn(`${ALLOWED} names no server: only those with full access are served`);
  }
  return patterns;
}

function readPatterns(env: Environment, name: VariableName): HomeserverPattern[] {
  return splitList(env.get(name) ?? "").flatMap((entry) => {
    const pattern = parseHomeserverPattern(entry);
    if (pattern === null) {
      env.problems.add(name, `has "${entry}"`, "server names such as example.com, or *.example.com");
    }
    return pattern === null ? [] : [pattern];
  });
}

function warnAboutContradictions(
  { problems }: Environment,
  { allowed, blocked }: Admission["homeservers"],
  fullAccess: Admission["fullAccess"],
): void {
  const byBlocked = new HomeserverPolicy({
    allowed: "*",
    blocked,
    fullAccess,
    overridden: new Set(),
    tlsSkipped: false,
  });
  const isServed = (server: string) => byBlocked.serves(parseServerName(server));
  for (const server of fullAccess === "*" ? [] : fullAccess) {
    if (isServed(server)) continue;
    problems.warn(`${BLOCKED} covers "${server}", which LIVEKIT_FULL_ACCESS_HOMESERVERS lists: it is refused`);
  }
  for (const { text, name, isSuffix } of allowed === "*" ? [] : allowed) {
    if (isServed(isSuffix ? `x.${name}` : name)) continue;
    problems.warn(`${BLOCKED} covers "${text}", which ${ALLOWED} lists: it is refused`);
  }
}

function readRateLimit(env: Environment): RateLimitRule | null {
  const text = env.get(RATE_LIMIT);
  if (text === undefined) return null;
  const match = /^(\d{1,6})\/(\d{0,4})([smh])$/.exec(text);
  const requests = Number(match?.[1]);
  const windowSeconds = Number(match?.[2] || 1) * (UNIT_SECONDS[match?.[3] ?? ""] ?? 0);
  const isGood = requests >= 1 && requests <= MAX_REQUESTS && windowSeconds >= 1 && windowSeconds <= MAX_WINDOW_SECONDS;
  if (isGood) return { requests, windowSeconds };
  env.problems.add(RATE_LIMIT, `is "${text}"`, "requests per window of at most 1h, such as 20/10s or 100/1m");
  return null;
}
