// What the tests ask of a homeserver, and of a user's account on it: the part of the Matrix client-server API (v1.8) that
// a call needs, typed by parsers.

import * as v from "valibot";

/** An OpenID token as the homeserver gives it, and as a client hands it on. */
export type OpenIdToken = v.InferOutput<typeof OPENID_TOKEN>;

const OPENID_TOKEN = v.object({
  access_token: v.string(),
  token_type: v.string(),
  matrix_server_name: v.string(),
  expires_in: v.number(),
});
const REGISTRATION = v.object({ user_id: v.string(), device_id: v.string(), access_token: v.string() });
const USERINFO = v.union([v.object({ sub: v.string() }), v.object({ errcode: v.string() })]);
const ROOM = v.object({ room_id: v.string() });
const DELAYED_EVENT = v.object({ delay_id: v.string() });
const EVENT = v.object({ event_id: v.string() });
const CONTENT = v.record(v.string(), v.unknown());

/** Membership of a call, as Element Call sends it; every member of the tests' rooms may. */
export const CALL_MEMBER = "org.matrix.msc3401.call.member";

interface CallOptions {
  readonly accessToken?: string;
  readonly body?: unknown;
}

/** A homeserver, by its server name. */
export class Homeserver implements AsyncDisposable {
  readonly serverName: string;
  readonly #client: Deno.HttpClient;

  /** Trusts the certificate given (PEM) beside the usual ones. */
  constructor(serverName: string, caCertificate: string) {
    this.serverName = serverName;
    this.#client = Deno.createHttpClient({ caCerts: [caCertificate] });
  }

  /** Whether it answers at all. */
  async isHealthy(signal: AbortSignal): Promise<boolean> {
    const response = await fetch(this.#url("/health"), { client: this.#client, signal });
    await response.body?.cancel();
    return response.ok;
  }

  /** Makes an account, logged in on one device. */
  async register(localpart: string, deviceId: string): Promise<MatrixUser> {
    const body = {
      auth: { type: "m.login.dummy" },
      username: localpart,
      password: crypto.randomUUID(),
      device_id: deviceId,
    };
    const account = await this.call("POST", "/_matrix/client/v3/register", REGISTRATION, { body });
    return new MatrixUser(this, account);
  }

  /** Whose OpenID token it is, in the homeserver's own words: what another server sees over federation. */
  async userinfo(openIdAccessToken: string): Promise<{ status: number; body: v.InferOutput<typeof USERINFO> }> {
    const url = this.#url("/_matrix/federation/v1/openid/userinfo");
    url.searchParams.set("access_token", openIdAccessToken);
    const response = await fetch(url, { client: this.#client });
    return { status: response.status, body: v.parse(USERINFO, await response.json()) };
  }

  /** Manages a delayed event as a service does (MSC4140): without authentication. Gives the status. */
  async manageDelayedEvent(delayId: string, action: "cancel" | "restart" | "send"): Promise<number> {
    const path = `/_matrix/client/unstable/org.matrix.msc4140/delayed_events/${encodeURIComponent(delayId)}/${action}`;
    const response = await fetch(this.#url(path), { client: this.#client, method: "POST", body: "{}" });
    await response.body?.cancel();
    return response.status;
  }

  /**
   * Calls the client-server API.
   *
   * @throws With the homeserver's answer, when it is not 200 or not of the shape.
   */
  async call<Schema extends v.GenericSchema>(
    method: "GET" | "POST" | "PUT",
    path: string,
    schema: Schema,
    { accessToken, body }: CallOptions = {},
  ): Promise<v.InferOutput<Schema>> {
    const response = await fetch(this.#url(path), {
      client: this.#client,
      method,
      headers: accessToken === undefined ? {} : { authorization: `Bearer ${accessToken}` },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (response.ok) return v.parse(schema, JSON.parse(text));
    throw new Error(`Cannot ${method} "${path}" at "${this.serverName}": ${response.status} ${text}`);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#client.close();
    return Promise.resolve();
  }

  #url(path: string): URL {
    return new URL(path, `https://${this.serverName}`);
  }
}

/** A user, on one device. */
export class MatrixUser {
  readonly homeserver: Homeserver;
  readonly userId: string;
  readonly deviceId: string;
  readonly #accessToken: string;

  constructor(homeserver: Homeserver, account: v.InferOutput<typeof REGISTRATION>) {
    this.homeserver = homeserver;
    this.userId = account.user_id;
    this.deviceId = account.device_id;
    this.#accessToken = account.access_token;
  }

  /** A fresh OpenID token. */
  openIdToken(): Promise<OpenIdToken> {
    return this.#call("POST", `/v3/user/${encodeURIComponent(this.userId)}/openid/request_token`, OPENID_TOKEN, {});
  }

  /** Makes a public room in which everybody may send {@link CALL_MEMBER}, and gives its ID. */
  async createRoom(): Promise<string> {
    const room = await this.#call("POST", "/v3/createRoom", ROOM, {
      preset: "public_chat",
      power_level_content_override: { events: { [CALL_MEMBER]: 0 } },
    });
    return room.room_id;
  }

  /** Joins a public room, through a server that is in it. */
  async joinRoom(roomId: string, viaServer: string): Promise<void> {
    await this.#call("POST", `/v3/join/${encodeURIComponent(roomId)}?via=${encodeURIComponent(viaServer)}`, ROOM, {});
  }

  /** Sets a piece of room state. */
  async setState(roomId: string, type: string, stateKey: string, content: Record<string, unknown>): Promise<void> {
    await this.#call("PUT", statePath(roomId, type, stateKey), EVENT, content);
  }

  /** A piece of room state: its content, `{}` after a leave. */
  state(roomId: string, type: string, stateKey: string): Promise<Record<string, unknown>> {
    return this.#call("GET", statePath(roomId, type, stateKey), CONTENT);
  }

  /** Schedules a piece of room state (MSC4140), and gives its delay ID. */
  async scheduleState(
    roomId: string,
    type: string,
    stateKey: string,
    content: Record<string, unknown>,
    delayMs: number,
  ): Promise<string> {
    const path = `${statePath(roomId, type, stateKey)}?org.matrix.msc4140.delay=${delayMs}`;
    return (await this.#call("PUT", path, DELAYED_EVENT, content)).delay_id;
  }

  #call<Schema extends v.GenericSchema>(
    method: "GET" | "POST" | "PUT",
    path: string,
    schema: Schema,
    body?: Record<string, unknown>,
  ): Promise<v.InferOutput<Schema>> {
    const accessToken = this.#accessToken;
    return this.homeserver.call(method, `/_matrix/client${path}`, schema, { accessToken, body });
  }
}

function statePath(roomId: string, type: string, stateKey: string): string {
  return `/v3/rooms/${encodeURIComponent(roomId)}/state/${type}/${encodeURIComponent(stateKey)}`;
}
