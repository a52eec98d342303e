// Webhooks after they were answered: verified and taken in one after another, in the order in which they came, since a
// leave and the join that follows it mean something else the other way round.

import type { SfuEvent, Webhooks } from "./webhook_receiver.ts";
import { errorStack } from "../log/error_text.ts";
import type { Log } from "../log/log.ts";

/** What the inbox needs from outside. */
export interface InboxDeps {
  readonly webhooks: Pick<Webhooks, "receive" | "isSigned">;
  /** Who wants to know; each is told every event. */
  readonly listeners: readonly ((event: SfuEvent) => Promise<void> | void)[];
  readonly log: Log;
}

// The sweep makes good what is dropped here.
const MAX_WAITING = 5000;
const MAX_WAITING_BYTES = 32 * 1024 * 1024;

/** Takes webhooks in. */
export class Inbox {
  readonly #deps: InboxDeps;
  #tail: Promise<void> = Promise.resolve();
  #waiting = 0;
  #waitingBytes = 0;
  #isDropping = false;

  constructor(deps: InboxDeps) {
    this.#deps = deps;
  }

  /** Puts a webhook at the end of the queue. Never throws. */
  put(body: Uint8Array, authorization: string): void {
    // Anybody may post anything: it must take no room from LiveKit's. It is refused, counted and explained at once.
    if (!this.#deps.webhooks.isSigned(authorization)) return void this.#take(body, authorization);
    // A header takes up to 64 KiB of anything.
    const bytes = body.length + authorization.length;
    if (this.#waiting >= MAX_WAITING || this.#waitingBytes + bytes > MAX_WAITING_BYTES) return this.#drop();
    this.#waiting++;
    this.#waitingBytes += bytes;
    this.#tail = this.#tail.then(() => this.#take(body, authorization)).finally(() => {
      this.#waiting--;
      this.#waitingBytes -= bytes;
      if (this.#waiting === 0) this.#isDropping = false;
    });
  }

  /** Resolves when all that was put in so far is taken in. */
  async settle(): Promise<void> {
    await this.#tail;
  }

  // Said once, until the queue was empty again.
  #drop(): void {
    if (this.#isDropping) return;
    this.#isDropping = true;
    this.#deps.log.warning("Webhooks come faster than they can be taken in: some are dropped", {
      waiting: this.#waiting,
    });
  }

  async #take(body: Uint8Array, authorization: string): Promise<void> {
    try {
      const event = await this.#deps.webhooks.receive(body, authorization);
      if (event === null) return;
      for (const listener of this.#deps.listeners) await listener(event);
    } catch (error) {
      this.#deps.log.error("Cannot take a webhook in: this is a bug", { stack: errorStack(error) });
    }
  }
}
