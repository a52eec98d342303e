// People who call: each hands leave events over at one of the routes, connects before or after that, reconnects, renews
// the event, leaves, and comes again. A request without an answer is repeated, as clients do.

import { setTimeout as sleepFor } from "node:timers/promises";
import { hashedIdentity, LEGACY_SLOT, legacyIdentity, roomAlias } from "../../lib/livekit/identity.ts";
import type { DelayedEvent } from "../../testing/delayed_events.ts";
import type { Homeservers } from "../../testing/fake_homeservers.ts";
import type { CallSfu } from "./sfu.ts";

/** One stay in a call, by the monotonic clock in ms. */
export interface Visit {
  joinedAt: number | null;
  leftAt: number | null;
}

/** A leave event that somebody handed over, or tried to. */
export interface Story {
  readonly event: DelayedEvent;
  readonly visit: Visit;
  /** On the SFU. */
  readonly room: string;
  /** When the 200 came; null while it did not. */
  acknowledgedAt: number | null;
  /** When the client began to hand another event over in its place. */
  supersededAt: number | null;
}

/** Where people live. */
export interface Neighbourhood {
  readonly homeservers: Homeservers;
  readonly sfu: CallSfu;
  /** A service to ask; null = none listens. */
  readonly serviceUrl: () => string | null;
  /** Whether a process was not killed. */
  readonly isAlive: (life: string) => boolean;
  /** Delays of their events, in ms. */
  readonly delaysMs: readonly number[];
  /** How long they stay after they are known to be there, at most, in ms. */
  readonly maxStayMs: number;
  readonly rooms: number;
}

type Route = "/sfu/get" | "/get_token" | "/delegate_delayed_leave";

const ROUTES: readonly Route[] = ["/sfu/get", "/get_token", "/delegate_delayed_leave"];
const RENEWAL_SHARE = 0.2;
const RECONNECT_SHARE = 0.2;
const RETRY_PAUSE_MS = 100;
const REQUEST_TIMEOUT_MS = 12_000;
// Whose event takes longer calls as another user meanwhile: one has four events in a room at most.
const PATIENCE_MS = 3000;
// Nobody leaves before the service has shown that it knows of them: where a process takes the tidings of both their coming
// and their going to its grave, the next one waits for them to come.
const NOTED_AFTER_MS = 300;
const KNOWN_WITHIN_MS = 20_000;

/** People, and what they have lived through. */
export class People {
  readonly stories: Story[] = [];
  /** Answers that no client should have got: route, status and body. */
  readonly refusals: string[] = [];
  /** Hand-overs under way. */
  asking = 0;
  /** Called after each 200. */
  onAcknowledged: () => void = () => {};
  readonly #here: Neighbourhood;
  readonly #ending = new AbortController();
  readonly #lives: Promise<void>[] = [];
  #devices = 0;

  constructor(here: Neighbourhood) {
    this.#here = here;
  }

  /** So many people call, again and again. */
  begin(count: number): void {
    for (let n = 0; n < count; n++) this.#lives.push(this.#live(n));
  }

  /** Everybody hands over what they were about to, leaves, and does not come again. */
  async end(): Promise<void> {
    this.#ending.abort();
    await Promise.all(this.#lives);
  }

  async #live(n: number): Promise<void> {
    const { homeservers, rooms } = this.#here;
    const homeserver = homeservers.names[n % homeservers.names.length];
    const roomId = `!room${n % rooms}:example.com`;
    await this.#pause(1000);
    let device = ++this.#devices;
    while (!this.#ending.signal.aborted) {
      const isSettled = await this.#call(`@user${device}:${homeserver}`, `D${device}`, roomId);
      if (!isSettled) device = ++this.#devices;
      await this.#pause(500);
    }
  }

  /** @returns Whether the leave event was over soon after the leave. */
  async #call(userId: string, device: string, roomId: string): Promise<boolean> {
    const { sfu, maxStayMs } = this.#here;
    const route = pick(ROUTES);
    // Whoever uses the third route may have got their token at either of the others.
    const isLegacy = route === "/sfu/get" || route === "/delegate_delayed_leave" && Math.random() < 0.5;
    const identity = isLegacy ? legacyIdentity(userId, device) : hashedIdentity(userId, device, "member");
    const room = roomAlias(roomId, LEGACY_SLOT);
    const visit: Visit = { joinedAt: null, leftAt: null };
    const join = () => {
      visit.joinedAt ??= performance.now();
      void sfu.join(room, identity);
    };
    const handOver = () => this.#handOver(route, userId, device, roomId, visit);

    const joinsFirst = Math.random() < 0.5;
    if (joinsFirst) join();
    let story = await handOver();
    if (!joinsFirst) {
      await this.#pause(1500);
      join();
    }
    const knownUntil = performance.now() + KNOWN_WITHIN_MS;
    while (!this.#isKnown(story.event) && performance.now() < knownUntil) await sleepFor(20);
    await this.#pause(maxStayMs);
    if (Math.random() < RECONNECT_SHARE) join();
    if (Math.random() < RENEWAL_SHARE) {
      const old = story;
      old.supersededAt = performance.now();
      story = await handOver();
      this.#here.homeservers.cancel(old.event);
      await this.#pause(maxStayMs);
    }
    visit.leftAt = performance.now();
    // Not CONNECTION_TIMEOUT: a client that dies is noticed after 20 s, and nobody stays that long.
    void sfu.leave(room, identity, Math.random() < 0.5 ? "CLIENT_INITIATED" : "PARTICIPANT_REMOVED");
    const giveUpAt = performance.now() + PATIENCE_MS;
    while (performance.now() < giveUpAt && this.#here.homeservers.settle(story.event).end === null) {
      await sleepFor(20);
    }
    return story.event.end !== null;
  }

  async #handOver(route: Route, userId: string, device: string, roomId: string, visit: Visit): Promise<Story> {
    const { homeservers } = this.#here;
    const token = homeservers.mintToken(userId);
    const event = homeservers.schedule(token.matrix_server_name, pick(this.#here.delaysMs));
    const story: Story = {
      event,
      visit,
      room: roomAlias(roomId, LEGACY_SLOT),
      acknowledgedAt: null,
      supersededAt: null,
    };
    this.stories.push(story);
    const body = bodyOf(route, token, userId, device, roomId, event);
    while (!await this.#ask(route, body)) await sleepFor(RETRY_PAUSE_MS);
    story.acknowledgedAt = performance.now();
    this.onAcknowledged();
    return story;
  }

  /** @returns Whether it was taken. */
  async #ask(route: Route, body: string): Promise<boolean> {
    const url = this.#here.serviceUrl();
    if (url === null) return false;
    this.asking++;
    try {
      const signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
      const response = await fetch(`${url}${route}`, { method: "POST", body, signal });
      const text = await response.text();
      // A service that ends says 503.
      if (response.status !== 200 && response.status !== 503) {
        this.refusals.push(`${route}: ${response.status} ${text.trim()}`);
      }
      return response.status === 200;
    } catch {
      return false;
    } finally {
      this.asking--;
    }
  }

  /** Whether a process that lives knows of somebody for so long that the next one will, too. */
  #isKnown({ calls }: DelayedEvent): boolean {
    const since = performance.now() - NOTED_AFTER_MS;
    return calls.some(({ action, status, answeredAt, life }) =>
      action === "restart" && status === 200 && answeredAt !== null && answeredAt <= since && this.#here.isAlive(life)
    );
  }

  async #pause(maxMs: number): Promise<void> {
    await sleepFor(Math.random() * maxMs, undefined, { signal: this.#ending.signal }).catch(() => {});
  }
}

function bodyOf(
  route: Route,
  openid_token: unknown,
  userId: string,
  device: string,
  roomId: string,
  { delayId, delayMs }: DelayedEvent,
): string {
  const delay = { delay_id: delayId, delay_timeout: delayMs };
  if (route === "/sfu/get") return JSON.stringify({ room: roomId, openid_token, device_id: device, ...delay });
  const member = { id: "member", claimed_user_id: userId, claimed_device_id: device };
  return JSON.stringify({ room_id: roomId, slot_id: LEGACY_SLOT, openid_token, member, ...delay });
}

function pick<Item>(items: readonly Item[]): Item {
  const item = items[Math.floor(Math.random() * items.length)];
  if (item === undefined) throw new TypeError("Nothing to pick from");
  return item;
}
