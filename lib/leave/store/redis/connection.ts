// The connections to Redis: one for commands, one that listens. No command waits longer than its time-out, and while Redis
// is away none is sent, so that nobody waits for a server that is known not to answer.

import type { Redis } from "ioredis";
import type { Log } from "../../../log/log.ts";
import { createRedisClient, keepConnected } from "../../../redis/client.ts";
import type { RedisTarget } from "../../../redis/url.ts";
import { FREE_CHANNEL, KEYS, wakeKey } from "./keys.ts";
import { type ScriptName, SCRIPTS, type StoreScript } from "./scripts.ts";

/** What the connections need from outside. */
export interface RedisConnectionDeps {
  readonly target: RedisTarget;
  /** Unique among all replicas, and new at each start of the process; no spaces. */
  readonly replica: string;
  readonly monotonicNow: () => number;
  readonly log: Log;
}

/** What the connections tell. */
export interface RedisListener {
  /** Commands can be sent (again). */
  connected(): void;
  /** Something has arrived for a room of this replica, or for all of them. */
  woken(roomText: string | null): void;
  /** There are rooms to be claimed. */
  roomsFreed(): void;
}

/** Redis did not do what was asked: not reachable, not in time, or refused. The message holds no secret. */
export class RedisError extends Error {
  override name = "RedisError";
}

// A server that took a connection and does not answer may have a successor elsewhere.
const TIMEOUTS_BEFORE_RECONNECT = 2;

/** Speaks to Redis. */
export class RedisConnection {
  readonly replica: string;
  /** The address, for logs. */
  readonly description: string;
  /** The client itself, for libraries that bring their own commands. */
  readonly client: Redis;
  readonly #subscriber: Redis;
  readonly #deps: RedisConnectionDeps;
  #disconnect: (() => Promise<void>)[] = [];
  #isUp = false;
  #wasUp = false;
  #replicas = 1;
  #timeouts = 0;
  #lastError = "it does not answer";
  #isClosed = false;

  /** Opens no connection yet. */
  constructor(deps: RedisConnectionDeps) {
    this.#deps = deps;
    this.replica = deps.replica;
    this.description = deps.target.description;
    this.client = createRedisClient(deps.target, { scripts: SCRIPTS });
    // A subscription waits for the server, however long that takes, and is renewed by the client.
    this.#subscriber = createRedisClient(deps.target, {
      maxRetriesPerRequest: null,
      enableOfflineQueue: true,
      commandTimeout: undefined,
    });
  }

  /** Whether Redis answered when it was last asked. While it did not, callers go without it at once. */
  get isUp(): boolean {
    return this.#isUp;
  }

  /** Connects, in the background and again and again. */
  start(listener: RedisListener): void {
    this.client.on("ready", () => listener.connected());
    const wake = wakeKey(this.replica);
    this.#subscriber.on("message", (channel: string, roomText: string) => {
      if (channel === wake) listener.woken(roomText);
      else listener.roomsFreed();
    });
    // Messages may have been missed.
    this.#subscriber.on("ready", () => listener.woken(null));
    this.#disconnect = [
      keepConnected(this.client, (error) => this.#lastError = this.#textOf(error)),
      keepConnected(this.#subscriber, () => {}),
    ];
    this.#subscriber.subscribe(wake, FREE_CHANNEL).catch(() => {});
  }

  /**
   * Runs a script on the keys of the store.
   *
   * @throws RedisError within 1.5 s; the script may have run all the same.
   */
  run(script: StoreScript, ...args: readonly (string | number)[]): Promise<unknown> {
    return this.runOn(script, KEYS, [this.replica, ...args]);
  }

  /** Runs a script on keys of its own; otherwise as {@link run}. */
  async runOn(
    script: ScriptName,
    keys: readonly string[],
    args: readonly (string | number)[],
  ): Promise<unknown> {
    return await this.ask((client) => {
      // ioredis adds a method per script, of which its types know nothing.
      const method: unknown = Reflect.get(client, script);
      if (typeof method !== "function") throw new TypeError(`No script "${script}"`);
      return Reflect.apply(method, client, [...keys, ...args]);
    });
  }

  /** Asks by a command of the client; otherwise as {@link run}. */
  async ask<Answer>(command: (client: Redis) => Promise<Answer>): Promise<Answer> {
    if (this.#isClosed) throw new RedisError("the connection is closed");
    try {
      const answer = await command(this.client);
      this.#timeouts = 0;
      return answer;
    } catch (error) {
      if (error instanceof TypeError) throw error;
      const text = this.#textOf(error);
      if (text.includes("timed out")) this.#countTimeout();
      // While there is no connection, why there is none says more.
      throw new RedisError(this.client.status === "ready" ? text : this.#lastError);
    }
  }

  /** Replicas when Redis was last there, this one included. */
  get replicas(): number {
    return this.#replicas;
  }

  /** Redis has answered, and knows so many replicas. */
  up(replicas: number): void {
    this.#isUp = true;
    this.#replicas = replicas;
    if (this.#wasUp) return;
    this.#wasUp = true;
    this.#deps.log.info("Redis answers", { store: this.description });
  }

  /** Redis has not answered, or refused. */
  down(error: unknown): void {
    this.#isUp = false;
    this.#wasUp = false;
    if (this.#isClosed) return;
    this.#deps.log.error(
      "Redis is away: delayed leave events are held in memory, and those under way go on",
      { store: this.description, cause: this.#textOf(error), throttle: true },
    );
  }

  /** Closes both connections. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#isUp = false;
    await Promise.all(this.#disconnect.map((disconnect) => disconnect()));
  }

  #countTimeout(): void {
    this.#timeouts++;
    if (this.#timeouts < TIMEOUTS_BEFORE_RECONNECT || this.#isClosed) return;
    this.#timeouts = 0;
    for (const client of [this.client, this.#subscriber]) {
      // One that is still connecting would end for good.
      if (client.status === "ready" || client.status === "connect") client.disconnect(true);
    }
  }

  #textOf(error: unknown): string {
    const text = error instanceof Error ? error.message : String(error);
    // The first script has more arguments than a server takes from a client that has not given the password.
    if (/^NOAUTH|unauthenticated/.test(text)) return "NOAUTH, set LIVEKIT_REDIS_PASSWORD";
    return this.#deps.target.secrets.reduce((shown, secret) => shown.replaceAll(secret, "[redacted]"), text);
  }
}
