// LiveKit's RoomService over Twirp: protobuf messages through the outbound client, below the SFU's own path prefix,
// with a service token that is signed once and used for minutes.

import {
  CreateRoomRequest,
  ListParticipantsRequest,
  ListParticipantsResponse,
  ListRoomsRequest,
  ListRoomsResponse,
  ParticipantInfo,
  ParticipantInfo_State,
  Room,
  RoomParticipantIdentity,
} from "@livekit/protocol";
import type { Clock } from "../async/clock.ts";
import { MAX_CONNECTIONS_TO_KNOWN_HOST, type Outbound, type OutboundResponse } from "../net/client.ts";
import { basePathOf, type Dial, dialOf } from "../net/endpoint.ts";
import { OutboundError } from "../net/outbound_error.ts";
import type { AccessTokenSigner, VideoGrant } from "./access_token.ts";
import type { Identity, RoomAlias } from "./identity.ts";
import { clockOf, noAnswer, noMessage, refusal, SfuError, type SfuRequest } from "./sfu_error.ts";

/** A room as the SFU answered it. */
export interface RoomState {
  /** Participants, as the SFU counts them: up to 5 s late. */
  readonly participants: number;
  /** Age of the room by the SFU's own clock, in ms. */
  readonly ageMs: number;
}

/** Whether a participant is in a room, and in which session. */
export type Presence =
  | { readonly outcome: "present"; readonly sid: string }
  | { readonly outcome: "absent" };

/** What the room service needs from outside. */
export interface RoomServiceDeps {
  /** Base of the SFU's API: `http:` or `https:`, with its path prefix. */
  readonly apiUrl: URL;
  readonly outbound: Outbound;
  readonly signer: AccessTokenSigner;
  readonly clock: Pick<Clock, "now" | "monotonicNow" | "sleep">;
}

// What Element Call's rooms have always had: closed 5 minutes after creation when nobody comes, 20 s after the last
// one left, and no cap on participants.
const EMPTY_TIMEOUT_SECONDS = 300;
const DEPARTURE_TIMEOUT_SECONDS = 20;

const SERVICE_TOKEN_TTL_SECONDS = 600;
const SERVICE_TOKEN_RENEWAL_MS = 300_000;
// A room's settings and metadata. A storm asks for hundreds of rooms at once.
const MAX_ROOM_BYTES = 128 * 1024;
const MAX_RESPONSE_BYTES = 1024 * 1024;
// A participant with tracks and metadata takes some kilobytes, and a room may have thousands.
const MAX_LIST_BYTES = 16 * 1024 * 1024;
const MAX_BYTES_OF: Readonly<Record<string, number>> = {
  CreateRoom: MAX_ROOM_BYTES,
  ListParticipants: MAX_LIST_BYTES,
};
const RETRY_PAUSE_MS = 200;

interface ServiceToken {
  readonly jwt: string;
  /** By the wall clock, s. */
  readonly issuedAt: number;
  /** By the monotonic clock, ms. */
  readonly renewAt: number;
}

interface Answer {
  readonly request: SfuRequest;
  readonly response: OutboundResponse;
}

/** Calls the SFU's room service. */
export class RoomService {
  readonly #deps: RoomServiceDeps;
  readonly #dial: Dial;
  readonly #origin: string;
  readonly #basePath: string;
  readonly #tokens = new Map<string, ServiceToken>();

  constructor(deps: RoomServiceDeps) {
    const { apiUrl } = deps;
    this.#deps = deps;
    this.#dial = dialOf(apiUrl);
    this.#origin = apiUrl.origin;
    this.#basePath = `${basePathOf(apiUrl)}/twirp/livekit.RoomService/`;
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
    const answer = await this.#call("CreateRoom", { roomCreate: true }, createRoomMessage(name), signal);
    const room = decode(Room, answer);
    // Both ends of the subtraction come from the SFU's clock, so that a skew between us and it does not matter.
    const answeredAt = clockOf(answer.response) || this.#deps.clock.now();
    return { participants: room.numParticipants, ageMs: answeredAt - Number(room.creationTime) * 1000 };
  }

  /**
   * Looks a participant up. They are there from the moment their socket opens until about 21 s after they died.
   *
   * @throws SfuError when the SFU does not say: that is not the same as absent.
   */
  async getParticipant(room: RoomAlias, identity: Identity, signal: AbortSignal): Promise<Presence> {
    const message = new RoomParticipantIdentity({ room, identity });
    try {
      const answer = await this.#call("GetParticipant", { roomAdmin: true, room }, message.toBinary(), signal);
      const participant = decode(ParticipantInfo, answer);
      if (participant.sid === "") throw noMessage(answer.request);
      return isGone(participant) ? { outcome: "absent" } : { outcome: "present", sid: participant.sid };
    } catch (error) {
      // Any other 404 comes from a proxy, or from a path that is not LiveKit's.
      if (error instanceof SfuError && error.code === "not_found") return { outcome: "absent" };
      throw error;
    }
  }

  /**
   * Everybody in a room, identity → SID; empty for a room that does not exist.
   *
   * @throws SfuError
   */
  async listParticipants(room: RoomAlias, signal: AbortSignal): Promise<ReadonlyMap<string, string>> {
    const message = new ListParticipantsRequest({ room });
    try {
      const answer = await this.#call("ListParticipants", { roomAdmin: true, room }, message.toBinary(), signal);
      const { participants } = decode(ListParticipantsResponse, answer);
      return new Map(participants.filter((one) => !isGone(one)).map(({ identity, sid }) => [identity, sid]));
    } catch (error) {
      if (error instanceof SfuError && error.code === "not_found") return new Map();
      throw error;
    }
  }

  /**
   * Asks for the rooms without reading them: whether the SFU answers and takes the key.
   *
   * @throws SfuError
   */
  async listRooms(signal: AbortSignal): Promise<void> {
    // A name that no room has keeps the answer short.
    const message = new ListRoomsRequest({ names: ["-"] });
    decode(ListRoomsResponse, await this.#call("ListRooms", { roomList: true }, message.toBinary(), signal));
  }

  /**
   * How old a room is by the SFU's own clock, in ms; up to a second more, since the SFU tells its time in seconds. null =
   * there is no such room.
   *
   * @throws SfuError
   */
  async roomAge(name: RoomAlias, signal: AbortSignal): Promise<number | null> {
    const message = new ListRoomsRequest({ names: [name] });
    const answer = await this.#call("ListRooms", { roomList: true }, message.toBinary(), signal);
    const room = decode(ListRoomsResponse, answer).rooms.find((room) => room.name === name);
    if (room === undefined) return null;
    const answeredAt = (clockOf(answer.response) || this.#deps.clock.now()) + 999;
    return answeredAt - (Number(room.creationTimeMs) || Number(room.creationTime) * 1000);
  }

  async #call(method: string, grant: VideoGrant, body: Uint8Array, signal: AbortSignal): Promise<Answer> {
    for (let attempt = 1;; attempt++) {
      try {
        return await this.#post(method, grant, body, signal);
      } catch (error) {
        const isPassing = error instanceof SfuError &&
          (error.failure === "connect" || error.failure === "server-error");
        if (attempt > 1 || !isPassing || signal.aborted) throw error;
        await this.#deps.clock.sleep(RETRY_PAUSE_MS, signal).catch(() => {});
      }
    }
  }

  async #post(method: string, grant: VideoGrant, body: Uint8Array, signal: AbortSignal): Promise<Answer> {
    const { outbound, clock } = this.#deps;
    const path = `${this.#basePath}${method}`;
    const { jwt, issuedAt } = this.#serviceToken(grant);
    const request = { url: `${this.#origin}${path}`, issuedAt, ttlSeconds: SERVICE_TOKEN_TTL_SECONDS };
    let response: OutboundResponse;
    try {
      response = await outbound.send({
        ...this.#dial,
        method: "POST",
        path,
        rule: "operator",
        headers: { "content-type": "application/protobuf", authorization: `Bearer ${jwt}` },
        body,
        maxResponseBytes: MAX_BYTES_OF[method] ?? MAX_RESPONSE_BYTES,
        signal,
        maxConnections: MAX_CONNECTIONS_TO_KNOWN_HOST,
      });
    } catch (error) {
      if (!(error instanceof OutboundError)) throw error;
      throw noAnswer(request, error);
    }
    if (response.status !== 200) throw refusal(request, response, clock.now());
    return { request, response };
  }

  #serviceToken(grant: VideoGrant): ServiceToken {
    if (grant.room !== undefined) return this.#sign(grant);
    const key = JSON.stringify(grant);
    const held = this.#tokens.get(key);
    if (held !== undefined && this.#deps.clock.monotonicNow() < held.renewAt) return held;
    const token = this.#sign(grant);
    this.#tokens.set(key, token);
    return token;
  }

  #sign(grant: VideoGrant): ServiceToken {
    const { clock, signer } = this.#deps;
    const issuedAt = Math.floor(clock.now() / 1000);
    const jwt = signer.sign({ video: grant, issuedAt, ttlSeconds: SERVICE_TOKEN_TTL_SECONDS });
    return { jwt, issuedAt, renewAt: clock.monotonicNow() + SERVICE_TOKEN_RENEWAL_MS };
  }
}

function encodeCreateRoom(name: string): Uint8Array {
  return new CreateRoomRequest({
    name,
    emptyTimeout: EMPTY_TIMEOUT_SECONDS,
    departureTimeout: DEPARTURE_TIMEOUT_SECONDS,
    maxParticipants: 0,
  }).toBinary();
}

// Aliases are of one length (SHA-256 in base64), so that their messages differ in these bytes alone: a copy with another
// alias costs a tenth of what it takes to encode one.
const SOME_ALIAS = "_".repeat(43);
const CREATE_SOME_ROOM = encodeCreateRoom(SOME_ALIAS);
const ALIAS_AT = Buffer.from(CREATE_SOME_ROOM).indexOf(SOME_ALIAS);
const UTF8 = new TextEncoder();

/** The message that creates a room, as the library encodes it. */
export function createRoomMessage(name: RoomAlias): Uint8Array {
  if (Buffer.byteLength(name) !== SOME_ALIAS.length) return encodeCreateRoom(name);
  const message = CREATE_SOME_ROOM.slice();
  UTF8.encodeInto(name, message.subarray(ALIAS_AT));
  return message;
}

function decode<Message>(type: { fromBinary(bytes: Uint8Array): Message }, { request, response }: Answer): Message {
  // No bytes are a message too, of an empty room: nobody is to be taken for gone since some proxy says nothing at all.
  if (response.body.length === 0 && !isProtobuf(response)) throw noMessage(request);
  try {
    return type.fromBinary(response.body);
  } catch (error) {
    throw noMessage(request, { cause: error });
  }
}

function isProtobuf({ headers }: OutboundResponse): boolean {
  return headers["content-type"]?.startsWith("application/protobuf") === true;
}

function isGone(participant: ParticipantInfo): boolean {
  return participant.state === ParticipantInfo_State.DISCONNECTED;
}
