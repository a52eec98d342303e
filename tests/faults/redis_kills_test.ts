// Three replicas over a real Redis, requests and webhooks to any of them, and one after another killed: the others go on
// with its jobs within five seconds.

import assert from "node:assert/strict";
import { setTimeout as sleepFor } from "node:timers/promises";
import { RedisServer } from "../../testing/redis_server.ts";
import type { Story } from "./people.ts";
import type { Replica } from "./replica.ts";
import { Stage, summary } from "./stage.ts";
import { standingOf, tell } from "./verdict.ts";

const ROUNDS = 7;
const PEOPLE = 30;
const GO_ON_WITHIN_MS = 5000;
// Between a kill and the next one: the dead replica is started again, and takes rooms up.
const RECOVERY_MS = 2500;
const SETTLED_WITHIN_MS = 90_000;

/** The replica that works on most jobs. */
function busiest({ replicas, people }: Stage): Replica {
  const load = (replica: Replica) =>
    people.stories.filter((story) => standingOf(story, replica.life?.name ?? "") !== null).length;
  return replicas.reduce((most, replica) => load(replica) > load(most) ? replica : most);
}

/** Events that a process had restarted last. */
function inHandsOf({ people }: Stage, life: string): Story[] {
  return people.stories.filter((story) =>
    standingOf(story, life) === "connected" && story.event.calls.at(-1)?.life === life
  );
}

Deno.test("a replica that is killed loses no event, and the others go on with its jobs within 5 s", async () => {
  await using redis = await RedisServer.start();
  await using stage = await Stage.build({
    replicas: ["one", "two", "three"],
    store: { LIVEKIT_REDIS_URL: redis.url, LIVEKIT_LOG_LEVEL: "debug" },
    homeservers: 30,
    rooms: 12,
    delaysMs: [20_000, 3_600_000],
    maxStayMs: 12_000,
  });
  stage.homeservers.treat = ({ action }) => ({ latencyMs: Math.random() * (action === "send" ? 500 : 50) });
  await Promise.all(stage.replicas.map((replica) => replica.start()));
  stage.people.begin(PEOPLE);
  await sleepFor(4000);
  const waits: number[] = [];
  const late: string[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const victim = busiest(stage);
    const life = victim.life?.name ?? "";
    const orphans = inHandsOf(stage, life);
    const killedAt = performance.now();
    await stage.kill(victim);
    await sleepFor(GO_ON_WITHIN_MS - (performance.now() - killedAt));
    for (const story of orphans) {
      const next = stage.wentOnAt(story, life, killedAt);
      if (next !== null) waits.push(next - killedAt);
      else if (story.event.end === null && story.supersededAt === null) late.push(tell(story));
    }
    await victim.start();
    await sleepFor(RECOVERY_MS);
  }
  await stage.end(SETTLED_WITHIN_MS);
  assert.deepEqual(await Promise.all(stage.replicas.map((replica) => replica.stop())), [0, 0, 0]);
  const verdict = stage.judge();
  console.log(
    `${summary("Redis, three replicas", [stage.kills], [verdict])}; ${waits.length} jobs taken over within ` +
      `${Math.round(Math.max(...waits))} ms`,
  );
  assert.deepEqual([verdict.violations, verdict.repeats, late], [[], [], []]);
  assert.ok(waits.length >= ROUNDS, `${waits.length} jobs taken over`);
});
