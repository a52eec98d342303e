// Fills a store with the jobs of connected people, by the store's own code, as a service before this one would have.

import { RedisConnection } from "../lib/leave/store/redis/connection.ts";
import { RedisStore } from "../lib/leave/store/redis/store.ts";
import { SqliteStore } from "../lib/leave/store/sqlite/store.ts";
import type { LeaveStore } from "../lib/leave/store/store.ts";
import { parseRedisUrl } from "../lib/redis/url.ts";
import { Secret } from "../lib/secret.ts";
import { systemClock } from "../lib/platform.ts";
import { connectedJob } from "./leave_people.ts";
import type { Place } from "./leave_rig.ts";

const AT_ONCE = 200;
const SILENT = { debug() {}, info() {}, warning() {}, error: console.error };
const NOBODY = { isFull: () => false, adopt() {}, release() {}, deliver() {}, isBusy: () => false, gap() {} };

/** Puts so many jobs in, each durably; gives back how many a second the store took, 200 at once. */
export async function seed(place: Place, count: number, delayMs: number): Promise<number> {
  const store = storeOf(place);
  await store.open(NOBODY);
  const startedAt = performance.now();
  for (let n = 0; n < count; n += AT_ONCE) {
    const group = Array.from({ length: Math.min(AT_ONCE, count - n) }, (_, index) => connectedJob(n + index, delayMs));
    const saved = await Promise.all(group.map((job) => store.accept(job)));
    if (!saved.every(({ isDurable }) => isDurable)) throw new Error(`${place.name} did not take all jobs`);
  }
  const seconds = (performance.now() - startedAt) / 1000;
  await store.close();
  return count / seconds;
}

function storeOf({ redis: server, directory }: Place): LeaveStore {
  if (server === null) return new SqliteStore({ log: SILENT, clock: systemClock, directory });
  const target = parseRedisUrl(new Secret(server.url), null);
  if ("problem" in target) throw new TypeError(`${target.problem}, expected ${target.expected}`);
  const redis = new RedisConnection({ target, replica: crypto.randomUUID(), log: SILENT });
  return new RedisStore({ redis, clock: systemClock, log: SILENT });
}
