// Webhooks after they were answered: verified and taken in one after another, in the order in which they came, since a
// leave and the join that follows it mean something else the other way round.

import type { SfuEvent, Webhooks } from "../livekit/webhook.ts";
import type { Log } from "../ops/log.ts";

/** What the inbox needs from outside. */
export interface InboxDeps {
  readonly webhooks: Pick<Webhooks, "receive">;
  /** Who wants to know; each is told every event. */
  readonly listeners: readonly ((event: SfuEvent) => Promise<void> | void)[];
  readonly log: Log;
}

// The sweep makes good what is dropped here.
const MAX_WAITING = 5000;

/** Takes webhooks in. */
export class Inbox {
  readonly #deps: InboxDeps;
  #tail: Promise<void> = Promise.resolve();
  #waiting = 0;

  constructor(deps: InboxDeps) {
    this.#deps = deps;
  }

  /** Puts a webhook at the end of the queue. Never throws. */
  put(body: Uint8Array, authorization: string): void {
    if (this.#waiting >= MAX_WAITING) return;
    this.#waiting++;
    this.#tail = this.#tail.then(() => this.#take(body, authorization)).finally(() => this.#waiting--);
  }

  /** Resolves when all that was put in so far is taken in. */
  async settle(): Promise<void> {
    await this.#tail;
  }

  async #take(body: Uint8Array, authorization: string): Promise<void> {
    try {
      const event = await this.#deps.webhooks.receive(body, authorization);
      if (event === null) return;
      for (const listener of this.#deps.listeners) await listener(event);
    } catch (error) {
      const text = error instanceof Error ? error.stack ?? error.message : String(error);
      this.#deps.log.error("Cannot take a webhook in: this is a bug", { error: text });
    }
  }
}
