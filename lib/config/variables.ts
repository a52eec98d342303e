// The environment variables of the service: the one list behind parsing, the table of the README, the warning about
// unknown names and the permission to read them.

import { closest } from "fastest-levenshtein";

/** One variable, as an operator reads about it. */
export interface Variable {
  readonly name: string;
  /** What an unset (or empty) variable means; null = must be given, in one form or another. */
  readonly fallback: string | null;
  /** One sentence of Markdown. */
  readonly meaning: string;
}

/** Every variable that the service reads, in the order of the README. */
export const VARIABLES = [
  {
    name: "LIVEKIT_URL",
    fallback: null,
    meaning: "URL of the SFU, handed to clients byte for byte: `wss://sfu.example.com`, with its path if it has one.",
  },
  {
    name: "LIVEKIT_INTERNAL_URL",
    fallback: "`LIVEKIT_URL`",
    meaning: "URL at which the service itself calls the SFU, such as `http://livekit:7880`.",
  },
  {
    name: "LIVEKIT_KEY",
    fallback: null,
    meaning: "API key of LiveKit; with a key file of several keys, the one to sign with.",
  },
  { name: "LIVEKIT_KEY_FROM_FILE", fallback: "unset", meaning: "File that holds `LIVEKIT_KEY`." },
  { name: "LIVEKIT_SECRET", fallback: null, meaning: "Secret of the API key, at least 32 characters." },
  { name: "LIVEKIT_SECRET_FROM_FILE", fallback: "unset", meaning: "File that holds `LIVEKIT_SECRET`." },
  {
    name: "LIVEKIT_KEY_FILE",
    fallback: "unset",
    meaning: "File with a line `key: secret` per API key, as LiveKit reads it; wins over the four above.",
  },
  {
    name: "LIVEKIT_FULL_ACCESS_HOMESERVERS",
    fallback: "`*`",
    meaning: "Servers whose users may create rooms, by commas or spaces; `*` alone = all. Set it: see Access.",
  },
  {
    name: "LIVEKIT_JWT_BIND",
    fallback: "`:8080`",
    meaning: "Where to listen: `:8080` (all addresses), `host:port`, `[::1]:8080` or `unix:/path` (mode 0660).",
  },
  { name: "LIVEKIT_JWT_PORT", fallback: "unset", meaning: "Deprecated: the port alone. Not together with the above." },
  { name: "LIVEKIT_LOG_LEVEL", fallback: "`info`", meaning: "`debug`, `info`, `warn` or `error`." },
  { name: "LIVEKIT_LOG_FORMAT", fallback: "`text`", meaning: "`text`, or `json` for one object per line." },
  {
    name: "LIVEKIT_LOG_IDS",
    fallback: "`plain`",
    meaning: "`hash` = user, room and device IDs appear in the log as the first 16 digits of their SHA-256.",
  },
  {
    name: "LIVEKIT_TOKEN_TTL_SECONDS",
    fallback: "`3600`",
    meaning: "How long a LiveKit token is valid, from 60 to 86400.",
  },
  {
    name: "LIVEKIT_CAN_UPDATE_OWN_METADATA",
    fallback: "`true`",
    meaning: "Whether participants may change their own metadata.",
  },
  {
    name: "LIVEKIT_RESTRICTED_CAN_PUBLISH",
    fallback: "`true`",
    meaning: "Whether users of other homeservers may publish media, or only listen and watch.",
  },
  {
    name: "LIVEKIT_ALLOWED_HOMESERVERS",
    fallback: "`*`",
    meaning: "Only users of these servers and of those with full access are served: `example.com, *.example.org`.",
  },
  {
    name: "LIVEKIT_BLOCKED_HOMESERVERS",
    fallback: "unset",
    meaning: "Users of these servers are refused, whatever else lists them: `evil.example, *.evil.example`.",
  },
  {
    name: "LIVEKIT_RATE_LIMIT",
    fallback: "unset",
    meaning: "Requests per client address (IPv6: per /64) and window, such as `20/10s` or `100/1m`.",
  },
  {
    name: "LIVEKIT_TRUSTED_PROXIES",
    fallback: "unset",
    meaning: "Networks of proxies whose `X-Forwarded-For` tells the client address: `10.0.0.0/8, ::1`.",
  },
  {
    name: "LIVEKIT_FEDERATION_URL_OVERRIDES",
    fallback: "unset",
    meaning: "Where to ask a server about its users, past DNS: `example.com=http://synapse:8008`, by commas.",
  },
  {
    name: "LIVEKIT_CS_API_URL_OVERRIDES",
    fallback: "unset",
    meaning: "Client-server API of a server, for delayed events: `example.com=https://matrix.example.com`, by commas.",
  },
  {
    name: "LIVEKIT_FEDERATION_ALLOW_NETWORKS",
    fallback: "unset",
    meaning: "Inner networks in which any homeserver may be: `10.0.0.0/8, fd00::/8`.",
  },
  {
    name: "LIVEKIT_EXTRA_CA_FILE",
    fallback: "unset",
    meaning: "PEM file of further CA certificates to trust, beside the system's.",
  },
  {
    name: "LIVEKIT_INSECURE_SKIP_VERIFY_TLS",
    fallback: "unset",
    meaning: "`YES_I_KNOW_WHAT_I_AM_DOING` = verify no certificate and guard no address. For labs.",
  },
  {
    name: "LIVEKIT_DELEGATION",
    fallback: "`on`",
    meaning: "`off` = take charge of no delayed leave events; clients then keep their own short timer.",
  },
  {
    name: "LIVEKIT_DELEGATE_RESTRICTED",
    fallback: "`false`",
    meaning: "Whether users of other homeservers may hand their leave events over too.",
  },
  {
    name: "LIVEKIT_STATE_DIR",
    fallback: "`$STATE_DIRECTORY`, else memory",
    meaning: "Writable directory in which leave events outlive a restart. Not used with Redis.",
  },
  {
    name: "LIVEKIT_REDIS_URL",
    fallback: "unset",
    meaning: "Redis, for several replicas: `redis://`, `rediss://`, `unix:/path`, `redis+sentinel://h:p,h:p/master`.",
  },
  { name: "LIVEKIT_REDIS_PASSWORD", fallback: "unset", meaning: "Password of Redis, when it is not in the URL." },
  {
    name: "LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS",
    fallback: "`60`",
    meaning: "How often LiveKit is asked who is still in a call, whatever its webhooks say; `0` = never.",
  },
] as const satisfies readonly Variable[];

/** Name of a variable of the service. */
export type VariableName = typeof VARIABLES[number]["name"];

const KNOWN: ReadonlySet<string> = new Set(VARIABLES.map(({ name }) => name));

// Names that were once right, or that people took for right.
const RENAMED: Readonly<Record<string, VariableName>> = {
  LK_JWT_PORT: "LIVEKIT_JWT_PORT",
  LK_JWT_BIND: "LIVEKIT_JWT_BIND",
  LIVEKIT_LOCAL_HOMESERVERS: "LIVEKIT_FULL_ACCESS_HOMESERVERS",
  LIVEKIT_SECRET_FILE: "LIVEKIT_SECRET_FROM_FILE",
  LIVEKIT_API_KEY: "LIVEKIT_KEY",
  LIVEKIT_API_SECRET: "LIVEKIT_SECRET",
};

// Kubernetes sets these for a Service that happens to be called "livekit" or "lk-jwt-service".
const SERVICE_LINK = /_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)$/;

/** A variable that looks like one of ours and is none; `meant` is the nearest that exists. */
export interface UnknownVariable {
  readonly name: string;
  readonly meant: string;
}

/** Finds `LIVEKIT_*` and `LK_JWT_*` variables that are set (an empty one is not) and not known. */
export function findUnknownVariables(environment: Readonly<Record<string, string | undefined>>): UnknownVariable[] {
  return Object.entries(environment).flatMap(([name, value]) => {
    if (!/^(LIVEKIT_|LK_JWT_)/.test(name) || KNOWN.has(name) || !value) return [];
    const meant = RENAMED[name];
    if (meant !== undefined) return [{ name, meant }];
    if (SERVICE_LINK.test(name)) return [];
    return [{ name, meant: closest(name, [...KNOWN]) }];
  });
}
