// Stands in for the network: records what would have gone out, and answers as a homeserver and an SFU would.

import { Room } from "@livekit/protocol";
import type { Outbound, OutboundRequest, OutboundResponse } from "../lib/net/client.ts";

/** Answers one request, or throws an OutboundError. */
export type Answer = (request: OutboundRequest) => OutboundResponse | Promise<OutboundResponse>;

/** An outbound client without a network. */
export class FakeOutbound implements Outbound {
  readonly requests: OutboundRequest[] = [];
  answer: Answer;

  constructor(answer: Answer = answerWell) {
    this.answer = answer;
  }

  async send(request: OutboundRequest): Promise<OutboundResponse> {
    this.requests.push(request);
    return await this.answer(request);
  }

  /** Requests to the SFU's API. */
  get twirp(): OutboundRequest[] {
    return this.requests.filter(isTwirp);
  }

  /** Requests to homeservers. */
  get userinfo(): OutboundRequest[] {
    return this.requests.filter((request) => !isTwirp(request));
  }
}

/** True for a call of the SFU's API. */
export function isTwirp(request: OutboundRequest): boolean {
  return request.path.includes("/twirp/");
}

/** Whatever is asked: the token is Alice's, the room is there. */
export function answerWell(request: OutboundRequest): OutboundResponse {
  return isTwirp(request)
    ? respond(200, new Room({ name: "room" }).toBinary())
    : userinfo(`@alice:${request.hostHeader}`);
}

/** What a homeserver says about a valid token. */
export function userinfo(sub: string): OutboundResponse {
  return respond(200, JSON.stringify({ sub }));
}

/** An answer with a body. */
export function respond(
  status: number,
  body: string | Uint8Array,
  headers: Readonly<Record<string, string>> = {},
): OutboundResponse {
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  return { status, headers, body: bytes, address: "192.0.2.1" };
}
