// The route table's rules: how a path is matched, and what is answered where no route takes the request.

import type { Log } from "../log/log.ts";
import { MatrixError } from "../matrix_error.ts";
import type { RequestRecord } from "./request_record.ts";

/** What is known of a request beside itself. */
export interface RequestInfo {
  /** The other end of its connection. */
  readonly remoteAddr: Deno.Addr;
}

/** A request on its way through the front. */
export interface Arrival {
  readonly request: Request;
  readonly info: RequestInfo;
  readonly record: RequestRecord;
}

/** A row of the table. */
export interface Route {
  /** Matched at the end of the path, below any prefix that a proxy left in place. */
  readonly path: string;
  readonly methods: readonly string[];
  /** True where any other method is answered like the first one. */
  readonly anyMethod?: true;
  /** Clients ask it without a body for whether it exists, and act on any answer but 404. */
  readonly isProbed?: true;
  /** Null, now or later, for 200 without a body. */
  readonly handle: (arrival: Arrival) => Promise<Response | null> | null;
}

// The server underneath takes 64 KiB of head in all, and 128 headers.
const MAX_URL_CHARACTERS = 8192;

/**
 * The route of a path: the same path, or the end of it after any prefix, with repeated slashes taken as one.
 *
 * Nothing under `/_matrix/` is a route, whatever it ends with.
 */
export function findRoute(routes: readonly Route[], path: string): Route | undefined {
  const collapsed = path.includes("//") ? path.replace(/\/{2,}/g, "/") : path;
  if (collapsed.includes("/_matrix/")) return undefined;
  return routes.find((route) => collapsed.endsWith(route.path));
}

/** Logs, once a minute, what may be wrong with the set-up when a request comes to no route. */
export function hint(log: Log, { method, headers }: Request, path: string): void {
  if (headers.get("content-type")?.startsWith("application/webhook+json")) {
    const message = "A webhook came to a wrong path: its URL in LiveKit's configuration must end in /sfu_webhook";
    return log.warning(message, { method, path, throttle: true });
  }
  const message = "A request came to a path that is no route: does a proxy cut off, or add, more than the prefix of " +
    "livekit_service_url?";
  log.info(message, { method, path, throttle: true });
}

/** The path of a URL. `new URL()` would cost ten times as much, and would fold "/../" where a proxy did not. */
export function pathOf(url: string): string {
  const start = url.indexOf("/", url.indexOf("://") + 3);
  if (start < 0) return "/";
  const end = url.slice(start).search(/[?#]/);
  return end < 0 ? url.slice(start) : url.slice(start, start + end);
}

/**
 * Refuses what no route takes.
 *
 * @throws MatrixError 404, 405 or 414.
 */
export function assertAnswerable(route: Route | undefined, { method, url }: Request): asserts route is Route {
  if (url.length > MAX_URL_CHARACTERS) throw new MatrixError(414, "M_UNRECOGNIZED", "The URL is too long");
  if (route === undefined) throw new MatrixError(404, "M_UNRECOGNIZED", "Unrecognized request");
  if (route.anyMethod || route.methods.includes(method)) return;
  throw new MatrixError(405, "M_UNRECOGNIZED", "Method not allowed");
}

/** The methods of a route, for the `Allow` header. */
export function allowedMethods(route: Route): string {
  return [...route.methods, "OPTIONS"].join(", ");
}
