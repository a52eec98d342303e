// What can happen in a simulated world, as commands that fast-check makes up and shrinks: people, the SFU, homeservers, the
// service's host, each with its faults, and strangers who mean no good.

import fc from "fast-check";
import type { RoomAlias } from "../../lib/livekit/identity.ts";
import type { HomeserverMode } from "../../testing/scripted_homeserver.ts";
import { type ApiMode, FULL_RECONNECT_MS, type WebhookFate } from "./scripted_sfu.ts";
import { EVIL, person, type World } from "./world.ts";

/** One thing that happens. */
export type Command =
  | { readonly what: "wait"; readonly ms: number }
  | { readonly what: "reconnect" | "full reconnect" | "leave" | "die" | "return" | "delegate"; readonly who: number }
  /** Dies, and is back after a while: delegates first, as LiveKit still shows the session that died. */
  | { readonly what: "die and rejoin"; readonly who: number; readonly afterMs: number }
  /** Delegates before the membership and before the join. */
  | { readonly what: "delegate early"; readonly who: number; readonly joinAfterMs: number }
  | { readonly what: "abort"; readonly who: number; readonly reason: string }
  | { readonly what: "crash"; readonly backAfterMs: number }
  | { readonly what: "api"; readonly mode: ApiMode }
  | { readonly what: "hang"; readonly room: number; readonly isHanging: boolean }
  | { readonly what: "webhooks"; readonly fate: WebhookFate }
  | { readonly what: "SFU clock"; readonly aheadMs: number }
  | { readonly what: "homeserver"; readonly mode: HomeserverMode }
  | { readonly what: "slow homeserver"; readonly latencyMs: number }
  | { readonly what: "misrouted worker"; readonly ms: number }
  | { readonly what: "hostile user" | "hostile server" }
  | { readonly what: "clock" | "suspend" | "stall" | "restart"; readonly ms: number }
  | { readonly what: "gap" };

/** Who takes part: 0 stays all the time, by whatever reconnects; the others come and go, number 2 by its legacy name. */
export const PEOPLE = 3;

const CRASH_INTERVAL_MS = 120_000;
const START_MS = 1000;
const PAGE_LOAD_MS = 50;
// LiveKit orders a full reconnect of a session that stands.
const STANDS_AFTER_MS = 1000;
const MAX_CLOCK_ERROR_MS = 1_200_000;
const HOSTILE_JOBS = 4;
const MIN_DELAY_IN_A_FLOOD_MS = 100_000;

const wait = fc.record({ what: fc.constant("wait" as const), ms: fc.integer({ min: 1, max: 100_000 }) });
const short = fc.record({ what: fc.constant("wait" as const), ms: fc.integer({ min: 1, max: 3000 }) });
const anybody = fc.record({
  what: fc.constantFrom("reconnect" as const, "full reconnect" as const, "delegate" as const),
  who: fc.nat({ max: PEOPLE - 1 }),
});
const visitorNumber = fc.integer({ min: 1, max: PEOPLE - 1 });
const visitor = fc.oneof(
  fc.record({ what: fc.constantFrom("leave" as const, "die" as const, "return" as const), who: visitorNumber }),
  fc.record({
    what: fc.constant("die and rejoin" as const),
    who: visitorNumber,
    afterMs: fc.integer({ min: 17_000, max: 23_000 }),
  }),
  fc.record({
    what: fc.constant("delegate early" as const),
    who: visitorNumber,
    joinAfterMs: fc.integer({ min: 1, max: 5000 }),
  }),
  fc.record({
    what: fc.constant("abort" as const),
    who: visitorNumber,
    reason: fc.constantFrom("CLIENT_INITIATED", "SIGNAL_CLOSE", "JOIN_FAILURE"),
  }),
);
const sfu = fc.oneof(
  fc.record({ what: fc.constant("crash" as const), backAfterMs: fc.integer({ min: 100, max: 40_000 }) }),
  fc.record({
    what: fc.constant("api" as const),
    mode: fc.constantFrom<ApiMode[]>("up", "up", "refusing", "silent"),
  }),
  fc.record({ what: fc.constant("hang" as const), room: fc.nat({ max: 1 }), isHanging: fc.boolean() }),
  fc.record({
    what: fc.constant("webhooks" as const),
    fate: fc.constantFrom<WebhookFate[]>("prompt", "late", "twice", "halved", "lost"),
  }),
  fc.record({ what: fc.constant("SFU clock" as const), aheadMs: fc.integer({ min: -5000, max: 5000 }) }),
);
const strangers = fc.record({ what: fc.constantFrom("hostile user" as const, "hostile server" as const) });
const slow = fc.oneof(
  fc.record({ what: fc.constant("slow homeserver" as const), latencyMs: fc.constantFrom(0, 3000, 6000) }),
  fc.record({ what: fc.constant("misrouted worker" as const), ms: fc.integer({ min: 100, max: 5000 }) }),
);
const homeserver = fc.record({
  what: fc.constant("homeserver" as const),
  mode: fc.constantFrom<HomeserverMode[]>("up", "up", "broken", "away", "deaf", "mute", "misrouted"),
});
const host = fc.oneof(
  fc.record({
    what: fc.constantFrom("suspend" as const, "stall" as const, "restart" as const),
    ms: fc.integer({ min: 100, max: 200_000 }),
  }),
  fc.record({ what: fc.constant("clock" as const), ms: fc.integer({ min: -1_000_000, max: 1_000_000 }) }),
  fc.constant({ what: "gap" as const }),
);

/** People, strangers and an SFU with faults; a homeserver that is slow at most, and a service that is well. */
export const calmScript: fc.Arbitrary<Command[]> = fc.array(
  fc.oneof(wait, short, anybody, visitor, sfu, slow, strangers),
  { maxLength: 25, size: "max" },
);

/** Everything. */
export const wildScript: fc.Arbitrary<Command[]> = fc.array(
  fc.oneof(wait, short, anybody, visitor, sfu, slow, strangers, homeserver, host),
  { maxLength: 30, size: "max" },
);

/** Plays commands in a world. */
export class Play {
  readonly #world: World;
  readonly #delayMs: number;
  readonly #joinedAt = new Map<number, number>();
  #delayIds = 0;
  #crashedAt = -Infinity;
  #clockMs = 0;
  #isSetBack = false;
  #isSfuDown = false;

  constructor(world: World, delayMs: number) {
    this.#world = world;
    this.#delayMs = delayMs;
  }

  /** Everybody connects and delegates a leave. */
  async begin(): Promise<void> {
    for (let who = 0; who < PEOPLE; who++) await this.come(who);
  }

  /** Somebody is in the call from now on, with a new leave event. */
  async come(who: number): Promise<void> {
    this.#join(who);
    await this.delegate(who);
  }

  /** Whether somebody's client is alive, and means to be in the call. */
  isAlive(who: number): boolean {
    return this.#world.alive.has(who);
  }

  async delegate(who: number): Promise<void> {
    this.#world.alive.add(who);
    await this.#world.delegate(person(who, who % 2, this.#delayMs, `syd_${who}_${++this.#delayIds}`));
  }

  async run(command: Command): Promise<void> {
    const { time, sfu, homeserver, store } = this.#world;
    switch (command.what) {
      case "wait":
        return await time.advance(command.ms);
      case "reconnect":
        return this.isAlive(command.who) ? this.#join(command.who) : undefined;
      case "full reconnect": {
        if (!this.isAlive(command.who)) return;
        const { room, identity } = this.#nameOf(command.who);
        if (time.elapsed() - (this.#joinedAt.get(command.who) ?? 0) < STANDS_AFTER_MS) return;
        sfu.leave(room, identity, "STATE_MISMATCH");
        return this.#rejoin(command.who, FULL_RECONNECT_MS);
      }
      case "leave":
      case "die": {
        if (!this.isAlive(command.who)) return;
        this.#world.alive.delete(command.who);
        const { room, identity } = this.#nameOf(command.who);
        return command.what === "leave" ? sfu.leave(room, identity, "CLIENT_INITIATED") : sfu.die(room, identity);
      }
      case "die and rejoin":
        await this.run({ what: "die", who: command.who });
        await time.advance(command.afterMs);
        return await this.run({ what: "delegate early", who: command.who, joinAfterMs: 300 });
      case "delegate early":
        if (this.isAlive(command.who)) return;
        // LiveKit tells at once who left; a page takes longer to load.
        await time.advance(PAGE_LOAD_MS);
        await this.delegate(command.who);
        return this.#rejoin(command.who, command.joinAfterMs);
      case "return":
        if (this.isAlive(command.who)) return;
        await time.advance(PAGE_LOAD_MS);
        return await this.come(command.who);
      case "delegate":
        return this.isAlive(command.who) ? await this.delegate(command.who) : undefined;
      case "abort": {
        const { room, identity } = this.#nameOf(command.who);
        return sfu.abort(room, identity, command.reason);
      }
      case "crash": {
        // Two crashes within a minute look like one long absence to whoever gets no webhook.
        if (time.elapsed() - this.#crashedAt < CRASH_INTERVAL_MS) return;
        // After a start by a clock that was set back, a room that was made since looks older than a session from before.
        if (this.#isSetBack) return;
        this.#crashedAt = time.elapsed();
        sfu.crash();
        for (let who = 0; who < PEOPLE; who++) this.#rejoin(who, Math.max(command.backAfterMs, START_MS), true);
        // It takes a moment to start.
        const { api } = sfu;
        sfu.api = "refusing";
        this.#isSfuDown = true;
        await time.advance(START_MS);
        this.#isSfuDown = false;
        sfu.api = api;
        return;
      }
      case "api":
        sfu.api = command.mode;
        return;
      case "hang": {
        const { room } = this.#nameOf(command.room);
        return void (command.isHanging ? sfu.hanging.add(room) : sfu.hanging.delete(room));
      }
      case "webhooks":
        sfu.webhooks = command.fate;
        return;
      case "SFU clock":
        sfu.clockAheadMs = command.aheadMs;
        return;
      case "homeserver":
        homeserver.mode = command.mode;
        return;
      case "slow homeserver":
        if (homeserver.mode !== "misrouted") homeserver.latencyMs = command.latencyMs;
        return;
      case "misrouted worker": {
        // Tries in vain at a delay of 10 s take more than the call a second that is known to be allowed.
        if (homeserver.mode !== "up" || homeserver.latencyMs > 0 || this.#delayMs < MIN_DELAY_IN_A_FLOOD_MS) return;
        homeserver.mode = "misrouted";
        time.after(command.ms, () => {
          if (homeserver.mode === "misrouted") homeserver.mode = "up";
        });
        return;
      }
      case "hostile user":
      case "hostile server":
        return await this.#floodWith(command.what);
      case "clock":
        // An hour would be more than a job is kept past its deadline.
        if (Math.abs(this.#clockMs + command.ms) > MAX_CLOCK_ERROR_MS) return;
        if (command.ms < 0 && time.elapsed() - this.#crashedAt < CRASH_INTERVAL_MS) return;
        this.#isSetBack ||= command.ms < 0;
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
    sfu.hanging.clear();
    sfu.clockAheadMs = 0;
    homeserver.mode = "up";
    homeserver.latencyMs = 0;
  }

  // Events of a delay of a second each, which want a call a second; those of a server that never answers hold on to it.
  async #floodWith(who: "hostile user" | "hostile server"): Promise<void> {
    // At a delay of 10 s the call a second that is known to be allowed at first is all used up by those who mean well.
    if (this.#delayMs < MIN_DELAY_IN_A_FLOOD_MS) return;
    for (let n = 0; n < HOSTILE_JOBS; n++) {
      const delayId = `hostile_${++this.#delayIds}`;
      const one = person(who === "hostile user" ? 66 : 1000 + this.#delayIds, 10 + n, 1000, delayId);
      this.#world.sfu.join(one.room, one.identity);
      await this.#world.delegate(one, who === "hostile user" ? undefined : EVIL);
    }
  }

  /** @param isBack Only who is not there connects. */
  #rejoin(who: number, afterMs: number, isBack = false): void {
    const { time, sfu } = this.#world;
    const { room, identity } = this.#nameOf(who);
    time.after(afterMs, () => {
      if (this.#isSfuDown) return this.#rejoin(who, START_MS, true);
      // A session that died is replaced by the one that begins.
      if (this.isAlive(who) && (!isBack || !sfu.isPresent(room, identity))) this.#join(who);
    });
  }

  #join(who: number): void {
    const { room, identity } = this.#nameOf(who);
    this.#joinedAt.set(who, this.#world.time.elapsed());
    this.#world.sfu.join(room, identity);
  }

  #nameOf(who: number): Pick<ReturnType<typeof person>, "identity"> & { readonly room: RoomAlias } {
    const { room, identity, watched } = person(who, who % 2, this.#delayMs);
    return { room, identity: who === 2 ? watched[1] ?? identity : identity };
  }
}
