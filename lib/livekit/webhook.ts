// LiveKit's webhooks: who came and who went. Verified by LiveKit's own receiver, each event once; what does not verify
// is counted, and said once a minute with its likely cause.

import { DisconnectReason } from "@livekit/protocol";
import { WebhookReceiver } from "livekit-server-sdk";
import type { Log } from "../ops/log.ts";
import { Rarely } from "../ops/rarely.ts";
import type { ApiKey } from "./access_token.ts";
import type { Identity, RoomAlias } from "./identity.ts";

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

const TYPES: Readonly<Record<string, "joined" | "left" | "aborted">> = {
  participant_joined: "joined",
  participant_left: "left",
  participant_connection_aborted: "aborted",
};

/** Receives webhooks. */
export class Webhooks {
  readonly #deps: WebhooksDeps;
  readonly #receivers: readonly WebhookReceiver[];
  readonly #seen = new Set<string>();
  readonly #rarely: Rarely;
  #accepted = 0;
  #rejected = 0;

  constructor(deps: WebhooksDeps) {
    this.#deps = deps;
    this.#receivers = deps.apiKeys.map(({ name, secret }) => new WebhookReceiver(name, secret.reveal()));
    this.#rarely = new Rarely(deps.monotonicNow);
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
    const text = new TextDecoder().decode(body);
    let cause = "";
    for (const receiver of this.#receivers) {
      try {
        const event = await receiver.receive(text, authorization, false, CLOCK_LEEWAY_SECONDS);
        this.#accepted++;
        return this.#isNew(event.id) ? read(event) : null;
      } catch (error) {
        // Of several keys, the one that got furthest explains best.
        const found = explain(error);
        if (cause === "" || cause === WRONG_KEY) cause = found;
      }
    }
    this.#rejected++;
    this.#rarely.once(
      cause,
      () => this.#deps.log.warning("Ignored a webhook that does not verify", { cause, rejected: this.#rejected }),
    );
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

const WRONG_KEY = "signed with another API key: LiveKit's `webhook.api_key` must be one of the keys given here";

function explain(error: unknown): string {
  const text = error instanceof Error ? error.message : "";
  const code = error instanceof Error && "code" in error ? error.code : "";
  if (text.includes("authorization header is empty")) return "no Authorization header: not sent by LiveKit";
  if (text.includes("sha256")) return "wrong body hash: a proxy changes the body on its way";
  if (code === "ERR_JWT_EXPIRED" || /"nbf"/.test(text)) return "expired: the clocks of LiveKit and this host differ";
  if (code === "ERR_JWT_CLAIM_VALIDATION_FAILED") return WRONG_KEY;
  if (code === "ERR_JWS_SIGNATURE_VERIFICATION_FAILED") {
    return "wrong signature: LiveKit's secret for this API key is not the one given here";
  }
  return "not a LiveKit webhook";
}
