// LiveKit's webhooks, verified: the sender by its signature before the body is read, the body by its hash afterwards,
// each once. What does not verify is counted, and logged once a minute with its likely cause.

import { hash } from "node:crypto";
import * as v from "valibot";
import type { Clock } from "../async/clock.ts";
import { BoundedMap } from "../cache/bounded_map.ts";
import type { Log } from "../log/log.ts";
import type { Secret } from "../secret.ts";
import type { ApiKey } from "./access_token.ts";
import { type JwtRefusal, verifyJwt } from "./jwt_signature.ts";
import { parseWebhook, type SfuEvent, sfuEvent } from "./sfu_event.ts";

/** What a header vouches for that LiveKit signed, checked by {@link WebhookReceiver.judge}. */
export interface WebhookClaims {
  /** SHA-256 of the body, in base64 with padding. */
  readonly sha256: string;
  /** When it was signed, s since the epoch; null where it does not say. */
  readonly signedAtSeconds: number | null;
}

/** What the receiver needs from outside. */
export interface WebhookReceiverDeps {
  /** Any of them may have signed. */
  readonly apiKeys: readonly ApiKey[];
  readonly clock: Pick<Clock, "now">;
  readonly log: Log;
}

// LiveKit sends a queued event again for up to half a minute, its body and signature unchanged. 44 bytes each.
const REMEMBERED_EVENTS = 5000;
const LEEWAY_SECONDS = 60;

// The tokens that participants get are signed with the same key: only a webhook's has a hash.
const Claims = v.object({
  sha256: v.string(),
  exp: v.number(),
  nbf: v.optional(v.number()),
  iat: v.optional(v.number()),
});

type Refusal = JwtRefusal | "no-header" | "no-webhook-token" | "expired" | "wrong-hash" | "no-event";

const CAUSES: Readonly<Record<Refusal, string>> = {
  "no-header": "no Authorization header: not sent by LiveKit",
  "no-jwt": "no JWT in the Authorization header: not sent by LiveKit",
  "unknown-issuer": "signed with another API key: LiveKit's `webhook.api_key` must be one of the keys given here",
  "wrong-algorithm": "not signed with HS256: not sent by LiveKit",
  "wrong-signature": "wrong signature: LiveKit's secret for this API key is not the one given here",
  "no-webhook-token": "the token of a participant, or of something else that is no webhook: not sent by LiveKit",
  "expired": "expired: the clocks of LiveKit and this host differ",
  "wrong-hash": "wrong body hash: a proxy changes the body on its way",
  "no-event": "not a LiveKit webhook",
};

/** Receives webhooks. */
export class WebhookReceiver {
  readonly #clock: WebhookReceiverDeps["clock"];
  readonly #log: Log;
  #secrets: ReadonlyMap<string, Secret>;
  readonly #seen = new BoundedMap<string, true>(REMEMBERED_EVENTS);
  #accepted = 0;
  #rejected = 0;
  #lastAcceptedAt: number | null = null;

  constructor({ apiKeys, clock, log }: WebhookReceiverDeps) {
    this.#secrets = secretsOf(apiKeys);
    this.#clock = clock;
    this.#log = log;
  }

  /** What came since the start: counts, and when the last genuine one came (wall clock, ms). */
  get counts(): { readonly accepted: number; readonly rejected: number; readonly lastAcceptedAt: number | null } {
    return { accepted: this.#accepted, rejected: this.#rejected, lastAcceptedAt: this.#lastAcceptedAt };
  }

  /** Takes webhooks signed with any of these keys, and with no other, from now on. */
  use(apiKeys: readonly ApiKey[]): void {
    this.#secrets = secretsOf(apiKeys);
  }

  /**
   * Judges the sender of a webhook, whose body is not known yet.
   *
   * @param authorization The `Authorization` header: the bare JWT, without "Bearer".
   * @returns null when it is not LiveKit.
   */
  judge(authorization: string): WebhookClaims | null {
    if (authorization === "") return this.#refuse("no-header");
    const verdict = verifyJwt(authorization, (issuer) => this.#secrets.get(issuer));
    if (!verdict.ok) return this.#refuse(verdict.reason);
    if (!v.is(Claims, verdict.payload)) return this.#refuse("no-webhook-token");
    const { sha256, exp, nbf, iat } = verdict.payload;
    const now = Math.floor(this.#clock.now() / 1000);
    if (exp <= now - LEEWAY_SECONDS || (nbf ?? 0) > now + LEEWAY_SECONDS) return this.#refuse("expired");
    return { sha256, signedAtSeconds: iat ?? nbf ?? null };
  }

  /**
   * Reads the body that a judged header vouches for.
   *
   * @returns null for what does not verify, and for a repeat: the same ID in the same body.
   */
  read(body: Uint8Array, { sha256, signedAtSeconds }: WebhookClaims): SfuEvent | null {
    if (hash("sha256", body, "base64") !== sha256) return this.#refuse("wrong-hash");
    const webhook = parseWebhook(body);
    if (webhook === null) return this.#refuse("no-event");
    this.#accepted++;
    this.#lastAcceptedAt = this.#clock.now();
    const isRepeat = webhook.id !== "" && this.#seen.has(sha256);
    const event = sfuEvent(webhook, { receivedAt: this.#clock.now(), signedAtSeconds });
    this.#log.debug("Received a webhook", { event: webhook.event, id: webhook.id, repeat: isRepeat, ...event });
    if (isRepeat) return null;
    this.#seen.set(sha256, true);
    return event;
  }

  #refuse(refusal: Refusal): null {
    this.#rejected++;
    const cause = CAUSES[refusal];
    this.#log.warning("Ignored a webhook that does not verify", { cause, rejected: this.#rejected, throttle: cause });
    return null;
  }
}

function secretsOf(apiKeys: readonly ApiKey[]): ReadonlyMap<string, Secret> {
  return new Map(apiKeys.map(({ name, secret }) => [name, secret]));
}
