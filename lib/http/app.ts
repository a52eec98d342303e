// The front: a route table, CORS on every answer, caps on every body, and the one place where errors become responses.
// A pure function from Request to Response; it opens no socket.

import type { Capacity } from "../admission/concurrency.ts";
import { Deadlines } from "../async/deadline.ts";
import { delegate, exchange, type ExchangeDeps, type TokenRequest } from "../exchange.ts";
import type { HomeserverLists } from "../admission/homeserver_policy.ts";
import type { Network } from "../net/ip_range.ts";
import { errorStack } from "../log/error_text.ts";
import type { Log } from "../log/log.ts";
import { BodyReader } from "./body.ts";
import { type ClientAddress, clientAddress } from "../admission/client_address.ts";
import type { WebhookClaims } from "../livekit/webhook_receiver.ts";
import { MatrixError } from "../matrix_error.ts";
import type { RateLimit } from "../admission/rate_limit.ts";
import { parseDelegationRequest, parseSfuRequest, parseTokenRequest } from "./request_bodies.ts";

/** What is known of a request beside itself. */
export interface RequestInfo {
  /** The other end of its connection. */
  readonly remoteAddr: Deno.Addr;
}

/** Answers one request. Never rejects. */
export type App = (request: Request, info: RequestInfo) => Promise<Response>;

/** What the front needs. */
export interface AppDeps {
  readonly exchange: ExchangeDeps;
  readonly capacity: Capacity;
  /** Whose users may ask at all. */
  readonly homeservers: Pick<HomeserverLists, "allows">;
  /** How often a client may ask; null = as often as it likes. */
  readonly rateLimit: Pick<RateLimit, "take"> | null;
  /** Networks of proxies whose `X-Forwarded-For` counts. */
  readonly trustedProxies: readonly Network[];
  readonly log: Log;
  /** Whether `/delegate_delayed_leave` exists. */
  readonly takesDelegations: boolean;
  /** Judges the sender of a webhook, whose body is not known yet; null = it is not LiveKit. */
  readonly judgeWebhook: (authorization: string) => WebhookClaims | null;
  /** Takes a webhook after it was answered; never throws. */
  readonly onWebhook: (body: Uint8Array, claims: WebhookClaims) => void;
  /** True once the service is about to end: no new work. */
  readonly isDraining: () => boolean;
}

interface Route {
  /** Matched at the end of the path, below any prefix that a proxy left in place. */
  readonly path: string;
  readonly methods: readonly string[];
  /** True where any other method is answered like the first one. */
  readonly anyMethod?: true;
  readonly handle: (request: Request, info: RequestInfo) => Promise<Response>;
}

const MAX_JSON_BYTES = 64 * 1024;
const MAX_WEBHOOK_BYTES = 1024 * 1024;
const MAX_WEBHOOKS_IN_PIECES = 32;
// The server underneath takes 64 KiB of head in all, and 128 headers.
const MAX_URL_CHARACTERS = 8192;

/** From the first byte of a request to its answer: the body, the homeserver, the SFU. */
const DEADLINE_MS = 10_000;

const CORS: Readonly<Record<string, string>> = {
  "access-control-allow-origin": "*",
  "access-control-allow-methods": "POST",
  "access-control-allow-headers": "Accept, Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token",
  "access-control-expose-headers": "Retry-After",
  "access-control-max-age": "86400",
};

/** Builds the front. */
export function createApp(deps: AppDeps): App {
  const deadlines = new Deadlines(DEADLINE_MS);
  const bodies = new BodyReader();
  // Apart from those of clients, who may send any number of large ones.
  const webhookBodies = new BodyReader(MAX_WEBHOOKS_IN_PIECES);
  const delegation: Route = {
    path: "/delegate_delayed_leave",
    methods: ["POST"],
    handle: (request, info) => answer(request, info, parseDelegationRequest, delegate),
  };
  const routes: readonly Route[] = [
    {
      path: "/sfu/get",
      methods: ["POST"],
      handle: (request, info) => answer(request, info, parseSfuRequest, exchange),
    },
    {
      path: "/get_token",
      methods: ["POST"],
      handle: (request, info) => answer(request, info, parseTokenRequest, exchange),
    },
    // Missing where delegation is off: to clients any other answer than 404 means that it is on.
    ...(deps.takesDelegations ? [delegation] : []),
    { path: "/sfu_webhook", methods: ["POST"], anyMethod: true, handle: takeWebhook },
    { path: "/healthz", methods: ["GET", "HEAD"], handle: () => Promise.resolve(empty()) },
  ];

  async function answer<Wanted extends TokenRequest>(
    request: Request,
    info: RequestInfo,
    parse: (body: Uint8Array) => Wanted,
    work: (wanted: Wanted, deps: ExchangeDeps, signal: AbortSignal) => Promise<unknown>,
  ): Promise<Response> {
    if (deps.isDraining()) throw new MatrixError(503, "M_UNKNOWN", "The service is shutting down");
    return await deadlines.run(async (signal) => {
      const wanted = parse(await bodies.read(request, MAX_JSON_BYTES, signal));
      if (deps.rateLimit !== null) await deps.rateLimit.take(clientOf(request, info, deps.trustedProxies));
      const server = wanted.openIdToken.matrixServerName;
      if (!deps.homeservers.allows(server)) throw forbidden(server);
      return json(200, await deps.capacity.run(server, () => work(wanted, deps.exchange, signal)));
    });
  }

  // LiveKit holds back a room's events while one is unanswered, and operators probe the route without a signature:
  // always 200, before anything else happens. Reading the body first keeps the connection usable.
  async function takeWebhook(request: Request): Promise<Response> {
    const claims = request.method === "POST" ? deps.judgeWebhook(request.headers.get("authorization") ?? "") : null;
    const [reader, maxBytes] = claims === null ? [bodies, MAX_JSON_BYTES] : [webhookBodies, MAX_WEBHOOK_BYTES];
    const body = await deadlines.run((signal) => reader.read(request, maxBytes, signal)).catch(() => null);
    if (body !== null && claims !== null) setTimeout(() => deps.onWebhook(body, claims), 0);
    return empty();
  }

  return async (request, info) => {
    const path = pathOf(request.url);
    let route: Route | undefined;
    try {
      route = findRoute(routes, path);
      if (request.method === "OPTIONS") return withCors(empty(), route);
      if (request.url.length > MAX_URL_CHARACTERS) throw new MatrixError(414, "M_UNRECOGNIZED", "The URL is too long");
      if (route === undefined) throw new MatrixError(404, "M_UNRECOGNIZED", "Unrecognized request");
      if (!route.anyMethod && !route.methods.includes(request.method)) {
        throw new MatrixError(405, "M_UNRECOGNIZED", "Method not allowed");
      }
      return withCors(await route.handle(request, info), route);
    } catch (error) {
      return withCors(errorResponse(error, request.method, path, route, deps.log), route);
    }
  };
}

/**
 * The route of a path: the same path, or the end of it after any prefix, with repeated slashes taken as one.
 *
 * Nothing under `/_matrix/` is ours, whatever it ends with.
 */
function findRoute(routes: readonly Route[], path: string): Route | undefined {
  const collapsed = path.includes("//") ? path.replace(/\/{2,}/g, "/") : path;
  if (collapsed.includes("/_matrix/")) return undefined;
  return routes.find((route) => collapsed.endsWith(route.path));
}

// new URL() would do the same at ten times the cost, and would fold "/../" where a proxy did not.
function pathOf(url: string): string {
  const start = url.indexOf("/", url.indexOf("://") + 3);
  if (start < 0) return "/";
  const end = url.slice(start).search(/[?#]/);
  return end < 0 ? url.slice(start) : url.slice(start, start + end);
}

function clientOf(
  request: Request,
  { remoteAddr }: RequestInfo,
  trustedProxies: readonly Network[],
): ClientAddress | null {
  const peer = "hostname" in remoteAddr ? remoteAddr.hostname : null;
  return clientAddress(peer, request.headers.get("x-forwarded-for"), trustedProxies);
}

function forbidden(serverName: string): MatrixError {
  return new MatrixError(403, "M_FORBIDDEN", "Users of this homeserver are not served here", {
    cause: `"${serverName.slice(0, 300)}" is blocked, or not among the allowed homeservers`,
  });
}

function empty(): Response {
  return new Response(null, { status: 200 });
}

function json(status: number, body: unknown): Response {
  return new Response(`${JSON.stringify(body)}\n`, { status, headers: { "content-type": "application/json" } });
}

function errorResponse(error: unknown, method: string, path: string, route: Route | undefined, log: Log): Response {
  if (!(error instanceof MatrixError)) {
    const id = crypto.randomUUID();
    log.error("Cannot answer a request: this is a bug", { id, path, stack: errorStack(error) });
    return json(500, { errcode: "M_UNKNOWN", error: `Internal server error (${id})` });
  }
  const { status, errcode, message, retryAfterSeconds, retryAfterMs } = error;
  const cause = error.cause instanceof Error ? error.cause.message : error.cause ?? message;
  const fields = { status, errcode, method, path: path.slice(0, 200), cause };
  // Scanners ask for anything, all day; and who asks too often is told of elsewhere, now and then.
  if (status === 404 || status === 405 || status === 414 || status === 429) log.debug("Refused", fields);
  else log.info("Refused", fields);
  const retryAfter = retryAfterMs === undefined ? {} : { retry_after_ms: retryAfterMs };
  const response = json(status, { errcode, error: message, ...retryAfter });
  if (retryAfterSeconds !== undefined) response.headers.set("retry-after", String(retryAfterSeconds));
  if (status === 405 && route !== undefined) response.headers.set("allow", allowed(route));
  return response;
}

function withCors(response: Response, route: Route | undefined): Response {
  for (const name in CORS) response.headers.set(name, CORS[name] ?? "");
  if (route !== undefined) response.headers.set("access-control-allow-methods", route.methods.join(", "));
  return response;
}

function allowed(route: Route): string {
  return [...route.methods, "OPTIONS"].join(", ");
}
