// LiveKit's RoomService over Twirp: protobuf messages through the outbound client, below the SFU's own path prefix,
// with a service token that is signed once and used for minutes.

import { CreateRoomRequest, Room } from "@livekit/protocol";
import { isIP } from "node:net";
import * as v from "valibot";
import { type Outbound, OutboundError, type OutboundResponse } from "../net/client.ts";
import type { AccessTokenSigner, VideoGrant } from "./access_token.ts";
import type { RoomAlias } from "./identity.ts";

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

  constructor(readonly failure: SfuFailure, message: string, options?: ErrorOptions) {
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
const RETRY_PAUSE_MS = 200;

const TwirpError = v.object({ code: v.string() });

/** Calls the SFU's room service. */
export class RoomService {
  readonly #deps: RoomServiceDeps;
  readonly #tokens = new Map<string, { readonly jwt: string; readonly renewAt: number }>();

  constructor(deps: RoomServiceDeps) {
    this.#deps = deps;
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
    const room = readRoom(response.body);
    // Both ends of the subtraction come from the SFU's clock, so that a skew between us and it does not matter.
    const answeredAt = Date.parse(response.headers.date ?? "") || this.#deps.now();
    return { participants: room.numParticipants, ageMs: answeredAt - Number(room.creationTime) * 1000 };
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
    const host = apiUrl.hostname.replace(/^\[|\]$/g, "");
    const secure = apiUrl.protocol === "https:";
    let response: OutboundResponse;
    try {
      response = await outbound.send({
        method: "POST",
        secure,
        host,
        port: apiUrl.port === "" ? (secure ? 443 : 80) : Number(apiUrl.port),
        path: `${apiUrl.pathname.replace(/\/+$/, "")}/twirp/livekit.RoomService/${method}`,
        hostHeader: apiUrl.host,
        tlsName: isIP(host) > 0 ? null : host,
        rule: "operator",
        headers: { "content-type": "application/protobuf", authorization: `Bearer ${this.#serviceToken(grant)}` },
        body,
        maxResponseBytes: MAX_RESPONSE_BYTES,
        signal,
      });
    } catch (error) {
      if (!(error instanceof OutboundError)) throw error;
      throw new SfuError(failureOf(error), error.message, { cause: error });
    }
    if (response.status === 200) return response;
    throw classify(response);
  }

  #serviceToken(grant: VideoGrant): string {
    const key = JSON.stringify(grant);
    const now = this.#deps.monotonicNow();
    const held = this.#tokens.get(key);
    if (held !== undefined && now < held.renewAt) return held.jwt;
    const jwt = this.#deps.signer.sign({
      video: grant,
      issuedAt: Math.floor(this.#deps.now() / 1000),
      ttlSeconds: SERVICE_TOKEN_TTL_SECONDS,
    });
    this.#tokens.set(key, { jwt, renewAt: now + SERVICE_TOKEN_RENEWAL_MS });
    return jwt;
  }
}

function readRoom(body: Uint8Array): Room {
  try {
    return Room.fromBinary(body);
  } catch (error) {
    throw new SfuError("proxy", "Answer 200 of the SFU is no LiveKit message: something else answers at this URL", {
      cause: error,
    });
  }
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
  if (status === 401 || status === 403) {
    return new SfuError("key-mismatch", `${answer}: is this API key, with this secret, one of LiveKit's keys?`);
  }
  if (status === 404) {
    return new SfuError("wrong-path", `${answer}: does the URL have the path prefix under which LiveKit is served?`);
  }
  if (status < 400 || status === 405) {
    return new SfuError("proxy", `${answer}: a proxy redirects or filters the request; give its final https URL`);
  }
  if (status >= 500 || status === 429) {
    return new SfuError("server-error", `${answer}: LiveKit, or the proxy before it, is out of order`);
  }
  return new SfuError("refused", answer);
}

function twirpCode(body: Uint8Array): string | null {
  try {
    const error = v.safeParse(TwirpError, JSON.parse(new TextDecoder().decode(body)));
    return error.success && /^[a-z_]{1,40}$/.test(error.output.code) ? error.output.code : null;
  } catch {
    return null;
  }
}
