// An SFU with people in its rooms, that tells of them as LiveKit does: one ordered queue of webhooks a room, each retried
// until it is taken. (LiveKit tries five times within 15 s; here it is more often, since services die more often, too.)

import { createHash, randomBytes } from "node:crypto";
import { setTimeout as sleepFor } from "node:timers/promises";
import { AccessToken } from "livekit-server-sdk";
import { DevelopmentSfu } from "../../testing/fake_sfu.ts";

/** Why a session ended, or "" for one that began. */
export type Reason = "" | "CLIENT_INITIATED" | "CONNECTION_TIMEOUT" | "DUPLICATE_IDENTITY";

interface Webhook {
  readonly body: string;
  readonly queuedAt: number;
  readonly done: (isDelivered: boolean) => void;
}

const RETRY_PAUSE_MS = 150;
const MAX_AGE_MS = 60_000;
// LiveKit waits for as long as it takes; a test does not.
const ANSWER_TIMEOUT_MS = 10_000;

/** A running SFU. */
export class CallSfu implements AsyncDisposable {
  /** Webhooks that were answered with 200, and those that were given up. */
  delivered = 0;
  dropped = 0;
  readonly #sfu: DevelopmentSfu;
  readonly #webhookUrl: () => string | null;
  readonly #queues = new Map<string, Webhook[]>();
  readonly #closing = new AbortController();
  readonly #deliveries = new Set<Promise<void>>();

  private constructor(sfu: DevelopmentSfu, webhookUrl: () => string | null) {
    this.#sfu = sfu;
    this.#webhookUrl = webhookUrl;
  }

  /** @param webhookUrl Base URL of the service to tell, asked anew for each attempt; null = nobody listens. */
  static async start(webhookUrl: () => string | null): Promise<CallSfu> {
    return new CallSfu(await DevelopmentSfu.start(), webhookUrl);
  }

  /** Variables that lead a service here. */
  get variables(): Readonly<Record<string, string>> {
    return { LIVEKIT_URL: this.#sfu.url, LIVEKIT_KEY: this.#sfu.apiKey, LIVEKIT_SECRET: this.#sfu.apiSecret };
  }

  /** Somebody connects; a session that they have already ends first. Resolves when the webhook was taken, or dropped. */
  join(room: string, identity: string): Promise<boolean> {
    const old = this.#sfu.leave(room, identity);
    if (old !== null) void this.#tell("participant_left", room, identity, old.sid, "DUPLICATE_IDENTITY");
    this.#sfu.rooms.create({ name: room });
    const { sid = "" } = this.#sfu.rooms.join(room, { identity }) ?? {};
    return this.#tell("participant_joined", room, identity, sid, "");
  }

  /** Somebody goes; as {@link join}. */
  leave(room: string, identity: string, reason: Reason = "CLIENT_INITIATED"): Promise<boolean> {
    const participant = this.#sfu.leave(room, identity);
    if (participant === null) return Promise.resolve(true);
    return this.#tell("participant_left", room, identity, participant.sid, reason);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await Promise.all(this.#deliveries);
    await this.#sfu[Symbol.asyncDispose]();
  }

  #tell(event: string, room: string, identity: string, sid: string, reason: Reason): Promise<boolean> {
    const body = JSON.stringify({
      event,
      room: { name: room },
      participant: { sid, identity, ...(reason === "" ? { state: "ACTIVE" } : { disconnectReason: reason }) },
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
      const isDelivered = await this.#attempt(webhook);
      if (isDelivered) this.delivered++;
      else this.dropped++;
      webhook.done(isDelivered);
      queue.shift();
    }
    this.#queues.delete(room);
  }

  async #attempt({ body, queuedAt }: Webhook): Promise<boolean> {
    const token = new AccessToken(this.#sfu.apiKey, this.#sfu.apiSecret, { ttl: 300 });
    token.sha256 = createHash("sha256").update(body).digest("base64");
    const authorization = await token.toJwt();
    while (performance.now() - queuedAt < MAX_AGE_MS && !this.#closing.signal.aborted) {
      if (await this.#post(body, authorization)) return true;
      await sleepFor(RETRY_PAUSE_MS, undefined, { signal: this.#closing.signal }).catch(() => {});
    }
    return false;
  }

  async #post(body: string, authorization: string): Promise<boolean> {
    const url = this.#webhookUrl();
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
