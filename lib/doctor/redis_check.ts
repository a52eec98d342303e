// The check of Redis: it answers, has the database, keeps what it is given, and is new enough.

import { errorText } from "../log/error_text.ts";
import { createRedisClient } from "../redis/client.ts";
import type { RedisTarget } from "../redis/url.ts";
import { type Check, error, ok, type Question, skipped, warning } from "./check.ts";

const MIN_VERSION = 5; // streams

/** Asks Redis, over a connection of its own that is closed again. */
export async function checkRedis(target: RedisTarget | null): Promise<Check> {
  const question = { id: "own.redis", title: "Redis keeps delegated leave events", asked: "LIVEKIT_REDIS_URL" };
  if (target === null) return skipped(question, "not set");
  const named = { ...question, asked: `PING and INFO of ${target.description}` };
  const client = createRedisClient(target, { retryStrategy: () => null, sentinelRetryStrategy: () => null });
  let last = "";
  client.on("error", (failure: Error) => last = failure.message);
  try {
    await client.connect();
    await client.ping();
    return judgeInfo(named, await client.info());
  } catch (failure) {
    const told = withoutSecrets(last || errorText(failure), target);
    return error(named, told, fixOf(told));
  } finally {
    client.disconnect();
  }
}

/** Judges the answer to INFO. */
export function judgeInfo(question: Question, info: string): Check {
  const value = (name: string) => new RegExp(`^${name}:(.*)$`, "m").exec(info)?.[1]?.trim();
  const version = value("redis_version") ?? "unknown version";
  const told = `Redis ${version}`;
  if (Number.parseInt(version) < MIN_VERSION) {
    return error(question, told, `Use Redis ${MIN_VERSION} or newer (or Valkey)`);
  }
  const isEvicting = /^allkeys-/.test(value("maxmemory_policy") ?? "");
  if (isEvicting && value("maxmemory") !== "0") {
    return warning(question, `${told}, which drops keys when memory is short`, "Set `maxmemory-policy noeviction`");
  }
  if (value("aof_enabled") === "0" && !/^\d+$/.test(value("rdb_last_save_time") ?? "")) return ok(question, told);
  if (value("aof_enabled") === "0") {
    return warning(
      question,
      `${told}, without an append-only file: the last seconds or minutes are lost when it is killed`,
      "Set `appendonly yes` in redis.conf",
    );
  }
  return ok(question, `${told}, append-only file on`);
}

function fixOf(told: string): string {
  if (/NOAUTH|WRONGPASS|invalid password/i.test(told)) {
    return "Correct the password: LIVEKIT_REDIS_PASSWORD, or in the URL";
  }
  if (/DB index|SELECT/i.test(told)) return "Name a database that this Redis has: 0 to 15 unless `databases` says more";
  if (/certificate|SSL|TLS|wrong version number/i.test(told)) {
    return "Use rediss:// for a port that speaks TLS and redis:// for one that does not; add a private CA with " +
      "LIVEKIT_EXTRA_CA_FILE";
  }
  return "Start Redis, and make its address in LIVEKIT_REDIS_URL reachable from here";
}

function withoutSecrets(text: string, { secrets }: RedisTarget): string {
  return secrets.reduce((shown, secret) => secret === "" ? shown : shown.replaceAll(secret, "[redacted]"), text);
}
