// A development homeserver: OpenID tokens, the federation endpoint that tells whose they are, well-known documents and
// delayed events, answered as Synapse answers them. Sources: Matrix server-server API "OpenID" and "Server discovery", client-server API
// "Server Discovery".

import { randomBytes } from "node:crypto";
import { type Answer, jsonAnswer } from "./answer.ts";
import { DelayedEventsDouble } from "./delayed_events.ts";
import { LoopbackServer, type LoopbackServerOptions, type ReceivedRequest, ServedDouble } from "./loopback_server.ts";

/** What kind of homeserver. */
export interface DevelopmentHomeserverOptions extends LoopbackServerOptions {
  /** Default `localhost:<port>`. Any other name needs a client that is told where to find it. */
  readonly serverName?: string;
  /** An impostor: whatever the token, its user is said to be this one. */
  readonly sub?: string;
  /** Time by which tokens expire, in ms since the epoch. */
  readonly now?: () => number;
}

/** What `POST /user/{userId}/openid/request_token` gives a client, and a client gives to the service. */
export interface OpenIdToken {
  readonly access_token: string;
  readonly token_type: "Bearer";
  readonly matrix_server_name: string;
  readonly expires_in: number;
}

/** `/.well-known/matrix/` documents: for other servers, for clients. */
export type WellKnownName = "server" | "client";

/** Where a homeserver tells whose an OpenID token is. */
export const USERINFO_PATH = "/_matrix/federation/v1/openid/userinfo";

const TOKEN_LIFETIME_SECONDS = 3600;
const MAX_TOKENS = 200_000;

const CORS = { "access-control-allow-origin": "*" };
// Synapse answers in chunks, so that clients must be able to read them.
const HEADERS = { ...CORS, "cache-control": "no-cache, no-store, must-revalidate", "transfer-encoding": "chunked" };
const MISSING_TOKEN = matrixError(401, "M_MISSING_TOKEN", "Access Token required");
const UNKNOWN_TOKEN = matrixError(401, "M_UNKNOWN_TOKEN", "Access Token unknown or expired");
const UNRECOGNIZED = matrixError(404, "M_UNRECOGNIZED", "Unrecognized request");
const WRONG_METHOD = matrixError(405, "M_UNRECOGNIZED", "Unrecognized request");

/** A running homeserver. */
export class DevelopmentHomeserver extends ServedDouble {
  /** What its users' IDs end with. */
  readonly serverName: string;
  readonly delayedEvents = new DelayedEventsDouble();
  /** How often userinfo was asked, with or without success. */
  userInfoRequests = 0;
  readonly #routes: ReadonlyMap<string, (request: ReceivedRequest) => Answer>;
  readonly #tokens = new Map<string, { readonly userId: string; readonly expiresAt: number }>();
  readonly #wellKnown = new Map<WellKnownName, Answer>();
  readonly #sub: string | null;
  readonly #now: () => number;

  private constructor(server: LoopbackServer, options: DevelopmentHomeserverOptions) {
    super(server);
    this.serverName = options.serverName ?? `localhost:${server.port}`;
    this.#sub = options.sub ?? null;
    this.#now = options.now ?? Date.now;
    this.#routes = new Map<string, (request: ReceivedRequest) => Answer>([
      [USERINFO_PATH, ({ query }) => this.#userInfo(query.get("access_token"))],
      ["/.well-known/matrix/server", () => this.#wellKnown.get("server") ?? UNRECOGNIZED],
      ["/.well-known/matrix/client", () => this.#wellKnown.get("client") ?? UNRECOGNIZED],
    ]);
    server.handler = (request) => this.#answer(request);
    server.onRequest = (path) => {
      if (path === USERINFO_PATH) this.userInfoRequests++;
    };
  }

  /** Starts one, without users: everybody exists. */
  static async start(options: DevelopmentHomeserverOptions = {}): Promise<DevelopmentHomeserver> {
    const server = await LoopbackServer.start(options);
    return new DevelopmentHomeserver(server, options);
  }

  /** Scheme, address and port. */
  get url(): URL {
    return this.server.url;
  }

  /** A token of the user with this localpart. */
  mintOpenIdToken(localpart: string): OpenIdToken {
    return this.mintOpenIdTokenFor(`@${localpart}:${this.serverName}`);
  }

  /** A token of any user ID, another server's included: how an impostor lies. */
  mintOpenIdTokenFor(userId: string): OpenIdToken {
    const token = randomBytes(18).toString("base64url");
    if (this.#tokens.size >= MAX_TOKENS) this.#forgetOldestToken();
    this.#tokens.set(token, { userId, expiresAt: this.#now() + TOKEN_LIFETIME_SECONDS * 1000 });
    return {
      access_token: token,
      token_type: "Bearer",
      matrix_server_name: this.serverName,
      expires_in: TOKEN_LIFETIME_SECONDS,
    };
  }

  /** Sets a well-known document, with headers such as `cache-control`; null takes it away. */
  setWellKnown(name: WellKnownName, document: unknown, headers: Readonly<Record<string, string>> = {}): void {
    if (document === null) this.#wellKnown.delete(name);
    else this.#wellKnown.set(name, jsonAnswer(200, document, { ...CORS, ...headers }));
  }

  override [Symbol.asyncDispose](): Promise<void> {
    this.delayedEvents.close();
    return super[Symbol.asyncDispose]();
  }

  async #answer(request: ReceivedRequest): Promise<Answer> {
    const route = this.#routes.get(request.path);
    if (route === undefined) return await this.delayedEvents.answer(request.path) ?? UNRECOGNIZED;
    return request.method === "GET" ? route(request) : WRONG_METHOD;
  }

  #userInfo(token: string | null): Answer {
    if (token === null) return MISSING_TOKEN;
    const held = this.#tokens.get(token);
    if (held === undefined || this.#now() >= held.expiresAt) return UNKNOWN_TOKEN;
    return jsonAnswer(200, { sub: this.#sub ?? held.userId }, HEADERS);
  }

  #forgetOldestToken(): void {
    for (const token of this.#tokens.keys()) {
      this.#tokens.delete(token);
      return;
    }
  }
}

function matrixError(status: number, errcode: string, error: string): Answer {
  return jsonAnswer(status, { errcode, error }, HEADERS);
}
