// A development SFU: the part of LiveKit's HTTP face that a token service and its clients touch, answered as
// livekit-server 1.13.5 answers it, without any media. Rooms are never made by joining (`auto_create: false`).

import type { ParticipantInfo } from "@livekit/protocol";
import type { VideoGrant } from "livekit-server-sdk";
import { type Answer, textAnswer } from "./answer.ts";
import { LoopbackServer, type LoopbackServerOptions, type ReceivedRequest, ServedDouble } from "./loopback_server.ts";
import { SfuRooms } from "./fake_sfu_rooms.ts";
import { SfuTokens, type TokenClaims } from "./fake_sfu_tokens.ts";
import { SfuTwirp } from "./fake_sfu_twirp.ts";

/** What kind of SFU. */
export interface DevelopmentSfuOptions extends LoopbackServerOptions {
  /** Default `devkey`. */
  readonly apiKey?: string;
  /** Default {@link DEVELOPMENT_API_SECRET}. */
  readonly apiSecret?: string;
  /** The prefix under which a proxy would serve it, such as `/livekit/sfu`; default none. */
  readonly pathPrefix?: string;
  /** Time by which rooms are made and end, in ms since the epoch; tokens go by the wall clock. */
  readonly now?: () => number;
}

/** One API call as it is remembered: with the grant, without the token. */
export interface SfuCall {
  /** RPC name, such as `CreateRoom`. */
  readonly method: string;
  readonly contentType: string;
  /** Null without a token or without a video grant. */
  readonly video: VideoGrant | null;
}

/** Why somebody could not join: LiveKit's status and text, without the token. */
export class JoinRefused extends Error {
  override name = "JoinRefused";

  constructor(readonly status: number, message: string) {
    super(message);
  }
}

/** The API secret of an SFU that is given none. */
export const DEVELOPMENT_API_SECRET = "development secret of the SFU stand-in";

const MAX_RECORDED_CALLS = 1000;
const MAX_NAME_BYTES = 256;
const NOT_FOUND = textAnswer(404, "404 page not found\n");
const ANY_ORIGIN = { "access-control-allow-origin": "*" };

/** A running SFU. */
export class DevelopmentSfu extends ServedDouble {
  readonly apiKey: string;
  readonly apiSecret: string;
  readonly pathPrefix: string;
  /** Rooms and participants, for demos that show and tests that set them. */
  readonly rooms: SfuRooms;
  readonly #tokens: SfuTokens;
  readonly #twirp: SfuTwirp;
  readonly #now: () => number;
  readonly #callCounts = new Map<string, number>();
  #calls: SfuCall[] = [];

  private constructor(server: LoopbackServer, options: DevelopmentSfuOptions) {
    super(server);
    this.apiKey = options.apiKey ?? "devkey";
    this.apiSecret = options.apiSecret ?? DEVELOPMENT_API_SECRET;
    this.pathPrefix = options.pathPrefix ?? "";
    this.#now = options.now ?? Date.now;
    this.rooms = new SfuRooms(this.#now);
    this.#tokens = new SfuTokens(this.apiKey, this.apiSecret);
    this.#twirp = new SfuTwirp(this.rooms);
    server.onRequest = (path) => this.#count(path.slice(path.lastIndexOf("/") + 1));
    server.handler = async (request) => {
      const answer = await this.#answer(request);
      return { ...answer, headers: { ...answer.headers, date: new Date(this.#now()).toUTCString() } };
    };
  }

  /** Starts one, without rooms. */
  static async start(options: DevelopmentSfuOptions = {}): Promise<DevelopmentSfu> {
    return new DevelopmentSfu(await LoopbackServer.start(options), options);
  }

  /** Base of the HTTP API, with the path prefix, without a slash at the end. */
  get apiUrl(): string {
    return `${this.server.url.origin}${this.pathPrefix}`;
  }

  /** What clients connect to, `ws:` or `wss:`: a value for `LIVEKIT_URL`. */
  get url(): string {
    return this.apiUrl.replace(/^http/, "ws");
  }

  /** The latest API calls that got an answer, refusals included, oldest first. */
  get calls(): readonly SfuCall[] {
    return this.#calls;
  }

  /** How often a method, such as `CreateRoom`, was called, faulty calls included. */
  callCount(method: string): number {
    return this.#callCounts.get(method) ?? 0;
  }

  /**
   * Joins with a client's token, as its WebSocket would.
   *
   * @throws JoinRefused when LiveKit would not let it in.
   */
  async join(jwt: string): Promise<ParticipantInfo> {
    const verdict = await this.#tokens.check(jwt);
    if ("refusal" in verdict) throw new JoinRefused(401, verdict.refusal.replaceAll(jwt, "[token]"));
    const refusal = this.#refusalOf(verdict.claims);
    if (refusal !== null) throw new JoinRefused(refusal.status, refusal.text);
    const participant = this.rooms.join(verdict.claims.video?.room ?? "", verdict.claims);
    if (participant === null) throw new JoinRefused(404, "requested room does not exist");
    return participant;
  }

  /** Ends a session; null when there is none. */
  leave(room: string, identity: string): ParticipantInfo | null {
    return this.rooms.leave(room, identity);
  }

  async #answer(request: ReceivedRequest): Promise<Answer> {
    if (!request.path.startsWith(`${this.pathPrefix}/`)) return NOT_FOUND;
    const path = request.path.slice(this.pathPrefix.length).replace(/^\/\//, "/");
    const cors = path.startsWith("/rtc/") ? ANY_ORIGIN : {};

    // LiveKit looks at the token before it looks at the route.
    const { authorization } = request.headers;
    if (authorization?.startsWith("Bearer ") === false) {
      return textAnswer(401, "invalid authorization header. Must start with Bearer ", cors);
    }
    const token = authorization?.slice("Bearer ".length) ?? request.query.get("access_token") ?? "";
    const verdict = token === "" ? { claims: null } : await this.#tokens.check(token);
    if ("refusal" in verdict) return textAnswer(401, verdict.refusal, cors);

    const method = this.#twirp.methodOf(path);
    if (method !== null) {
      const contentType = request.headers["content-type"] ?? "";
      const video = verdict.claims?.video ?? null;
      this.#recordCall({ method, contentType, video });
      return this.#twirp.answer({ verb: request.method, path, contentType, body: request.body }, video);
    }
    switch (path) {
      case "/":
        return textAnswer(200, "OK");
      case "/rtc/v1/validate":
        if (!request.query.has("join_request")) return textAnswer(400, "join_request is required", cors);
        return this.#validate(verdict.claims);
      case "/rtc/validate":
        return this.#validate(verdict.claims);
      default:
        return NOT_FOUND;
    }
  }

  #validate(claims: TokenClaims | null): Answer {
    const refusal = this.#refusalOf(claims);
    return refusal === null
      ? textAnswer(200, "success", ANY_ORIGIN)
      : textAnswer(refusal.status, refusal.text, ANY_ORIGIN);
  }

  #refusalOf(claims: TokenClaims | null): { readonly status: number; readonly text: string } | null {
    const video = claims?.video ?? null;
    if (claims === null || video === null) return { status: 401, text: "no permissions to access the room" };
    if (!video.roomJoin) return { status: 401, text: "permissions denied" };
    if (claims.identity === "") return { status: 400, text: "identity cannot be empty" };
    if (Buffer.byteLength(claims.identity) > MAX_NAME_BYTES) {
      return { status: 400, text: "participant identity length exceeds limits: max length 256" };
    }
    const room = video.room ?? "";
    if (room === "") return { status: 400, text: "no room name" };
    if (Buffer.byteLength(room) > MAX_NAME_BYTES) {
      return { status: 400, text: "room name length exceeds limits: max length 256" };
    }
    return this.rooms.get(room) === null ? { status: 404, text: "requested room does not exist" } : null;
  }

  #count(method: string): void {
    if (this.#twirp.hasMethod(method)) this.#callCounts.set(method, this.callCount(method) + 1);
  }

  #recordCall(call: SfuCall): void {
    if (this.#calls.length >= 2 * MAX_RECORDED_CALLS) this.#calls = this.#calls.slice(-MAX_RECORDED_CALLS);
    this.#calls.push(call);
  }
}
