// LiveKit's webhooks: who came and who went. Verified by LiveKit's own receiver, each event once; what does not verify
// is counted, and said once a minute with its likely cause.

import { DisconnectReason } from "@livekit/protocol";
import { WebhookReceiver } from "livekit-server-sdk";
import * as v from "valibot";
import type { Log } from "../log/log.ts";
import type { Secret } from "../secret.ts";
import type { ApiKey } from "./access_token.ts";
import type { Identity, RoomAlias } from "./identity.ts";
import { isSignedWith } from "./jwt_signature.ts";

/** What a webhook says, as far as it matters here. */
export type SfuEvent =
  | {
    readonly type: "joined" | "left" | "aborted";
    readonly room: RoomAlias;
    readonly identity: Identity;
    readonly sid: string;
    /** LiveKit's `DisconnectReason` by name; "" where there is none. */
    readonly reason: string;
  }
  | { readonly type: "room-finished"; readonly room: RoomAlias }
  /** Genuine, and of no interest. */
  | { readonly type: "other" };

/** What the webhooks need from outside. */
export interface WebhooksDeps {
  /** Any of them may have signed. */
  readonly apiKeys: readonly ApiKey[];
  readonly monotonicNow: () => number;
  readonly log: Log;
}

// LiveKit sends a queued event again for up to half a minute, under the same ID.
const REMEMBERED_EVENTS = 10_000;
const CLOCK_LEEWAY_SECONDS = 60;

const Payload = v.object({ iss: v.string() });

const TYPES: Readonly<Record<string, "joined" | "left" | "aborted">> = {
  participant_joined: "joined",
  participant_left: "left",
  participant_connection_aborted: "aborted",
};

/** Receives webhooks. */
export class Webhooks {
  readonly #deps: WebhooksDeps;
  #receivers: ReadonlyMap<string, WebhookReceiver>;
  #secrets: ReadonlyMap<string, Secret>;
  readonly #seen = new Set<string>();
  #accepted = 0;
  #rejected = 0;

  constructor(deps: WebhooksDeps) {
    this.#deps = deps;
    this.#receivers = receiversOf(deps.apiKeys);
    this.#secrets = secretsOf(deps.apiKeys);
  }

  /** Takes webhooks signed with any of these keys, and with no other, from now on. */
  use(apiKeys: readonly ApiKey[]): void {
    this.#receivers = receiversOf(apiKeys);
    this.#secrets = secretsOf(apiKeys);
  }

  /** Whether one of the keys signed the `Authorization` header; says nothing of the body, nor of when. */
  isSigned(authorization: string): boolean {
    const issuer = issuerOf(authorization);
    const secret = issuer === null ? undefined : this.#secrets.get(issuer);
    return secret !== undefined && isSignedWith(authorization, secret);
  }

  /** Genuine webhooks received. */
  get accepted(): number {
    return this.#accepted;
  }

  /** Webhooks that did not verify. */
  get rejected(): number {
    return this.#rejected;
  }

  /**
   * Verifies and reads one webhook.
   *
   * @param authorization The `Authorization` header: the bare JWT, without "Bearer".
   * @returns null for what does not verify, and for what came before.
   */
  async receive(body: Uint8Array, authorization: string): Promise<SfuEvent | null> {
    const issuer = issuerOf(authorization);
    const receiver = issuer === null ? undefined : this.#receivers.get(issuer);
    if (receiver === undefined) return this.#reject(explainIssuer(authorization, issuer));
    let event: ReceivedEvent;
    try {
      const text = new TextDecoder().decode(body);
      event = await receiver.receive(text, authorization, false, CLOCK_LEEWAY_SECONDS);
    } catch (error) {
      return this.#reject(explain(error));
    }
    this.#accepted++;
    return this.#isNew(event.id) ? read(event) : null;
  }

  #reject(cause: string): null {
    this.#rejected++;
    const fields = { cause, rejected: this.#rejected, throttle: cause };
    this.#deps.log.warning("Ignored a webhook that does not verify", fields);
    return null;
  }

  #isNew(id: string): boolean {
    if (id === "") return true;
    if (this.#seen.has(id)) return false;
    this.#seen.add(id);
    const oldest = this.#seen.values().next();
    if (this.#seen.size > REMEMBERED_EVENTS && !oldest.done) this.#seen.delete(oldest.value);
    return true;
  }
}

function receiversOf(apiKeys: readonly ApiKey[]): ReadonlyMap<string, WebhookReceiver> {
  return new Map(apiKeys.map(({ name, secret }) => [name, new WebhookReceiver(name, secret.reveal())]));
}

function secretsOf(apiKeys: readonly ApiKey[]): ReadonlyMap<string, Secret> {
  return new Map(apiKeys.map(({ name, secret }) => [name, secret]));
}

type ReceivedEvent = Awaited<ReturnType<WebhookReceiver["receive"]>>;

function read({ event, room, participant }: ReceivedEvent): SfuEvent {
  const type = TYPES[event];
  if (room === undefined) return { type: "other" };
  if (event === "room_finished") return { type: "room-finished", room: room.name as RoomAlias };
  if (type === undefined || participant === undefined) return { type: "other" };
  const reason = DisconnectReason[participant.disconnectReason] ?? "";
  return {
    type,
    room: room.name as RoomAlias,
    identity: participant.identity as Identity,
    sid: participant.sid,
    reason: reason === "UNKNOWN_REASON" ? "" : reason,
  };
}

/** The API key that a JWT says it is signed with, not verified; null for what is no JWT. */
function issuerOf(jwt: string): string | null {
  try {
    const payload = v.safeParse(Payload, JSON.parse(Buffer.from(jwt.split(".")[1] ?? "", "base64url").toString()));
    return payload.success ? payload.output.iss : null;
  } catch {
    return null;
  }
}

function explainIssuer(authorization: string, issuer: string | null): string {
  if (authorization === "") return "no Authorization header: not sent by LiveKit";
  if (issuer === null) return "no JWT in the Authorization header: not sent by LiveKit";
  return "signed with another API key: LiveKit's `webhook.api_key` must be one of the keys given here";
}

function explain(error: unknown): string {
  const text = error instanceof Error ? error.message : "";
  const code = error instanceof Error && "code" in error ? error.code : "";
  if (text.includes("sha256")) return "wrong body hash: a proxy changes the body on its way";
  if (code === "ERR_JWT_EXPIRED" || /"nbf"/.test(text)) return "expired: the clocks of LiveKit and this host differ";
  if (code === "ERR_JWS_SIGNATURE_VERIFICATION_FAILED") {
    return "wrong signature: LiveKit's secret for this API key is not the one given here";
  }
  return "not a LiveKit webhook";
}
