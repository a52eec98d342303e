// Events of participants on their way to the owners of their shards, in order. While Redis is away nobody waits for it: they
// are kept, up to a bound.

import type { ParticipantEvent, StoreListener } from "../store.ts";
import type { RedisCommands } from "./commands.ts";
import type { RedisConnection } from "./connection.ts";
import type { RedisShards } from "./shards.ts";

/** What the events need from outside. */
export interface RedisEventsDeps {
  readonly redis: Pick<RedisConnection, "isUp">;
  readonly commands: Pick<RedisCommands, "pass">;
  readonly shards: Pick<RedisShards, "heldMs" | "failed">;
  readonly listener: Pick<StoreListener, "deliver">;
}

/** An event on its way. */
interface Passing {
  readonly event: ParticipantEvent;
  /** Hears whether Redis has it; null where nobody waits for that. */
  done: ((isPassed: boolean) => void) | null;
}

const BATCH = 100;
// After a gap everybody is looked up anyway: what these tell beyond that is why somebody left.
const MAX_UNSENT_EVENTS = 500;

/** Passes events on. */
export class RedisEvents {
  readonly #deps: RedisEventsDeps;
  #events: Passing[] = [];
  #passing: Promise<void> | null = null;

  constructor(deps: RedisEventsDeps) {
    this.#deps = deps;
  }

  /** Passes an event on; false when Redis does not take it now, and it is kept. */
  pass(event: ParticipantEvent): Promise<boolean> {
    const isPassed = new Promise<boolean>((done) => this.#events.push({ event, done }));
    if (this.#deps.redis.isUp) void this.flush();
    else this.stopWaiting();
    return isPassed;
  }

  /** Keeps an event for the next flush. */
  keep(event: ParticipantEvent): void {
    this.#events.push({ event, done: null });
    this.#dropOldest();
  }

  /** Passes on all there is; what Redis does not take is kept. */
  async flush(): Promise<void> {
    if (this.#events.length > 0) this.#passing ??= this.#passAll();
    await this.#passing;
  }

  /** While Redis is away nobody waits for what is to be passed on. */
  stopWaiting(): void {
    for (const passing of this.#events) {
      passing.done?.(false);
      passing.done = null;
    }
    this.#dropOldest();
  }

  /** Webhooks whose receivers wait for Redis are bounded by these. */
  #dropOldest(): void {
    let surplus = this.#events.filter(({ done }) => done === null).length - MAX_UNSENT_EVENTS;
    if (surplus > 0) this.#events = this.#events.filter(({ done }) => done !== null || surplus-- <= 0);
  }

  /** In their order; of those that waited for Redis some are for us by now. */
  async #passAll(): Promise<void> {
    const { commands, shards, listener } = this.#deps;
    try {
      while (this.#events.length > 0) {
        const batch = this.#events.slice(0, BATCH);
        const ours = batch.filter(({ event, done }) => done === null && shards.heldMs(event.room) > 0);
        await commands.pass(batch.filter((passing) => !ours.includes(passing)).map(({ event }) => event));
        this.#events = this.#events.filter((passing) => !batch.includes(passing));
        // The job may have come since the event did.
        for (const { event } of ours) listener.deliver(event);
        for (const { done } of batch) done?.(true);
      }
    } catch (error) {
      shards.failed(error);
      this.stopWaiting();
    } finally {
      this.#passing = null;
    }
  }
}
