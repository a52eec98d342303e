// LiveKit's RoomService over Twirp, in protobuf and JSON, as the development SFU serves it. Source: Twirp wire protocol
// (version 7), LiveKit protocol `livekit_room.proto`.

import {
  CreateRoomRequest,
  DeleteRoomRequest,
  DeleteRoomResponse,
  ListParticipantsRequest,
  ListParticipantsResponse,
  ListRoomsRequest,
  ListRoomsResponse,
  RemoveParticipantResponse,
  RoomParticipantIdentity,
} from "@livekit/protocol";
import type { VideoGrant } from "livekit-server-sdk";
import { type Answer, jsonAnswer } from "./answer.ts";
import type { SfuRooms } from "./fake_sfu_rooms.ts";

/** The parts of an HTTP request that Twirp looks at. */
export interface TwirpRequest {
  readonly verb: string;
  /** As the SFU sees it, below any prefix of a proxy. */
  readonly path: string;
  readonly contentType: string;
  readonly body: Uint8Array;
}

type Encoding = "json" | "protobuf";
type Method = (body: Uint8Array, encoding: Encoding, video: VideoGrant) => Message;

// The messages of @livekit/protocol, as far as they are used here.
interface Message {
  toBinary(): Uint8Array;
  toJsonString(options: { emitDefaultValues: boolean; useProtoFieldName: boolean }): string;
}
interface MessageType<Request> {
  fromBinary(bytes: Uint8Array): Request;
  fromJsonString(json: string, options: { ignoreUnknownFields: boolean }): Request;
}

const SERVICE_PATH = "/twirp/livekit.RoomService/";
const MAX_ROOM_NAME_BYTES = 256;

const STATUS = { bad_route: 404, invalid_argument: 400, malformed: 400, not_found: 404, unauthenticated: 401 };

class TwirpRefusal extends Error {
  constructor(readonly code: keyof typeof STATUS, message: string) {
    super(message);
  }
}

/** Answers RoomService calls: those that make, list and end rooms, and those that look at and remove participants. */
export class SfuTwirp {
  readonly #methods: ReadonlyMap<string, Method>;

  constructor(rooms: SfuRooms) {
    const mayCreate = (video: VideoGrant) => video.roomCreate === true;
    const mayList = (video: VideoGrant) => video.roomList === true;
    const mayAdminister = (video: VideoGrant, { room }: { room: string }) =>
      video.roomAdmin === true && (video.room ?? "") === room;

    this.#methods = new Map<string, Method>([
      [
        "CreateRoom",
        method(CreateRoomRequest, mayCreate, (request) => {
          if (Buffer.byteLength(request.name) > MAX_ROOM_NAME_BYTES) {
            throw new TwirpRefusal("invalid_argument", livekitText("room name length exceeds limits: max length 256"));
          }
          return rooms.create(request);
        }),
      ],
      [
        "ListRooms",
        method(ListRoomsRequest, mayList, ({ names }) => {
          return new ListRoomsResponse({ rooms: rooms.list(names) });
        }),
      ],
      [
        "DeleteRoom",
        method(DeleteRoomRequest, mayCreate, ({ room }) => {
          if (!rooms.delete(room)) throw new TwirpRefusal("not_found", livekitText("requested room does not exist"));
          return new DeleteRoomResponse();
        }),
      ],
      [
        "ListParticipants",
        method(ListParticipantsRequest, mayAdminister, ({ room }) => {
          return new ListParticipantsResponse({ participants: rooms.participants(room) });
        }),
      ],
      [
        "GetParticipant",
        method(RoomParticipantIdentity, mayAdminister, ({ room, identity }) => {
          return rooms.participant(room, identity) ?? refuseAbsentParticipant();
        }),
      ],
      [
        "RemoveParticipant",
        method(RoomParticipantIdentity, mayAdminister, ({ room, identity }) => {
          if (rooms.leave(room, identity) === null) refuseAbsentParticipant();
          return new RemoveParticipantResponse();
        }),
      ],
    ]);
  }

  /** The RPC name in a path, known or not; null when the path is none of the service's. */
  methodOf(path: string): string | null {
    return path.startsWith(SERVICE_PATH) ? path.slice(SERVICE_PATH.length) : null;
  }

  /** Whether there is an RPC of this name. */
  hasMethod(name: string): boolean {
    return this.#methods.has(name);
  }

  /** Answers one call; `video` is the caller's grant, null when it has none. */
  answer({ verb, path, contentType, body }: TwirpRequest, video: VideoGrant | null): Answer {
    try {
      if (verb !== "POST") throw new TwirpRefusal("bad_route", `unsupported method "${verb}" (only POST is allowed)`);
      const method = this.#methods.get(this.methodOf(path) ?? "");
      if (method === undefined) throw new TwirpRefusal("bad_route", `no handler for path "${path}"`);
      const encoding = encodingOf(contentType);
      // Without a grant nothing is permitted, but LiveKit reads the request first.
      const message = method(body, encoding, video ?? {});
      return encoding === "protobuf"
        ? { status: 200, headers: { "content-type": "application/protobuf" }, body: message.toBinary() }
        : {
          status: 200,
          headers: { "content-type": "application/json" },
          body: message.toJsonString({ emitDefaultValues: true, useProtoFieldName: true }),
        };
    } catch (error) {
      if (!(error instanceof TwirpRefusal)) throw error;
      const { code, message: msg } = error;
      const meta = code === "bad_route" ? { meta: { twirp_invalid_route: `${verb} ${path}` } } : {};
      return jsonAnswer(STATUS[code], { code, msg, ...meta });
    }
  }
}

function method<Request>(
  type: MessageType<Request>,
  isPermitted: (video: VideoGrant, request: Request) => boolean,
  run: (request: Request) => Message,
): Method {
  return (body, encoding, video) => {
    const request = decode(type, body, encoding);
    if (!isPermitted(video, request)) throw new TwirpRefusal("unauthenticated", "permissions denied");
    return run(request);
  };
}

function decode<Request>(type: MessageType<Request>, body: Uint8Array, encoding: Encoding): Request {
  try {
    return encoding === "protobuf"
      ? type.fromBinary(body)
      : type.fromJsonString(new TextDecoder("utf-8", { fatal: true }).decode(body), { ignoreUnknownFields: true });
  } catch {
    throw new TwirpRefusal("malformed", `the ${encoding} request could not be decoded`);
  }
}

function encodingOf(contentType: string): Encoding {
  switch (contentType.split(";", 1)[0]?.trim().toLowerCase()) {
    case "application/json":
      return "json";
    case "application/protobuf":
      return "protobuf";
    default:
      throw new TwirpRefusal("bad_route", `unexpected Content-Type: "${contentType}"`);
  }
}

function refuseAbsentParticipant(): never {
  throw new TwirpRefusal("not_found", livekitText("participant does not exist"));
}

// LiveKit's own errors come through Twirp with this before them.
function livekitText(text: string): string {
  return `twirp error unknown: ${text}`;
}
