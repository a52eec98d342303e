// What every connection to Redis has in common: time-outs, and that it is tried again for as long as the service runs.

import { Redis } from "ioredis";
import type { ClientOptions, RedisTarget } from "./url.ts";

/** No command waits longer, in ms. */
export const COMMAND_TIMEOUT_MS = 1500;
const SOCKET_TIMEOUT_MS = 5000;
const DISCONNECT_TIMEOUT_MS = 200;
const CLOSE_SLACK_MS = 50;
const FIRST_RECONNECT_PAUSE_MS = 50;
const MAX_RECONNECT_PAUSE_MS = 700;

/** A client that does not connect yet. Commands fail at once while there is no connection, unless the options differ. */
export function createRedisClient(target: RedisTarget, options: ClientOptions = {}): Redis {
  const client = new Redis({
    ...target.options,
    // Also spoken by servers before 6.0, and by proxies.
    protocol: 2,
    lazyConnect: true,
    connectTimeout: COMMAND_TIMEOUT_MS,
    socketTimeout: SOCKET_TIMEOUT_MS,
    disconnectTimeout: DISCONNECT_TIMEOUT_MS,
    commandTimeout: COMMAND_TIMEOUT_MS,
    sentinelCommandTimeout: COMMAND_TIMEOUT_MS,
    maxRetriesPerRequest: 1,
    enableOfflineQueue: false,
    retryStrategy: reconnectPause,
    // Asked after each round of all Sentinels; without a pause the client ends for good.
    sentinelRetryStrategy: reconnectPause,
    // A master that has become a replica takes no writes: its successor is to be found.
    reconnectOnError: (error) => error.message.startsWith("READONLY") ? 2 : false,
    // It also tells a master from a replica, where a Sentinel is behind the times.
    enableReadyCheck: target.isSentinel || target.database !== 0,
    disableClientInfo: true,
    ...options,
  });
  if (target.database !== 0) confirmDatabase(client, target);
  return client;
}

/**
 * Has the database confirmed before a connection is used: ioredis itself goes on with database 0 where another one is
 * refused, and that may be somebody else's.
 */
function confirmDatabase(client: Redis, { database, isSentinel }: RedisTarget): void {
  const checkRole: unknown = Reflect.get(client, "_readyCheck");
  if (typeof checkRole !== "function") throw new TypeError("This version of ioredis has no ready check");
  Reflect.set(client, "_readyCheck", (done: (error: unknown, info?: object) => void) => {
    const confirmed = () => isSentinel ? Reflect.apply(checkRole, client, [done]) : done(null, {});
    client.select(database).then(confirmed, done);
  });
}

/** A connected client, and what ends it. */
export interface ConnectedRedis {
  readonly client: Redis;
  readonly disconnect: () => Promise<void>;
}

/** A client of its own for callers that do without Redis when it is away. */
export function connectToRedis(target: RedisTarget): ConnectedRedis {
  const client = createRedisClient(target);
  return { client, disconnect: keepConnected(client, () => {}) };
}

/**
 * Connects in the background, and again whenever the client gives up by itself, which it does when connecting fails in
 * ways that it takes for final.
 *
 * @param onError Told of each failure; without a listener such an event would be an exception of the whole process.
 * @returns Ends the connection; resolves when it has ended.
 */
export function keepConnected(client: Redis, onError: (error: Error) => void): () => Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isClosed = false;
  const connect = () => void client.connect().catch(() => {}); // told by the error event
  client.on("error", onError);
  client.on("end", () => {
    if (!isClosed) timer = setTimeout(connect, MAX_RECONNECT_PAUSE_MS);
  });
  connect();
  return async () => {
    isClosed = true;
    clearTimeout(timer);
    await ended(client);
  };
}

function reconnectPause(attempts: number): number {
  return Math.min(FIRST_RECONNECT_PAUSE_MS * 2 ** (attempts - 1), MAX_RECONNECT_PAUSE_MS);
}

/** Disconnects; a client between two attempts to connect tells no end. */
async function ended(client: Redis): Promise<void> {
  if (client.status === "end") return;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const hasEnded = new Promise<void>((resolve) => {
    client.once("end", () => resolve());
    timer = setTimeout(resolve, DISCONNECT_TIMEOUT_MS + CLOSE_SLACK_MS);
  });
  client.disconnect();
  await hasEnded;
  clearTimeout(timer);
}
