// What can happen in a simulated world, as commands that fast-check makes up and shrinks: people, the SFU, the
// homeserver, the service's host, each with its faults.

import fc from "fast-check";
import type { Delegation } from "../../lib/leave/machine/job.ts";
import type { HomeserverMode } from "../../testing/scripted_homeserver.ts";
import type { ApiMode, WebhookFate } from "./scripted_sfu.ts";
import { person, type World } from "./world.ts";

/** One thing that happens. */
export type Command =
  | { readonly what: "wait"; readonly ms: number }
  | { readonly what: "reconnect" | "leave" | "drop" | "return" | "delegate"; readonly who: number }
  | { readonly what: "abort"; readonly who: number; readonly reason: string }
  | { readonly what: "crash"; readonly backAfterMs: number }
  | { readonly what: "api"; readonly mode: ApiMode }
  | { readonly what: "webhooks"; readonly fate: WebhookFate }
  | { readonly what: "homeserver"; readonly mode: HomeserverMode }
  | { readonly what: "clock" | "suspend" | "stall" | "restart"; readonly ms: number }
  | { readonly what: "gap" };

/** Who takes part: 0 stays all the time, by whatever reconnects; the others come and go, number 2 by its legacy name. */
export const PEOPLE = 3;

const CRASH_INTERVAL_MS = 120_000;
const START_MS = 1000;
const MAX_CLOCK_ERROR_MS = 1_200_000;

const wait = fc.record({ what: fc.constant("wait" as const), ms: fc.integer({ min: 1, max: 100_000 }) });
const short = fc.record({ what: fc.constant("wait" as const), ms: fc.integer({ min: 1, max: 3000 }) });
const anybody = fc.record({
  what: fc.constantFrom("reconnect" as const, "delegate" as const),
  who: fc.nat({ max: PEOPLE - 1 }),
});
const visitor = fc.record({
  what: fc.constantFrom("leave" as const, "drop" as const, "return" as const),
  who: fc.integer({ min: 1, max: PEOPLE - 1 }),
});
const abort = fc.record({
  what: fc.constant("abort" as const),
  who: fc.integer({ min: 1, max: PEOPLE - 1 }),
  reason: fc.constantFrom("CLIENT_INITIATED", "SIGNAL_CLOSE", "JOIN_FAILURE"),
});
const sfu = fc.oneof(
  fc.record({ what: fc.constant("crash" as const), backAfterMs: fc.integer({ min: 100, max: 40_000 }) }),
  fc.record({
    what: fc.constant("api" as const),
    mode: fc.constantFrom<ApiMode[]>("up", "up", "refusing", "silent"),
  }),
  fc.record({
    what: fc.constant("webhooks" as const),
    fate: fc.constantFrom<WebhookFate[]>("prompt", "late", "twice", "halved", "lost"),
  }),
);
const homeserver = fc.record({
  what: fc.constant("homeserver" as const),
  mode: fc.constantFrom<HomeserverMode[]>("up", "up", "broken", "away", "deaf", "mute"),
});
const host = fc.oneof(
  fc.record({
    what: fc.constantFrom("suspend" as const, "stall" as const, "restart" as const),
    ms: fc.integer({ min: 100, max: 200_000 }),
  }),
  fc.record({ what: fc.constant("clock" as const), ms: fc.integer({ min: -1_000_000, max: 1_000_000 }) }),
  fc.constant({ what: "gap" as const }),
);

/** People and an SFU with faults; a homeserver and a service that are well. */
export const calmScript: fc.Arbitrary<Command[]> = fc.array(fc.oneof(wait, short, anybody, visitor, abort, sfu), {
  maxLength: 25,
  size: "max",
});

/** Everything. */
export const wildScript: fc.Arbitrary<Command[]> = fc.array(
  fc.oneof(wait, short, anybody, visitor, abort, sfu, homeserver, host),
  { maxLength: 30, size: "max" },
);

/** Plays commands in a world. */
export class Play {
  readonly #world: World;
  readonly #delayMs: number;
  #delayIds = 0;
  #crashedAt = -Infinity;
  #clockMs = 0;

  constructor(world: World, delayMs: number) {
    this.#world = world;
    this.#delayMs = delayMs;
  }

  /** Everybody connects and hands a leave over. */
  async begin(): Promise<void> {
    for (let who = 0; who < PEOPLE; who++) await this.come(who);
  }

  /** Somebody is in the call from now on, with a new leave event. */
  async come(who: number): Promise<void> {
    this.join(who);
    await this.delegate(who);
  }

  join(who: number): void {
    const { room, identity } = this.#nameOf(who);
    this.#world.sfu.join(room, identity);
  }

  isHere(who: number): boolean {
    const { room, identity } = this.#nameOf(who);
    return this.#world.sfu.isPresent(room, identity);
  }

  async delegate(who: number): Promise<void> {
    await this.#world.delegate(person(who, who % 2, this.#delayMs, `syd_${who}_${++this.#delayIds}`));
  }

  async run(command: Command): Promise<void> {
    const { time, sfu, homeserver, store } = this.#world;
    switch (command.what) {
      case "wait":
        return await time.advance(command.ms);
      case "reconnect":
        return this.isHere(command.who) ? this.join(command.who) : undefined;
      case "leave":
      case "drop": {
        const { room, identity } = this.#nameOf(command.who);
        return sfu.leave(room, identity, command.what === "leave" ? "CLIENT_INITIATED" : "CONNECTION_TIMEOUT");
      }
      case "return":
        return this.isHere(command.who) ? undefined : await this.come(command.who);
      case "delegate":
        return this.isHere(command.who) ? await this.delegate(command.who) : undefined;
      case "abort": {
        const { room, identity } = this.#nameOf(command.who);
        return sfu.abort(room, identity, command.reason);
      }
      case "crash": {
        // Two crashes within a minute look like one long absence to whoever gets no webhook.
        if (time.elapsed() - this.#crashedAt < CRASH_INTERVAL_MS) return;
        this.#crashedAt = time.elapsed();
        const here = [...Array(PEOPLE).keys()].filter((who) => this.isHere(who));
        sfu.crash();
        // It takes a moment to start.
        const { api } = sfu;
        sfu.api = "refusing";
        await time.advance(START_MS);
        sfu.api = api;
        for (const who of here) {
          time.after(command.backAfterMs, () => this.isHere(who) ? undefined : this.join(who));
        }
        return;
      }
      case "api":
        sfu.api = command.mode;
        return;
      case "webhooks":
        sfu.webhooks = command.fate;
        return;
      case "homeserver":
        homeserver.mode = command.mode;
        return;
      case "clock":
        // An hour would be more than a job is kept past its deadline.
        if (Math.abs(this.#clockMs + command.ms) > MAX_CLOCK_ERROR_MS) return;
        this.#clockMs += command.ms;
        return time.jumpWallClock(command.ms);
      case "suspend":
        return time.suspend(command.ms);
      case "stall":
        return time.stall(command.ms);
      case "restart":
        return await this.#world.restartService(command.ms);
      case "gap":
        return store.gap();
    }
  }

  /** From now on all is well. */
  heal(): void {
    const { sfu, homeserver } = this.#world;
    sfu.api = "up";
    sfu.webhooks = "prompt";
    homeserver.mode = "up";
  }

  #nameOf(who: number): Pick<Delegation, "room" | "identity"> {
    const { room, identity, watched } = person(who, who % 2, this.#delayMs);
    return { room, identity: who === 2 ? watched[1] ?? identity : identity };
  }
}
