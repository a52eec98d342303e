// LiveKit's RoomService over Twirp: protobuf messages through the outbound client, below the SFU's own path prefix,
// with a service token that is signed once and used for minutes.

import {
  CreateRoomRequest,
  ListParticipantsRequest,
  ListParticipantsResponse,
  ParticipantInfo,
  ParticipantInfo_State,
  Room,
  RoomParticipantIdentity,
} from "@livekit/protocol";
import * as v from "valibot";
import { basePathOf, dialOf } from "../net/endpoint.ts";
import type { Outbound, OutboundResponse } from "../net/client.ts";
import { OutboundError } from "../net/outbound_error.ts";
import type { AccessTokenSigner, VideoGrant } from "./access_token.ts";
import type { Identity, RoomAlias } from "./identity.ts";

/** Why the SFU did not do what it was asked; each with its own advice for the log. */
export type SfuFailure =
  | "dns"
  | "connect"
  | "tls"
  | "timeout"
  | "key-mismatch"
  | "wrong-path"
  | "proxy"
  | "server-error"
  | "refused";

/** The only error of this layer. Its message is for the log and names no token. */
export class SfuError extends Error {
  override name = "SfuError";

  /** @param code Twirp's error code, null where there was none. */
  constructor(
    readonly failure: SfuFailure,
    message: string,
    readonly code: string | null = null,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** A room as the SFU answered it. */
export interface RoomState {
  /** Participants, as the SFU counts them: up to 5 s late. */
  readonly participants: number;
  /** Age of the room by the SFU's own clock, in ms. */
  readonly ageMs: number;
}

/** A participant, looked up. `unknown` is not `absent`. */
export type Presence =
  | { readonly outcome: "present"; readonly sid: string }
  | { readonly outcome: "absent" }
  | { readonly outcome: "unknown"; readonly cause: string };

/** What the room service needs from outside. */
export interface RoomServiceDeps {
  /** Base of the SFU's API: `http:` or `https:`, with its path prefix. */
  readonly apiUrl: URL;
  readonly outbound: Outbound;
  readonly signer: AccessTokenSigner;
  readonly now: () => number;
  readonly monotonicNow: () => number;
  readonly sleep: (durationMs: number, signal: AbortSignal) => Promise<void>;
}

// What Element Call's rooms have always had: closed 5 minutes after creation when nobody comes, 20 s after the last
// one left, and no cap on participants.
const EMPTY_TIMEOUT_SECONDS = 300;
const DEPARTURE_TIMEOUT_SECONDS = 20;

const SERVICE_TOKEN_TTL_SECONDS = 600;
const SERVICE_TOKEN_RENEWAL_MS = 300_000;
const MAX_RESPONSE_BYTES = 1024 * 1024;
// A participant with tracks and metadata takes some kilobytes, and a room may have thousands.
const MAX_LIST_BYTES = 16 * 1024 * 1024;
const RETRY_PAUSE_MS = 200;

const TwirpError = v.object({ code: v.string() });

/** Calls the SFU's room service. */
export class RoomService {
  readonly #deps: RoomServiceDeps;
  readonly #tokens = new Map<string, { readonly jwt: string; readonly renewAt: number }>();

  constructor(deps: RoomServiceDeps) {
    this.#deps = deps;
  }

  /** Forgets the service's own tokens: the next call signs anew. */
  renewTokens(): void {
    this.#tokens.clear();
  }

  /**
   * Creates a room; a room that is there already is returned as it is.
   *
   * @throws SfuError after one retry of a passing fault.
   */
  async createRoom(name: RoomAlias, signal: AbortSignal): Promise<RoomState> {
    const request = new CreateRoomRequest({
      name,
      emptyTimeout: EMPTY_TIMEOUT_SECONDS,
      departureTimeout: DEPARTURE_TIMEOUT_SECONDS,
      maxParticipants: 0,
    });
    const response = await this.#call("CreateRoom", { roomCreate: true }, request.toBinary(), signal);
    const room = decode(Room, response.body);
    // Both ends of the subtraction come from the SFU's clock, so that a skew between us and it does not matter.
    const answeredAt = Date.parse(response.headers.date ?? "") || this.#deps.now();
    return { participants: room.numParticipants, ageMs: answeredAt - Number(room.creationTime) * 1000 };
  }

  /**
   * Looks a participant up. They are there from the moment their socket opens until about 21 s after they died.
   *
   * Never rejects for what the SFU does.
   */
  async getParticipant(room: RoomAlias, identity: Identity, signal: AbortSignal): Promise<Presence> {
    const request = new RoomParticipantIdentity({ room, identity });
    try {
      const response = await this.#call("GetParticipant", { roomAdmin: true, room }, request.toBinary(), signal);
      const participant = decode(ParticipantInfo, response.body);
      return isGone(participant) ? { outcome: "absent" } : { outcome: "present", sid: participant.sid };
    } catch (error) {
      if (!(error instanceof SfuError)) throw error;
      // Any other 404 comes from a proxy, or from a path that is not LiveKit's.
      return error.code === "not_found" ? { outcome: "absent" } : { outcome: "unknown", cause: error.message };
    }
  }

  /**
   * Everybody in a room, identity → SID; empty for a room that does not exist.
   *
   * @throws SfuError
   */
  async listParticipants(room: RoomAlias, signal: AbortSignal): Promise<ReadonlyMap<string, string>> {
    const request = new ListParticipantsRequest({ room });
    try {
      const response = await this.#call("ListParticipants", { roomAdmin: true, room }, request.toBinary(), signal);
      // An empty room is an empty message: nobody must be taken for gone since some proxy says nothing at all.
      if (response.body.length === 0 && !isProtobuf(response)) throw noMessage();
      const { participants } = decode(ListParticipantsResponse, response.body);
      return new Map(participants.filter((one) => !isGone(one)).map(({ identity, sid }) => [identity, sid]));
    } catch (error) {
      if (error instanceof SfuError && error.code === "not_found") return new Map();
      throw error;
    }
  }

  async #call(method: string, grant: VideoGrant, body: Uint8Array, signal: AbortSignal): Promise<OutboundResponse> {
    for (let attempt = 1;; attempt++) {
      try {
        return await this.#post(method, grant, body, signal);
      } catch (error) {
        const isPassing = error instanceof SfuError &&
          (error.failure === "connect" || error.failure === "server-error");
        if (attempt > 1 || !isPassing || signal.aborted) throw error;
        await this.#deps.sleep(RETRY_PAUSE_MS, signal).catch(() => {});
      }
    }
  }

  async #post(method: string, grant: VideoGrant, body: Uint8Array, signal: AbortSignal): Promise<OutboundResponse> {
    const { apiUrl, outbound } = this.#deps;
    let response: OutboundResponse;
    try {
      response = await outbound.send({
        ...dialOf(apiUrl),
        method: "POST",
        path: `${basePathOf(apiUrl)}/twirp/livekit.RoomService/${method}`,
        rule: "operator",
        headers: { "content-type": "application/protobuf", authorization: `Bearer ${this.#serviceToken(grant)}` },
        body,
        maxResponseBytes: method === "ListParticipants" ? MAX_LIST_BYTES : MAX_RESPONSE_BYTES,
        signal,
      });
    } catch (error) {
      if (!(error instanceof OutboundError)) throw error;
      throw new SfuError(failureOf(error), error.message, null, { cause: error });
    }
    if (response.status === 200) return response;
    throw classify(response);
  }

  #serviceToken(grant: VideoGrant): string {
    if (grant.room !== undefined) return this.#sign(grant);
    const key = JSON.stringify(grant);
    const now = this.#deps.monotonicNow();
    const held = this.#tokens.get(key);
    if (held !== undefined && now < held.renewAt) return held.jwt;
    const jwt = this.#sign(grant);
    this.#tokens.set(key, { jwt, renewAt: now + SERVICE_TOKEN_RENEWAL_MS });
    return jwt;
  }

  #sign(grant: VideoGrant): string {
    const issuedAt = Math.floor(this.#deps.now() / 1000);
    return this.#deps.signer.sign({ video: grant, issuedAt, ttlSeconds: SERVICE_TOKEN_TTL_SECONDS });
  }
}

function decode<Message>(type: { fromBinary(bytes: Uint8Array): Message }, body: Uint8Array): Message {
  try {
    return type.fromBinary(body);
  } catch (error) {
    throw noMessage({ cause: error });
  }
}

function noMessage(options?: ErrorOptions): SfuError {
  const message = "Answer 200 of the SFU is no LiveKit message: something else answers at this URL";
  return new SfuError("proxy", message, null, options);
}

function isProtobuf({ headers }: OutboundResponse): boolean {
  return headers["content-type"]?.startsWith("application/protobuf") === true;
}

function isGone(participant: ParticipantInfo): boolean {
  return participant.state === ParticipantInfo_State.DISCONNECTED;
}

function failureOf(error: OutboundError): SfuFailure {
  switch (error.failure) {
    case "dns":
    case "tls":
    case "timeout":
      return error.failure;
    case "connect":
    case "reset":
      return "connect";
    case "blocked":
    case "protocol":
    case "too-large":
      return "proxy";
  }
}

// The body is read for its Twirp code only: with a wrong secret LiveKit repeats the whole JWT in it.
function classify({ status, body }: OutboundResponse): SfuError {
  const code = twirpCode(body);
  const answer = `SFU answered ${status}${code === null ? "" : ` "${code}"`}`;
  const failed = (failure: SfuFailure, advice: string) => new SfuError(failure, `${answer}: ${advice}`, code);
  if (code === "not_found") return failed("refused", "no such room or participant");
  if (status === 401 || status === 403) {
    return failed("key-mismatch", "is this API key, with this secret, one of LiveKit's keys?");
  }
  if (status === 404) return failed("wrong-path", "does the URL have the path prefix under which LiveKit is served?");
  if (status < 400 || status === 405) {
    return failed("proxy", "a proxy redirects or filters the request; give its final https URL");
  }
  if (status >= 500 || status === 429) {
    return failed("server-error", "LiveKit, or the proxy before it, is out of order");
  }
  return failed("refused", "LiveKit does not take the request");
}

function twirpCode(body: Uint8Array): string | null {
  try {
    const error = v.safeParse(TwirpError, JSON.parse(new TextDecoder().decode(body)));
    return error.success && /^[a-z_]{1,40}$/.test(error.output.code) ? error.output.code : null;
  } catch {
    return null;
  }
}
