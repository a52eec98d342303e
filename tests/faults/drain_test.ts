// SIGTERM with jobs under way: what is being asked is finished and noted, rooms are given back at once, and the next
// process, or another replica, goes on where the last one stood.

import assert from "node:assert/strict";
import { setTimeout as sleepFor } from "node:timers/promises";
import { TemporaryDirectory } from "../../testing/surroundings.ts";
import { RedisServer } from "../../testing/redis_server.ts";
import { Stage, summary } from "./stage.ts";
import { standingOf, type Verdict } from "./verdict.ts";

const PEOPLE = 24;
const ROUNDS = 4;
// "About a second", on a machine that is busy with other tests.
const GO_ON_WITHIN_MS = 2000;
const SETTLED_WITHIN_MS = 90_000;

/** Waits until a leave is being sent by a process. */
async function whileSending({ people }: Stage, life: string): Promise<void> {
  const giveUpAt = performance.now() + 10_000;
  while (!people.stories.some((story) => standingOf(story, life) === "leaving")) {
    assert.ok(performance.now() < giveUpAt, "nobody left");
    await sleepFor(5);
  }
}

/** Events that a process holds, connected. */
function inHandsOf({ people }: Stage, life: string) {
  return people.stories.filter((story) =>
    standingOf(story, life) === "connected" && story.event.calls.at(-1)?.life === life
  );
}

function assertSentOnce(verdict: Verdict): void {
  assert.deepEqual([verdict.violations, verdict.repeats], [[], []]);
  assert.equal(verdict.sentAgain, 0);
  assert.ok(verdict.sentOnce > 0);
}

Deno.test("a service that is told to end leaves no job half done for the next one", async () => {
  await using directory = new TemporaryDirectory();
  await using stage = await Stage.build({
    replicas: ["service"],
    store: { LIVEKIT_STATE_DIR: directory.path },
    homeservers: PEOPLE,
    rooms: PEOPLE,
    delaysMs: [30_000, 3_600_000],
    maxStayMs: 3000,
  });
  stage.homeservers.treat = ({ action }) => ({ latencyMs: action === "send" ? 300 : 20 });
  const [service] = stage.replicas;
  assert.ok(service);
  await service.start();
  stage.people.begin(PEOPLE);
  for (let round = 0; round < ROUNDS; round++) {
    await sleepFor(1000);
    await whileSending(stage, service.life?.name ?? "");
    assert.equal(await service.stop(), 0);
    await service.start();
  }
  await stage.end(SETTLED_WITHIN_MS);
  assert.equal(await service.stop(), 0);
  const verdict = stage.judge();
  console.log(summary("SQLite, SIGTERM", [stage.kills], [verdict]));
  assertSentOnce(verdict);
});

Deno.test("a replica that is told to end gives its rooms back at once", async () => {
  await using redis = await RedisServer.start();
  await using stage = await Stage.build({
    replicas: ["one", "two"],
    store: { LIVEKIT_REDIS_URL: redis.url, LIVEKIT_LOG_LEVEL: "debug" },
    homeservers: PEOPLE,
    rooms: PEOPLE / 2,
    delaysMs: [30_000, 3_600_000],
    maxStayMs: 8000,
  });
  stage.homeservers.treat = ({ action }) => ({ latencyMs: action === "send" ? 300 : 20 });
  await Promise.all(stage.replicas.map((replica) => replica.start()));
  stage.people.begin(PEOPLE);
  const waits: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    await sleepFor(3000);
    const leaver = stage.replicas[round % 2];
    assert.ok(leaver);
    const life = leaver.life?.name ?? "";
    await whileSending(stage, life);
    const handedOver = inHandsOf(stage, life);
    const askedAt = performance.now();
    assert.equal(await leaver.stop(), 0);
    const endedAt = performance.now();
    await sleepFor(GO_ON_WITHIN_MS);
    for (const story of handedOver) {
      const next = stage.wentOnAt(story, life, askedAt);
      if (next !== null) waits.push(next - endedAt);
      else if (story.event.end === null && story.supersededAt === null) waits.push(Infinity);
    }
    await leaver.start();
  }
  await stage.end(SETTLED_WITHIN_MS);
  assert.deepEqual(await Promise.all(stage.replicas.map((replica) => replica.stop())), [0, 0]);
  const verdict = stage.judge();
  const longest = Math.max(...waits);
  console.log(
    `${summary("Redis, SIGTERM", [stage.kills], [verdict])}; ${waits.length} jobs handed over, the last ` +
      `${Math.round(longest)} ms after the end`,
  );
  assertSentOnce(verdict);
  assert.ok(waits.length > 0 && longest < GO_ON_WITHIN_MS, `${waits}`);
});
