// Webhooks as LiveKit sends them: one ordered queue a room, each retried until it is taken. (LiveKit tries five times
// within 15 s; here it is more often, since services die more often, too.)

import { randomBytes } from "node:crypto";
import { setTimeout as sleepFor } from "node:timers/promises";
import type { DisconnectReason } from "@livekit/protocol";
import { type SigningKey, signWebhook } from "./signed_webhook.ts";

/** Why a session ended; null for one that began. */
export type Reason = keyof typeof DisconnectReason | null;

/** Whom a webhook is about. */
export interface Session {
  readonly room: string;
  readonly identity: string;
  readonly sid: string;
}

interface Webhook {
  readonly body: string;
  readonly queuedAt: number;
  readonly done: (isDelivered: boolean) => void;
}

const RETRY_PAUSE_MS = 150;
const MAX_AGE_MS = 60_000;
// LiveKit waits for as long as it takes; a test does not.
const ANSWER_TIMEOUT_MS = 10_000;

/** The sender of an SFU's webhooks. */
export class SfuWebhooks implements AsyncDisposable {
  readonly #key: SigningKey;
  readonly #serviceUrl: () => string | null;
  readonly #queues = new Map<string, Webhook[]>();
  readonly #closing = new AbortController();
  readonly #deliveries = new Set<Promise<void>>();

  /** @param serviceUrl Base URL of the service to tell, asked anew for each attempt; null = nobody listens. */
  constructor(key: SigningKey, serviceUrl: () => string | null) {
    this.#key = key;
    this.#serviceUrl = serviceUrl;
  }

  /** Tells that a session began. Resolves when the webhook was taken, or dropped. */
  joined(session: Session): Promise<boolean> {
    return this.#tell("participant_joined", session, null);
  }

  /** Tells that a session ended; as {@link joined}. */
  left(session: Session, reason: Reason): Promise<boolean> {
    return this.#tell("participant_left", session, reason);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await Promise.all(this.#deliveries);
  }

  #tell(event: string, { room, identity, sid }: Session, reason: Reason): Promise<boolean> {
    const body = JSON.stringify({
      event,
      room: { name: room },
      participant: { sid, identity, ...(reason === null ? { state: "ACTIVE" } : { disconnectReason: reason }) },
      id: `EV_${randomBytes(6).toString("hex")}`,
      createdAt: String(Math.floor(Date.now() / 1000)),
    });
    return new Promise((done) => {
      const queue = this.#queues.get(room);
      const webhook = { body, queuedAt: performance.now(), done };
      if (queue !== undefined) return void queue.push(webhook);
      const fresh = [webhook];
      this.#queues.set(room, fresh);
      const delivery = this.#deliver(room, fresh).finally(() => this.#deliveries.delete(delivery));
      this.#deliveries.add(delivery);
    });
  }

  async #deliver(room: string, queue: Webhook[]): Promise<void> {
    for (let webhook = queue[0]; webhook !== undefined; webhook = queue[0]) {
      webhook.done(await this.#attempt(webhook));
      queue.shift();
    }
    this.#queues.delete(room);
  }

  async #attempt({ body, queuedAt }: Webhook): Promise<boolean> {
    const authorization = signWebhook(this.#key, body);
    while (performance.now() - queuedAt < MAX_AGE_MS && !this.#closing.signal.aborted) {
      if (await this.#post(body, authorization)) return true;
      await sleepFor(RETRY_PAUSE_MS, undefined, { signal: this.#closing.signal }).catch(() => {});
    }
    return false;
  }

  async #post(body: string, authorization: string): Promise<boolean> {
    const url = this.#serviceUrl();
    if (url === null) return false;
    try {
      const response = await fetch(`${url}/sfu_webhook`, {
        method: "POST",
        headers: { "content-type": "application/webhook+json", authorization },
        body,
        signal: AbortSignal.any([this.#closing.signal, AbortSignal.timeout(ANSWER_TIMEOUT_MS)]),
      });
      await response.body?.cancel();
      return response.status === 200;
    } catch {
      return false;
    }
  }
}
