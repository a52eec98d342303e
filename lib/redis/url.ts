// The text of LIVEKIT_REDIS_URL: one server by TCP or TLS, a unix socket, or a Sentinel set. Whatever is wrong with it is
// told without showing any of it, since a misplaced character makes a part of the password look like something else.

import type { RedisOptions } from "ioredis";
import type { Secret } from "../secret.ts";

/** Options of ioredis; its types want this one said or left out. */
export type ClientOptions = Omit<RedisOptions, "replyMapping">;

/** Where Redis is. An inspector shows nothing secret of it. */
export class RedisTarget {
  /** The address, for logs: no user, no password. */
  readonly description: string;
  readonly isSentinel: boolean;
  readonly isUnixSocket: boolean;
  readonly usesTls: boolean;
  readonly database: number;
  readonly #options: ClientOptions;

  constructor(description: string, options: ClientOptions) {
    this.description = description;
    this.isSentinel = options.sentinels !== undefined;
    this.isUnixSocket = options.path !== undefined;
    this.usesTls = options.tls !== undefined;
    this.database = options.db ?? 0;
    this.#options = options;
  }

  /** The address part of ioredis' options; it holds the password. */
  get options(): ClientOptions {
    return this.#options;
  }

  /** Texts that must not get into a log. */
  get secrets(): readonly string[] {
    const { password, sentinelPassword } = this.#options;
    return [password, sentinelPassword].filter((secret) => typeof secret === "string");
  }
}

/** What is wrong with a URL, none of it shown. */
export interface RedisUrlProblem {
  readonly problem: string;
  readonly expected: string;
}

const FORMS = "redis://[user:password@]host[:port][/db], rediss://…, unix:/path or " +
  "redis+sentinel://host:port[,host:port…]/master[/db]";
const URL_PARTS = /^(redis|rediss|redis\+sentinel):\/\/(?:([^/?#]*)@)?([^/?#@]*)([^?#]*)(\?[^#]*)?$/i;
const UNIX_PARTS = /^unix:(?:\/\/)?(?:([^/?#]*)@)?(\/[^?#]*)(\?[^#]*)?$/i;
const HOST_AND_PORT = /^(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([\w.-]*))(?::(\d{1,5}))?$/;
const MAX_DB = 65_535;
const REDIS_PORT = 6379;
const SENTINEL_PORT = 26_379;

interface Address {
  readonly host: string;
  readonly port: number;
}

class UrlError extends Error {}

/**
 * Parses the forms above; those of the go-redis library are among them, `?db=` too, and its other parameters are ignored.
 * Sentinels that want a password of their own get `?sentinel_username=` and `?sentinel_password=`.
 *
 * @param password The password when there is none in the URL.
 */
export function parseRedisUrl(url: Secret, password: Secret | null): RedisTarget | RedisUrlProblem {
  try {
    return parse(url.reveal().trim(), password?.reveal());
  } catch (error) {
    if (error instanceof UrlError) return { problem: error.message, expected: FORMS };
    throw error;
  }
}

function parse(text: string, fallback: string | undefined): RedisTarget {
  const unix = UNIX_PARTS.exec(text);
  if (unix !== null) {
    const [, userInfo, path = "", query] = unix;
    return targetOf({ path: decoded(path) }, decoded(path), credentials(userInfo, fallback), dbOf("", query));
  }
  const parts = URL_PARTS.exec(text);
  if (parts === null) throw new UrlError("is not a Redis URL");
  const [, scheme = "", userInfo, authority = "", path = "", query] = parts;
  const login = credentials(userInfo, fallback);
  if (scheme.toLowerCase() === "redis+sentinel") return sentinelTarget(authority, path, query, login);

  const address = parseAddress(authority, REDIS_PORT);
  // An empty object means TLS with the trust of the whole process.
  const tls = scheme.toLowerCase() === "rediss" ? { tls: {} } : {};
  return targetOf({ ...address, ...tls }, formatAddress(address), login, dbOf(path.slice(1), query));
}

function sentinelTarget(authority: string, path: string, query: string | undefined, login: Login): RedisTarget {
  const sentinels = authority.split(",").map((part) => {
    if (part === "") throw new UrlError("has a Sentinel without a host");
    return parseAddress(part, SENTINEL_PORT);
  });
  const [, master = "", db = "", ...rest] = path.split("/");
  if (master === "") throw new UrlError("names no master");
  if (rest.length > 0) throw new UrlError("has a path with too many parts");
  const name = decoded(master);
  const parameters = new URLSearchParams(query);
  const sentinelUsername = parameters.get("sentinel_username");
  const sentinelPassword = parameters.get("sentinel_password");
  return targetOf(
    {
      sentinels,
      name,
      ...(sentinelUsername === null ? {} : { sentinelUsername }),
      ...(sentinelPassword === null ? {} : { sentinelPassword }),
    },
    `${name}, by the Sentinels ${sentinels.map(formatAddress).join(", ")}`,
    login,
    dbOf(db, query),
  );
}

interface Login {
  readonly username?: string;
  readonly password?: string;
}

function credentials(userInfo: string | undefined, fallback: string | undefined): Login {
  const [, user = "", given = ""] = /^([^:]*):?(.*)$/s.exec(userInfo ?? "") ?? [];
  const password = given === "" ? fallback : decoded(given);
  return {
    ...(user === "" ? {} : { username: decoded(user) }),
    ...(password === undefined ? {} : { password }),
  };
}

function targetOf(address: ClientOptions, place: string, login: Login, db: number): RedisTarget {
  return new RedisTarget(`Redis at ${place}${db === 0 ? "" : `, database ${db}`}`, { ...address, ...login, db });
}

function parseAddress(text: string, defaultPort: number): Address {
  const match = HOST_AND_PORT.exec(text);
  if (match === null) throw new UrlError("has a host or port that is none");
  const port = Number(match[3] ?? defaultPort);
  if (port < 1 || port > 65_535) throw new UrlError("has a port outside 1 to 65535");
  return { host: match[1] ?? (match[2] || "localhost"), port };
}

function formatAddress({ host, port }: Address): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

function dbOf(path: string, query: string | undefined): number {
  const text = path === "" ? new URLSearchParams(query).get("db") ?? "0" : path;
  const db = /^\d{1,5}$/.test(text) ? Number(text) : Infinity;
  if (db > MAX_DB) throw new UrlError("has a database that is no number");
  return db;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new UrlError("has a % that begins no escape (write a % itself as %25)");
  }
}
