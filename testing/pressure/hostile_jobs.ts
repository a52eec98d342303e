// Delayed leave events at their worst: a store full of the largest ones, and of ones from before their texts had a
// length, at the start; and as many as are taken while the service runs.

import { DatabaseSync } from "node:sqlite";
import { Redis } from "ioredis";
import { JOBS } from "../../lib/leave/store/redis/scripts.ts";
import type { StoredTexts } from "../../lib/leave/store/stored_job.ts";
import { SqliteStore } from "../../lib/leave/store/sqlite/store.ts";
import { FILE_NAME } from "../../lib/leave/store/sqlite/file.ts";
import { systemClock } from "../../lib/platform.ts";
import { CONTAINER_UID } from "../container.ts";
import { DEVELOPMENT_API_SECRET } from "../fake_sfu.ts";
import { RedisServer } from "../redis_server.ts";
import { stateDirectoryIn } from "./confined_service.ts";
import { largestJob, LONGEST_NAME, requestOf, startOthers } from "./people.ts";
import { inLoops, post, type Pressure } from "./pressure.ts";

const STORED_JOBS = 50_000;
const OVERSIZED_JOBS = 1770;
const OVERSIZED_BYTES = 60_000;
const REDIS_GROUP = 100;
const DELEGATING_LOOPS = 64;

const SILENT = { debug() {}, info() {}, warning() {}, error: console.error };
const NOBODY = { isFull: () => false, adopt() {}, release() {}, deliver() {}, isBusy: () => false, gap() {} };

/** A state directory that is full at the start. */
export const jobsInStateDirectory: Pressure = {
  what: `a state directory with ${STORED_JOBS} of the largest jobs and ${OVERSIZED_JOBS} that are larger`,
  async prepare(parts, { directory }) {
    const stateDirectory = await stateDirectoryIn(directory);
    const store = new SqliteStore({ log: SILENT, clock: systemClock, directory: stateDirectory });
    await store.open(NOBODY);
    await store.close();
    const path = `${stateDirectory}/${FILE_NAME}`;
    const database = new DatabaseSync(path);
    database.exec("BEGIN");
    const insert = database.prepare("INSERT INTO jobs (field, value) VALUES (?, ?)");
    for (const { field, value } of storedJobs()) insert.run(field, value);
    database.exec("COMMIT");
    database.close();
    for (const { name } of Deno.readDirSync(stateDirectory)) {
      Deno.chownSync(`${stateDirectory}/${name}`, CONTAINER_UID, CONTAINER_UID);
    }
    const variables = { ...settings(startOthers(parts)), LIVEKIT_STATE_DIR: stateDirectory };
    return { variables, stateDirectory, press: delegate };
  },
};

/** A Redis that is full at the start. */
export const jobsInRedis: Pressure = {
  what: `a Redis with ${STORED_JOBS} of the largest jobs and ${OVERSIZED_JOBS} that are larger`,
  async prepare(parts) {
    const redis = parts.use(await RedisServer.start());
    const client = new Redis({ port: redis.port });
    const jobs = storedJobs();
    for (let group = next(jobs); group.length > 0; group = next(jobs)) await client.hset(JOBS, ...group);
    client.disconnect();
    return { variables: { ...settings(startOthers(parts)), LIVEKIT_REDIS_URL: redis.url }, press: delegate };
  },
};

function next(jobs: Generator<StoredTexts>): string[] {
  const group: string[] = [];
  while (group.length < 2 * REDIS_GROUP) {
    const { value: job } = jobs.next();
    if (job === undefined) break;
    group.push(job.field, job.value);
  }
  return group;
}

function* storedJobs(): Generator<StoredTexts, undefined> {
  for (let n = 0; n < OVERSIZED_JOBS; n++) yield largestJob(n, "x".repeat(OVERSIZED_BYTES));
  for (let n = OVERSIZED_JOBS; n < OVERSIZED_JOBS + STORED_JOBS; n++) yield largestJob(n);
}

function settings(others: string): Record<string, string> {
  return {
    LIVEKIT_URL: others.replace("http", "ws"),
    LIVEKIT_KEY: "devkey",
    LIVEKIT_SECRET: DEVELOPMENT_API_SECRET,
    LIVEKIT_LOG_LEVEL: "error",
    LIVEKIT_FULL_ACCESS_HOMESERVERS: LONGEST_NAME,
    LIVEKIT_FEDERATION_URL_OVERRIDES: `${LONGEST_NAME}=${others}`,
    LIVEKIT_CS_API_URL_OVERRIDES: `${LONGEST_NAME}=${others}`,
  };
}

/** More and more come, as fast as they are taken. */
async function delegate(url: string, over: AbortSignal): Promise<string> {
  let n = OVERSIZED_JOBS + STORED_JOBS;
  const statuses = new Map<number, number>();
  await inLoops(DELEGATING_LOOPS, over, async () => {
    const status = await post(`${url}/sfu/get`, requestOf(n++), over);
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
  });
  return `delegations by status: ${JSON.stringify(Object.fromEntries(statuses))}`;
}
