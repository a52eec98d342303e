// The connections to Redis: one for commands, one that waits for what others pass on. No command waits longer than its time-out, and while Redis
// is away none is sent, so that nobody waits for a server that is known not to answer.

import type { Redis } from "ioredis";
import type { Log } from "../../../log/log.ts";
import { COMMAND_TIMEOUT_MS, createRedisClient, keepConnected } from "../../../redis/client.ts";
import { isDatabaseRefused, redisFailureText } from "../../../redis/failure.ts";
import type { RedisTarget } from "../../../redis/url.ts";
import { KEYS, type ScriptName, SCRIPTS, type StoreScript } from "./scripts.ts";

/** What the connections need from outside. */
export interface RedisConnectionDeps {
  readonly target: RedisTarget;
  /** Unique among all replicas, and new at each start of the process; no spaces. */
  readonly replica: string;
  readonly log: Log;
}

/** Redis did not do what was asked: not reachable, not in time, or refused. The message holds no secret. */
export class RedisError extends Error {
  override name = "RedisError";
}

/** How long Redis may be made to wait for something to tell, in ms. */
export const MAX_WAIT_MS = 1000;
// A server that took a connection and does not answer may have a successor elsewhere.
const TIMEOUTS_BEFORE_RECONNECT = 2;

/** Speaks to Redis. */
export class RedisConnection {
  readonly replica: string;
  /** The address, for logs. */
  readonly description: string;
  /** The client itself, for libraries that bring their own commands. */
  readonly client: Redis;
  readonly #reader: Redis;
  readonly #deps: RedisConnectionDeps;
  #disconnect: (() => Promise<void>)[] = [];
  #isUp = false;
  #wasUp = false;
  #replicas = 1;
  #timeouts = 0;
  #lastError = "it does not answer";
  #isClosed = false;
  readonly #refusal = Promise.withResolvers<RedisError>();

  /** Opens no connection yet. */
  constructor(deps: RedisConnectionDeps) {
    this.#deps = deps;
    this.replica = deps.replica;
    this.description = deps.target.description;
    this.client = createRedisClient(deps.target, { scripts: SCRIPTS });
    this.#reader = createRedisClient(deps.target, { commandTimeout: MAX_WAIT_MS + COMMAND_TIMEOUT_MS });
  }

  /** Whether Redis answered when it was last asked. While it did not, callers go without it at once. */
  get isUp(): boolean {
    return this.#isUp;
  }

  /** Resolves when the server refuses the database that the URL names. */
  get refusal(): Promise<RedisError> {
    return this.#refusal.promise;
  }

  /** Connects, in the background and again and again; `onReady` hears each time that commands can be sent. */
  start(onReady: () => void): void {
    this.client.on("ready", onReady);
    this.#disconnect = [
      keepConnected(this.client, (error) => this.#onError(error)),
      keepConnected(this.#reader, () => {}),
    ];
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

  /**
   * Waits for an answer on a connection of its own, where others wait behind it.
   *
   * @param command Blocks for {@link MAX_WAIT_MS} at most.
   * @throws RedisError
   */
  async wait<Answer>(command: (reader: Redis) => Promise<Answer>): Promise<Answer> {
    try {
      return await command(this.#reader);
    } catch (error) {
      throw new RedisError(this.#textOf(error));
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

  #onError(error: Error): void {
    this.#lastError = this.#textOf(error);
    if (!isDatabaseRefused(error)) return;
    const { database } = this.#deps.target;
    this.#refusal.resolve(
      new RedisError(
        `Cannot use database ${database} of ${this.description}: "${this.#lastError}". Name another one in ` +
          "LIVEKIT_REDIS_URL, or raise the server's number of databases",
      ),
    );
  }

  #countTimeout(): void {
    this.#timeouts++;
    if (this.#timeouts < TIMEOUTS_BEFORE_RECONNECT || this.#isClosed) return;
    this.#timeouts = 0;
    for (const client of [this.client, this.#reader]) {
      // One that is still connecting would end for good.
      if (client.status === "ready" || client.status === "connect") client.disconnect(true);
    }
  }

  #textOf(error: unknown): string {
    return redisFailureText(error, this.#deps.target);
  }
}
