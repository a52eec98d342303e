// An SFU with people in its rooms, which tells a service of them.

import { DevelopmentSfu } from "../../testing/fake_sfu.ts";
import { type Reason, SfuWebhooks } from "../../testing/sfu_webhooks.ts";

/** A running SFU. */
export class CallSfu implements AsyncDisposable {
  readonly #sfu: DevelopmentSfu;
  readonly #webhooks: SfuWebhooks;

  private constructor(sfu: DevelopmentSfu, serviceUrl: () => string | null) {
    this.#sfu = sfu;
    this.#webhooks = new SfuWebhooks({ name: sfu.apiKey, secret: sfu.apiSecret }, serviceUrl);
  }

  /** @param serviceUrl Base URL of the service to tell; null = nobody listens. */
  static async start(serviceUrl: () => string | null): Promise<CallSfu> {
    return new CallSfu(await DevelopmentSfu.start(), serviceUrl);
  }

  /** Variables that lead a service here. */
  get variables(): Readonly<Record<string, string>> {
    return { LIVEKIT_URL: this.#sfu.url, LIVEKIT_KEY: this.#sfu.apiKey, LIVEKIT_SECRET: this.#sfu.apiSecret };
  }

  /** Somebody connects; a session that they have already ends first. Resolves when the webhook was taken, or dropped. */
  join(room: string, identity: string): Promise<boolean> {
    void this.leave(room, identity, "DUPLICATE_IDENTITY");
    this.#sfu.rooms.create({ name: room });
    const { sid = "" } = this.#sfu.rooms.join(room, { identity }) ?? {};
    return this.#webhooks.joined({ room, identity, sid });
  }

  /** Somebody goes; as {@link join}. */
  leave(room: string, identity: string, reason: Reason = "CLIENT_INITIATED"): Promise<boolean> {
    const participant = this.#sfu.leave(room, identity);
    if (participant === null) return Promise.resolve(true);
    return this.#webhooks.left({ room, identity, sid: participant.sid }, reason);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#webhooks[Symbol.asyncDispose]();
    await this.#sfu[Symbol.asyncDispose]();
  }
}
