// The front: a route table, caps on every body, and the one place where errors become responses. A pure function from
// Request to Response; it opens no socket.

import { clientAddress, isTrustedPeer } from "../admission/client_address.ts";
import type { ConcurrencyLimit } from "../admission/concurrency.ts";
import type { HomeserverPolicy } from "../admission/homeserver_policy.ts";
import type { RateLimit } from "../admission/rate_limit.ts";
import type { Clock } from "../async/clock.ts";
import { Deadlines } from "../async/deadline.ts";
import { delegate, exchange, type ExchangeParts, type RequestContext, type TokenRequest } from "../exchange.ts";
import type { WebhookClaims } from "../livekit/webhook_receiver.ts";
import type { Log } from "../log/log.ts";
import { MatrixError } from "../matrix_error.ts";
import type { Network } from "../net/ip_range.ts";
import { basePage } from "./base_page.ts";
import { BodyReader } from "./body.ts";
import { parseDelegationRequest, parseSfuRequest, parseTokenRequest } from "./request_bodies.ts";
import { type AnsweredRequest, RequestRecord } from "./request_record.ts";
import { complete, empty, errorResponse, json } from "./responses.ts";
import {
  allowedMethods,
  type Arrival,
  assertAnswerable,
  findRoute,
  hint,
  pathOf,
  type RequestInfo,
  type Route,
} from "./routes.ts";

/** Answers one request. Never rejects. What needs no work is answered at once: a promise would cost a probe as much again. */
export type App = (request: Request, info: RequestInfo) => Response | Promise<Response>;

/** What the front needs. */
export interface AppOptions {
  readonly exchange: ExchangeParts;
  readonly concurrency: Pick<ConcurrencyLimit, "acquire">;
  /** Whose users may ask at all. */
  readonly homeservers: Pick<HomeserverPolicy, "serves">;
  /** How often a client may ask; null = as often as it likes. */
  readonly rateLimit: Pick<RateLimit, "take"> | null;
  /** Networks of proxies whose `X-Forwarded-For` and `X-Request-Id` count. */
  readonly trustedProxies: readonly Network[];
  readonly clock: Clock;
  readonly log: Log;
  /** Whether `/delegate_delayed_leave` exists. */
  readonly takesDelegations: boolean;
  /** Judges the sender of a webhook, whose body is not known yet; null = it is not LiveKit. */
  readonly judgeWebhook: (authorization: string) => WebhookClaims | null;
  /** Takes a webhook after it was answered; never throws. */
  readonly onWebhook: (body: Uint8Array, claims: WebhookClaims) => void;
  /** True once the service is about to end: no new work. */
  readonly isDraining: () => boolean;
  /** Aborted once the service waits no longer for what is in flight: it is refused. */
  readonly cutOff: AbortSignal;
  /** Called for each answered request, to count it. */
  readonly onAnswered?: (request: AnsweredRequest) => void;
}

/** How a route turns a body into an answer. */
interface Job<Wanted extends TokenRequest> {
  readonly parse: (body: Uint8Array) => Wanted;
  readonly work: (wanted: Wanted, parts: ExchangeParts, context: RequestContext) => Promise<unknown>;
  /** The message of the log record. */
  readonly done: string;
}

const MAX_JSON_BYTES = 64 * 1024;
const MAX_WEBHOOK_BYTES = 1024 * 1024;
const MAX_WEBHOOKS_IN_PIECES = 4;
/** From the first byte of a request to its answer: the body, the homeserver, the SFU. */
const DEADLINE_MS = 10_000;

// What proxies make: UUIDs, hexadecimal, base64, and what tracing puts together of them.
const REQUEST_ID = /^[\w.:=+/@-]{1,128}$/;

/** Builds the front. */
export function createApp(options: AppOptions): App {
  const { clock, log, trustedProxies, onAnswered } = options;
  const deadlines = new Deadlines(DEADLINE_MS, clock);
  options.cutOff.addEventListener("abort", () => deadlines.endAll(shuttingDown()), { once: true });
  const bodies = new BodyReader();
  // Apart from those of clients, who may send any number of large ones.
  const webhookBodies = new BodyReader(MAX_WEBHOOKS_IN_PIECES);
  const post = <Wanted extends TokenRequest>(path: string, job: Job<Wanted>): Route => ({
    path,
    methods: ["POST"],
    handle: (arrival) => answer(arrival, job),
  });
  const delegation = { parse: parseDelegationRequest, work: delegate, done: "Delegated" };
  const routes: readonly Route[] = [
    post("/sfu/get", { parse: parseSfuRequest, work: exchange, done: "Granted" }),
    post("/get_token", { parse: parseTokenRequest, work: exchange, done: "Granted" }),
    // Missing where delegation is off: to clients any other answer than 404 means that it is on.
    ...(options.takesDelegations ? [{ ...post("/delegate_delayed_leave", delegation), isProbed: true } as const] : []),
    { path: "/sfu_webhook", methods: ["POST"], anyMethod: true, handle: takeWebhook },
    { path: "/healthz", methods: ["GET", "HEAD"], handle: checkHealth },
  ];

  /** The server underneath breaks off bodies that are on their way once it is told to end. */
  function unfinished(error: unknown): never {
    throw options.isDraining() ? shuttingDown() : error;
  }

  async function answer<Wanted extends TokenRequest>(arrival: Arrival, job: Job<Wanted>): Promise<Response> {
    if (options.isDraining()) throw shuttingDown();
    const { request, info, record } = arrival;
    return await deadlines.run(async (signal) => {
      const wanted = job.parse(await bodies.read(request, MAX_JSON_BYTES, signal, info.remoteAddr).catch(unfinished));
      const { homeserver, matrixServerName } = wanted.openIdToken;
      record.note({ homeserver: matrixServerName });
      if (options.rateLimit !== null) {
        const forwardedFor = request.headers.get("x-forwarded-for");
        await options.rateLimit.take(clientAddress(peerOf(info), forwardedFor, trustedProxies));
      }
      if (!options.homeservers.serves(homeserver)) throw forbidden(matrixServerName);
      // A text that is no server name leads nowhere, and ends when its user would be verified.
      using _permit = homeserver === null ? null : options.concurrency.acquire(homeserver);
      const body = await job.work(wanted, options.exchange, { signal, note: record.note });
      record.answered(job.done);
      return json(200, body);
    });
  }

  // LiveKit holds back a room's events while one is unanswered, and operators probe the route without a signature:
  // always 200, before anything else happens. Reading the body first keeps the connection usable.
  async function takeWebhook({ request, info }: Arrival): Promise<null> {
    const claims = request.method === "POST" ? options.judgeWebhook(request.headers.get("authorization") ?? "") : null;
    const [reader, maxBytes] = claims === null ? [bodies, MAX_JSON_BYTES] : [webhookBodies, MAX_WEBHOOK_BYTES];
    const peer = info.remoteAddr;
    const body = await deadlines.run((signal) => reader.read(request, maxBytes, signal, peer)).catch(() => null);
    if (body !== null && claims !== null) clock.setTimer(() => options.onWebhook(body, claims), 0);
    return null;
  }

  function checkHealth(): null {
    log.debug("Answered a health check");
    return null;
  }

  /** A trusted proxy's own ID, so that one search finds the request in both logs; else one of ours. */
  function requestIdOf(request: Request, info: RequestInfo): string {
    // The peer first: whoever looks at a header has the server underneath build all of them.
    const given = isTrustedPeer(peerOf(info), trustedProxies) ? request.headers.get("x-request-id") : null;
    return given !== null && REQUEST_ID.test(given) ? given : crypto.randomUUID();
  }

  function refuse(error: unknown, route: Route | undefined, { request, record }: Arrival): Response {
    if (!(error instanceof MatrixError)) {
      record.failed(error);
      return json(500, { errcode: "M_UNKNOWN", error: `Internal server error (${record.id})` });
    }
    record.refused(error, route?.isProbed === true && isBodyless(request));
    const response = errorResponse(error);
    if (error.status === 405 && route !== undefined) response.headers.set("allow", allowedMethods(route));
    return response;
  }

  return (request, info) => {
    const { method, url } = request;
    const path = pathOf(url);
    const route = findRoute(routes, path);
    const methods = route === undefined ? "POST" : route.methods.join(", ");
    const id = requestIdOf(request, info);
    if (method === "OPTIONS") return empty(methods, id);
    const record = new RequestRecord({ id, route: route?.path ?? null, method, path, clock, log, onAnswered });
    const arrival = { request, info, record };
    const answered = (response: Response | null) =>
      response === null ? empty(methods, id) : complete(response, methods, id);
    const failed = (error: unknown) => {
      const page = route === undefined ? basePage(method, path, request.headers.get("accept")) : null;
      if (page !== null) return complete(page, methods, id);
      if (route === undefined) hint(log, request, path);
      return complete(refuse(error, route, arrival), methods, id);
    };
    try {
      assertAnswerable(route, request);
      return route.handle(arrival)?.then(answered, failed) ?? answered(null);
    } catch (error) {
      return failed(error);
    }
  };
}

/** The address at the other end; null on a unix socket. */
function peerOf({ remoteAddr }: RequestInfo): string | null {
  return "hostname" in remoteAddr ? remoteAddr.hostname : null;
}

function isBodyless({ headers }: Request): boolean {
  const length = headers.get("content-length");
  return length === "0" || length === null && !headers.has("transfer-encoding");
}

/** Another replica, or the next process, is there at once. */
function shuttingDown(): MatrixError {
  return new MatrixError(503, "M_UNKNOWN", "The service is shutting down", { retryAfterSeconds: 1 });
}

function forbidden(serverName: string): MatrixError {
  return new MatrixError(403, "M_FORBIDDEN", "Users of this homeserver are not served here", {
    cause: `"${serverName.slice(0, 200)}" is blocked, or not among the allowed homeservers`,
  });
}
