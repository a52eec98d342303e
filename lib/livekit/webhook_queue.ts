// Webhooks after they were answered: read at once, and told to the listeners one after another, in the order in which
// they came, since a leave and the join that follows it mean something else the other way round.

import { errorStack } from "../log/error_text.ts";
import type { Log } from "../log/log.ts";
import type { SfuEvent } from "./sfu_event.ts";
import type { WebhookClaims, WebhookReceiver } from "./webhook_receiver.ts";

/** What the queue needs from outside. */
export interface WebhookQueueDeps {
  readonly receiver: Pick<WebhookReceiver, "read">;
  /** Told every event; what one waits for, the next event waits for. */
  readonly listeners: readonly ((event: SfuEvent) => Promise<void> | void)[];
  /** Told once the queue is empty again after events had no room in it. */
  readonly onLost: () => void;
  readonly log: Log;
}

// Of three names of 256 bytes each and what is around them: 10 MiB in all. Only what LiveKit signed gets here.
const MAX_WAITING = 4000;

/** Takes webhooks in. */
export class WebhookQueue {
  readonly #deps: WebhookQueueDeps;
  #tail: Promise<void> = Promise.resolve();
  #waiting = 0;
  #lost = 0;

  constructor(deps: WebhookQueueDeps) {
    this.#deps = deps;
  }

  /** Takes in the body of a webhook whose sender was judged. Never throws. */
  put(body: Uint8Array, claims: WebhookClaims): void {
    const event = this.#read(body, claims);
    if (event === null) return;
    // Those of tracks come by the thousand: they say that webhooks arrive, and that needs no turn.
    if (event.type === "other") return void this.#tell(event);
    if (this.#waiting >= MAX_WAITING) return this.#lose();
    this.#waiting++;
    this.#tail = this.#tail.then(() => this.#tell(event)).finally(() => {
      this.#waiting--;
      if (this.#waiting === 0) this.#recover();
    });
  }

  /** Resolves when all that was put in so far is taken in. */
  async settle(): Promise<void> {
    await this.#tail;
  }

  #lose(): void {
    this.#lost++;
    if (this.#lost > 1) return;
    this.#deps.log.warning(
      "Webhooks come faster than they can be taken in: some are dropped, and everybody is looked up afterwards",
      { waiting: this.#waiting },
    );
  }

  #recover(): void {
    if (this.#lost === 0) return;
    this.#lost = 0;
    try {
      this.#deps.onLost();
    } catch (error) {
      this.#report(error); // whatever comes next still has its turn
    }
  }

  #read(body: Uint8Array, claims: WebhookClaims): SfuEvent | null {
    try {
      return this.#deps.receiver.read(body, claims);
    } catch (error) {
      this.#report(error);
      return null;
    }
  }

  async #tell(event: SfuEvent): Promise<void> {
    try {
      for (const listener of this.#deps.listeners) await listener(event);
    } catch (error) {
      this.#report(error);
    }
  }

  #report(error: unknown): void {
    this.#deps.log.error("Cannot take a webhook in: this is a bug", { stack: errorStack(error) });
  }
}
