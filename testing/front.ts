// A whole front without a socket: the real request parsers, exchange, OpenID verifier and room service, over a network
// that is played. Discovery finds every server at its own name.

import type { Clock } from "../lib/async/clock.ts";
import assert from "node:assert/strict";
import { ConcurrencyLimit } from "../lib/admission/concurrency.ts";
import type { GrantPolicy } from "../lib/exchange.ts";
import { type App, createApp } from "../lib/http/app.ts";
import type { RateLimit } from "../lib/admission/rate_limit.ts";
import { Delegations } from "../lib/leave/delegations.ts";
import { AccessTokenSigner } from "../lib/livekit/access_token.ts";
import { RoomService } from "../lib/livekit/room_service.ts";
import { Rooms } from "../lib/livekit/rooms.ts";
import type { WebhookClaims } from "../lib/livekit/webhook_receiver.ts";
import { FederationClient } from "../lib/matrix/federation_client.ts";
import { HomeserverPolicy, parseHomeserverPattern } from "../lib/admission/homeserver_policy.ts";
import { OpenIdVerifier } from "../lib/matrix/openid.ts";
import type { Resolution } from "../lib/matrix/server_discovery.ts";
import type { ServerName } from "../lib/matrix/server_name.ts";
import { type Network, parseNetwork } from "../lib/net/ip_range.ts";
import { Secret } from "../lib/secret.ts";
import { type Answer, FakeOutbound } from "./fake_outbound.ts";
import { systemClock } from "../lib/platform.ts";
import { RecordingLog } from "./recording_log.ts";

/** What a test chooses; everything else is ordinary. */
export interface FrontOptions {
  readonly policy?: Partial<GrantPolicy>;
  /** Servers with full access; all unless given. */
  readonly fullAccess?: ReadonlySet<string>;
  readonly answer?: Answer;
  readonly concurrency?: ConcurrencyLimit;
  /** The only servers whose users may ask. */
  readonly allowed?: readonly string[];
  readonly rateLimit?: Pick<RateLimit, "take">;
  readonly trustedProxies?: readonly string[];
  readonly isDraining?: () => boolean;
  readonly cutOff?: AbortSignal;
  /** Whether delayed leave events are taken charge of. Off unless asked for. */
  readonly delegations?: Pick<Delegations, "prepare">;
}

/** A front, and what it did. */
export interface Front {
  /** Answers a request of a client at 203.0.113.1, or of another one. */
  readonly app: (request: Request, remoteAddr?: Deno.Addr) => ReturnType<App>;
  readonly log: RecordingLog;
  readonly outbound: FakeOutbound;
  /** Webhooks that were handed on. */
  readonly webhooks: Webhook[];
}

/** A webhook as it came in. */
export interface Webhook {
  readonly body: Uint8Array;
  readonly claims: WebhookClaims;
}

/** The `Authorization` that the front takes for LiveKit's; any other one is a stranger's. */
export const SIGNED = "ey.signed.jwt";
export const SIGNED_CLAIMS: WebhookClaims = { sha256: "hash", signedAtSeconds: 1_700_000_000 };

/** The wall clock of every front: the moment of the contract's JWT vector. */
export const NOW_MS = 1_700_000_000_000;

/** What the SFU's URL is to clients. */
export const LIVEKIT_URL = "wss://sfu.example.com/livekit/sfu/";

/** Builds a front. */
export function createFront(options: FrontOptions = {}): Front {
  const log = new RecordingLog();
  const webhooks: Webhook[] = [];
  const outbound = new FakeOutbound(options.answer);
  const signer = new AccessTokenSigner({ name: "devkey", secret: new Secret("secret") });
  const clock = { ...systemClock, now: () => NOW_MS, sleep: () => Promise.resolve() };
  const deps = { ...clock, clock, random: () => 0.5, log, outbound };
  const homeservers = new HomeserverPolicy({
    fullAccess: options.fullAccess ?? "*",
    allowed: options.allowed?.map(pattern) ?? "*",
    blocked: [pattern("blocked.example")],
    overridden: new Set(),
    tlsSkipped: false,
  });
  const discovery = { resolve };
  const roomService = new RoomService({
    ...deps,
    apiUrl: new URL("https://sfu.internal/prefix"),
    signer,
  });
  const federation = new FederationClient({ ...deps, discovery, ruleFor: () => "public" });
  const app = createApp({
    exchange: {
      policy: {
        livekitUrl: LIVEKIT_URL,
        tokenTtlSeconds: 3600,
        canUpdateOwnMetadata: true,
        restrictedCanPublish: true,
        ...options.policy,
      },
      homeservers,
      openId: new OpenIdVerifier({ ...deps, federation }),
      rooms: new Rooms({ ...deps, roomService }),
      delegations: options.delegations ?? switchedOff(deps),
      signer,
      clock,
    },
    concurrency: options.concurrency ?? new ConcurrencyLimit({ clock, isNamed: () => true }),
    homeservers,
    rateLimit: options.rateLimit ?? null,
    trustedProxies: options.trustedProxies?.map(network) ?? [],
    clock,
    log,
    takesDelegations: options.delegations !== undefined,
    judgeWebhook: (authorization) => authorization === SIGNED ? SIGNED_CLAIMS : null,
    onWebhook: (body, claims) => webhooks.push({ body, claims }),
    isDraining: options.isDraining ?? (() => false),
    cutOff: options.cutOff ?? new AbortController().signal,
  });
  // Each request comes on a connection of its own, in chunks unless it gives a length.
  let port = CLIENT.port;
  return {
    app(request, remoteAddr = { ...CLIENT, port: port++ }) {
      const isChunked = request.body !== null && !request.headers.has("content-length");
      if (isChunked) request.headers.set("transfer-encoding", "chunked");
      return app(request, { remoteAddr });
    },
    log,
    outbound,
    webhooks,
  };
}

const CLIENT: Deno.NetAddr = { transport: "tcp", hostname: "203.0.113.1", port: 50_000 };

function pattern(text: string) {
  const parsed = parseHomeserverPattern(text);
  assert.ok(parsed !== null);
  return parsed;
}

function network(text: string): Network {
  const parsed = parseNetwork(text);
  assert.ok(parsed !== null);
  return parsed;
}

function switchedOff(deps: { readonly clock: Clock; readonly log: RecordingLog }): Delegations {
  const unused = () => {
    throw new TypeError("not to be asked");
  };
  return new Delegations({
    ...deps,
    manager: null,
    discovery: { find: unused },
    delayedEvents: { supports: unused },
    allowsRestricted: false,
    isListed: () => true,
    namesServers: true,
  });
}

function resolve(name: ServerName): Promise<Resolution> {
  const target = { secure: true, host: "192.0.2.1", port: 8448, hostHeader: name, tlsName: null, basePath: "" };
  return Promise.resolve({ targets: [target], steps: ["played"] });
}

/** A POST to a path of the service; a plain object goes as JSON. */
export function post(path: string, body: object | string, init: RequestInit = {}): Request {
  return new Request(`http://service.test${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: bodyOf(body),
    ...init,
  });
}

function bodyOf(body: object | string): BodyInit {
  if (typeof body === "string" || body instanceof ReadableStream) return body;
  return body instanceof Uint8Array ? body.slice() : JSON.stringify(body);
}

/** A good body of `/sfu/get`. */
export const LEGACY_BODY = {
  room: "!room:example.com",
  openid_token: { access_token: "opaque", matrix_server_name: "example.com", token_type: "Bearer", expires_in: 3600 },
  device_id: "DEVICE",
};

/** A good body of `/get_token`. */
export const HASHED_BODY = {
  room_id: "!room:example.com",
  slot_id: "m.call#ROOM",
  openid_token: { access_token: "opaque", matrix_server_name: "example.com" },
  member: { id: "member-1", claimed_user_id: "@alice:example.com", claimed_device_id: "DEVICE" },
};

/** Asserts an error to the last byte, with its content type and CORS headers. */
export async function assertError(response: Response, status: number, errcode: string, error: string): Promise<void> {
  assert.equal(await response.text(), `{"errcode":"${errcode}","error":${JSON.stringify(error)}}\n`);
  assert.equal(response.status, status);
  assert.equal(response.headers.get("content-type"), "application/json");
  assert.equal(response.headers.get("access-control-allow-origin"), "*");
}
