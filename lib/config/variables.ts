// The environment variables of the service: the one list behind reading, the tables of the README, `--help`, the hints
// about unknown names and the permission to read them.

/** The groups of variables, in the order of the README. */
export const VARIABLE_GROUPS = ["Required", "Access", "Delegated leave", "Network and TLS", "Operation"] as const;

/** One variable, as the code and an operator read about it. */
export interface Variable {
  readonly name: string;
  readonly group: typeof VARIABLE_GROUPS[number];
  /** What an unset (or empty) one is read as; null = as nothing. */
  readonly fallback: string | null;
  /** What being unset means, in Markdown, where the fallback does not tell. */
  readonly unset?: string;
  /** One sentence of Markdown. */
  readonly meaning: string;
  /** It names a file, which is read. */
  readonly namesFile?: true;
  /** Its value, or the content of the file that it names, is a secret. */
  readonly isSecret?: true;
  /** Its name in lower case wins, as in other programs. */
  readonly isAlsoLowerCase?: true;
  /** A name of former releases, which counts and is not documented. */
  readonly isOld?: true;
}

/** Every variable that the service reads. */
export const VARIABLES = [
  {
    name: "LIVEKIT_URL",
    group: "Required",
    fallback: null,
    unset: "**required**",
    meaning: "URL of the SFU, handed to clients byte for byte: `wss://sfu.example.com`, with its path if it has one.",
  },
  {
    name: "LIVEKIT_KEY",
    group: "Required",
    fallback: null,
    unset: "**required**",
    meaning: "API key of LiveKit; with a key file of several keys, the one to sign with.",
  },
  {
    name: "LIVEKIT_KEY_FROM_FILE",
    group: "Required",
    fallback: null,
    meaning: "File that holds `LIVEKIT_KEY`.",
    namesFile: true,
  },
  {
    name: "LIVEKIT_SECRET",
    group: "Required",
    fallback: null,
    unset: "**required**",
    meaning: "Secret of the API key, at least 32 characters.",
    isSecret: true,
  },
  {
    name: "LIVEKIT_SECRET_FROM_FILE",
    group: "Required",
    fallback: null,
    meaning: "File that holds `LIVEKIT_SECRET`.",
    namesFile: true,
    isSecret: true,
  },
  {
    name: "LIVEKIT_KEY_FILE",
    group: "Required",
    fallback: null,
    meaning: "File with a line `key: secret` per API key, as LiveKit reads it; wins over the four above.",
    namesFile: true,
    isSecret: true,
  },
  {
    name: "LIVEKIT_FULL_ACCESS_HOMESERVERS",
    group: "Access",
    fallback: "*",
    meaning: "Servers whose users may create rooms, by commas or spaces; `*` alone = all. Set it: see Access.",
  },
  {
    name: "LIVEKIT_LOCAL_HOMESERVERS",
    group: "Access",
    fallback: null,
    meaning: "The former name of `LIVEKIT_FULL_ACCESS_HOMESERVERS`.",
    isOld: true,
  },
  {
    name: "LIVEKIT_ALLOWED_HOMESERVERS",
    group: "Access",
    fallback: "*",
    meaning: "Only users of these servers and of those with full access are served: `example.com, *.example.org`.",
  },
  {
    name: "LIVEKIT_BLOCKED_HOMESERVERS",
    group: "Access",
    fallback: null,
    meaning: "Users of these servers are refused, whatever else lists them: `evil.example, *.evil.example`.",
  },
  {
    name: "LIVEKIT_RATE_LIMIT",
    group: "Access",
    fallback: null,
    meaning: "Requests per client address (IPv6: per /64) and window, such as `20/10s` or `100/1m`.",
  },
  {
    name: "LIVEKIT_TRUSTED_PROXIES",
    group: "Access",
    fallback: null,
    meaning: "Networks of proxies whose `X-Forwarded-For` and `X-Request-Id` count: `10.0.0.0/8, ::1`.",
  },
  {
    name: "LIVEKIT_TOKEN_TTL_SECONDS",
    group: "Access",
    fallback: "3600",
    meaning: "How long a LiveKit token is valid, from 60 to 86400.",
  },
  {
    name: "LIVEKIT_CAN_UPDATE_OWN_METADATA",
    group: "Access",
    fallback: "true",
    meaning: "Whether participants may change their own metadata.",
  },
  {
    name: "LIVEKIT_RESTRICTED_CAN_PUBLISH",
    group: "Access",
    fallback: "true",
    meaning: "Whether users of other homeservers may publish media, or only listen and watch.",
  },
  {
    name: "LIVEKIT_DELEGATION",
    group: "Delegated leave",
    fallback: "on",
    meaning: "`off` = take charge of no delayed leave events; clients then keep their own short timer.",
  },
  {
    name: "LIVEKIT_DELEGATE_RESTRICTED",
    group: "Delegated leave",
    fallback: "false",
    meaning: "Whether users of other homeservers may delegate their leave events too.",
  },
  {
    name: "LIVEKIT_CS_API_URL_OVERRIDES",
    group: "Delegated leave",
    fallback: null,
    meaning: "Client-server API of a server, for delayed events: `example.com=https://matrix.example.com`, by commas.",
  },
  {
    name: "LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS",
    group: "Delegated leave",
    fallback: "60",
    meaning: "How often LiveKit is asked who is still in a call, whatever its webhooks say; `0` = every 15 minutes.",
  },
  {
    name: "LIVEKIT_STATE_DIR",
    group: "Delegated leave",
    fallback: null,
    unset: "`STATE_DIRECTORY`, else memory",
    meaning: "Writable directory in which leave events outlive a restart. Not used with Redis.",
  },
  {
    name: "STATE_DIRECTORY",
    group: "Delegated leave",
    fallback: null,
    meaning: "Set by systemd's `StateDirectory=`.",
  },
  {
    name: "LIVEKIT_REDIS_URL",
    group: "Delegated leave",
    fallback: null,
    meaning: "Redis, for several replicas: `redis://`, `rediss://`, `unix:/path`, `redis+sentinel://h:p,h:p/master`.",
  },
  {
    name: "LIVEKIT_REDIS_PASSWORD",
    group: "Delegated leave",
    fallback: null,
    meaning: "Password of Redis, when it is not in the URL.",
    isSecret: true,
  },
  {
    name: "LIVEKIT_JWT_BIND",
    group: "Network and TLS",
    fallback: ":8080",
    meaning: "Where to listen: `:8080` (all addresses), `host:port`, `[::1]:8080` or `unix:/path` (mode 0660).",
  },
  {
    name: "LIVEKIT_JWT_PORT",
    group: "Network and TLS",
    fallback: null,
    meaning: "Deprecated: the port alone. Not together with the above.",
  },
  {
    name: "LK_JWT_PORT",
    group: "Network and TLS",
    fallback: null,
    meaning: "The former name of `LIVEKIT_JWT_PORT`.",
    isOld: true,
  },
  {
    name: "LIVEKIT_INTERNAL_URL",
    group: "Network and TLS",
    fallback: null,
    unset: "`LIVEKIT_URL`",
    meaning: "URL at which the service itself calls the SFU, such as `http://livekit:7880`.",
  },
  {
    name: "LIVEKIT_FEDERATION_URL_OVERRIDES",
    group: "Network and TLS",
    fallback: null,
    meaning: "Where to ask a server about its users, past DNS: `example.com=http://synapse:8008`, by commas.",
  },
  {
    name: "LIVEKIT_FEDERATION_ALLOW_NETWORKS",
    group: "Network and TLS",
    fallback: null,
    meaning: "Internal networks in which any homeserver may be: `10.0.0.0/8, fd00::/8`.",
  },
  {
    name: "LIVEKIT_EXTRA_CA_FILE",
    group: "Network and TLS",
    fallback: null,
    meaning: "PEM file of further CA certificates to trust, beside the system's.",
    namesFile: true,
  },
  {
    name: "SSL_CERT_FILE",
    group: "Network and TLS",
    fallback: null,
    unset: "the system's",
    meaning: "PEM file of the CA certificates to trust in place of the system's.",
  },
  {
    name: "SSL_CERT_DIR",
    group: "Network and TLS",
    fallback: null,
    meaning: "Directories of further CA certificates to trust, by colons.",
  },
  {
    name: "LIVEKIT_INSECURE_SKIP_VERIFY_TLS",
    group: "Network and TLS",
    fallback: null,
    meaning: "`YES_I_KNOW_WHAT_I_AM_DOING` = verify no certificate and guard no address. For labs.",
  },
  {
    name: "HTTPS_PROXY",
    group: "Network and TLS",
    fallback: null,
    meaning: "Proxy for outbound requests to `https:` URLs: `http://`, `https://` or `socks5h://`.",
    isAlsoLowerCase: true,
  },
  {
    name: "HTTP_PROXY",
    group: "Network and TLS",
    fallback: null,
    meaning: "Proxy for outbound requests to `http:` URLs.",
    isAlsoLowerCase: true,
  },
  {
    name: "NO_PROXY",
    group: "Network and TLS",
    fallback: null,
    meaning: "Hosts and networks that are reached without a proxy, by commas.",
    isAlsoLowerCase: true,
  },
  {
    name: "LIVEKIT_LOG_LEVEL",
    group: "Operation",
    fallback: "info",
    meaning: "`debug`, `info`, `warn` or `error`.",
  },
  {
    name: "LIVEKIT_LOG_FORMAT",
    group: "Operation",
    fallback: "text",
    meaning: "`text`, or `json` for one object per line.",
  },
  {
    name: "LIVEKIT_LOG_IDS",
    group: "Operation",
    fallback: "plain",
    meaning: "`hash` = user, room and device IDs appear in the log as the first 16 digits of their SHA-256.",
  },
  {
    name: "LIVEKIT_METRICS_BIND",
    group: "Operation",
    fallback: null,
    meaning: "Where `/metrics`, `/readyz` and `/status` are served, not for clients: `127.0.0.1:9464` or `unix:/path`.",
  },
  {
    name: "LIVEKIT_STARTUP_CHECKS",
    group: "Operation",
    fallback: "on",
    meaning: "Whether LiveKit and each named homeserver are checked after the start, and findings logged.",
  },
] as const satisfies readonly Variable[];

/** Name of a variable of the service. */
export type VariableName = typeof VARIABLES[number]["name"];

/** Name of a variable that has a value when it is unset. */
export type VariableWithFallback = Extract<typeof VARIABLES[number], { readonly fallback: string }>["name"];
