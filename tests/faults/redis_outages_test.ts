// Redis frozen and thawed, and killed and started again without its data, while two replicas have jobs under way: tokens
// are still handed out, events still taken, and nothing is lost while the replicas live.

import assert from "node:assert/strict";
import { setTimeout as sleepFor } from "node:timers/promises";
import { RedisServer } from "../../testing/redis_server.ts";
import type { Replica } from "./replica.ts";
import { Stage, summary } from "./stage.ts";

const PEOPLE = 24;
const OUTAGE_MS = 9000;
const RECOVERY_MS = 5000;
// Nobody waits longer than two seconds for Redis; the rest is for a busy machine.
const ANSWER_WITHIN_MS = 5000;
const PROBE_PAUSE_MS = 250;
const SETTLED_WITHIN_MS = 100_000;

type Outage = (redis: RedisServer) => Promise<void>;

const OUTAGES: readonly (readonly [what: string, outage: Outage])[] = [
  ["frozen and thawed", async (redis) => {
    redis.freeze();
    await sleepFor(OUTAGE_MS);
    redis.thaw();
  }],
  ["killed and started again without its data", async (redis) => {
    await redis.kill();
    await sleepFor(OUTAGE_MS);
    await redis.run();
  }],
];

/** Asks a replica for tokens again and again; gives the answers that were none, or took too long. */
async function probe({ homeservers, replicas }: Stage, signal: AbortSignal) {
  const [homeserver] = homeservers.names;
  const faults: string[] = [];
  let answers = 0;
  const ask = async (replica: Replica) => {
    const openid_token = homeservers.mintToken(`@prober-${replica.name}:${homeserver}`);
    const body = JSON.stringify({ room: "!probe:example.com", openid_token, device_id: "D" });
    const startedAt = performance.now();
    const response = await fetch(`${replica.url}/sfu/get`, { method: "POST", body });
    await response.body?.cancel();
    const tookMs = Math.round(performance.now() - startedAt);
    answers++;
    if (response.status !== 200 || tookMs > ANSWER_WITHIN_MS) {
      faults.push(`${replica.name}: ${response.status} after ${tookMs} ms`);
    }
  };
  while (!signal.aborted) {
    await Promise.all(replicas.map(ask));
    await sleepFor(PROBE_PAUSE_MS);
  }
  return { answers, faults };
}

async function campaign(what: string, outage: Outage): Promise<void> {
  await using redis = await RedisServer.start();
  await using stage = await Stage.build({
    replicas: ["one", "two"],
    store: { LIVEKIT_REDIS_URL: redis.url },
    homeservers: PEOPLE,
    rooms: 8,
    delaysMs: [30_000, 3_600_000],
    maxStayMs: 5000,
  });
  stage.homeservers.treat = () => ({ latencyMs: Math.random() * 50 });
  await Promise.all(stage.replicas.map((replica) => replica.start()));
  const end = new AbortController();
  const probing = probe(stage, end.signal);
  stage.people.begin(PEOPLE);
  await sleepFor(RECOVERY_MS);

  const beganAt = performance.now();
  await outage(redis);
  const endedAt = performance.now();
  await sleepFor(RECOVERY_MS);
  end.abort();
  const { answers, faults } = await probing;
  await stage.end(SETTLED_WITHIN_MS);
  assert.deepEqual(await Promise.all(stage.replicas.map((replica) => replica.stop())), [0, 0]);

  const accepted =
    stage.people.stories.filter(({ acknowledgedAt }) =>
      acknowledgedAt !== null && acknowledgedAt > beganAt && acknowledgedAt < endedAt
    ).length;
  const verdict = stage.judge();
  console.log(
    `${summary(`Redis ${what}`, [stage.kills], [verdict])}; ${accepted} events acknowledged and ${answers} tokens ` +
      `handed out meanwhile; ${verdict.repeats.length} repeats`,
  );
  // Repeats are no fault here: what Redis did not take down in time is done again, and the homeserver says "gone".
  assert.deepEqual([verdict.violations, faults], [[], []]);
  assert.ok(accepted > 0 && answers > 0);
}

Deno.test("a Redis that is frozen for a while, or killed, costs no event, and keeps nobody from a token", async () => {
  const campaigns = OUTAGES.map((outage) => campaign(...outage));
  await Promise.allSettled(campaigns);
  await Promise.all(campaigns);
});
