// The embedded store under kill -9: four services side by side, each with a directory and people of its own, die fifty
// times each at moments chosen to hurt, and the homeservers say what became of the events.

import assert from "node:assert/strict";
import { setTimeout as sleepFor } from "node:timers/promises";
import { TemporaryDirectory } from "../../testing/surroundings.ts";
import { refusal } from "../../testing/delayed_events.ts";
import { Stage, STATES, summary } from "./stage.ts";
import { standingOf } from "./verdict.ts";

const SERVICES = 4;
const KILLS_EACH = 50;
const PEOPLE = 16;
const MIN_KILLS_PER_STATE = 10;
const MAX_LIFE_MS = 1200;
// Two looks a minute apart, where the process that was told of a leave died with it; then the calls.
const SETTLED_WITHIN_MS = 90_000;
const REFUSED_SHARE = 0.1;

/** When to kill, beginning at the start of a process. */
const MOMENTS: readonly ((stage: Stage) => Promise<void>)[] = [
  // At any time.
  async (stage) => {
    await listens(stage);
    await sleepFor(Math.random() * MAX_LIFE_MS);
  },
  // After a while in which all can be told what happened.
  async (stage) => {
    await listens(stage);
    await sleepFor(MAX_LIFE_MS);
  },
  // While a leave is being sent.
  async (stage) => {
    const life = await listens(stage);
    await until(() => stage.people.stories.some((story) => standingOf(story, life) === "leaving"));
  },
  // As soon as a client has its answer.
  async (stage) => {
    await listens(stage);
    await sleepFor(Math.random() * MAX_LIFE_MS / 2);
    let isAcknowledged = false;
    stage.people.onAcknowledged = () => isAcknowledged = true;
    await until(() => isAcknowledged);
  },
  // While a client is being served.
  async (stage) => {
    await listens(stage);
    await sleepFor(Math.random() * MAX_LIFE_MS / 2);
    await until(() => stage.people.asking > 0);
    await sleepFor(Math.random() * 10);
  },
  // While it starts.
  async (stage) => {
    await Promise.race([listens(stage), sleepFor(200 + Math.random() * 300)]);
  },
];

async function listens({ replicas: [service] }: Stage): Promise<string> {
  await service?.listens();
  return service?.life?.name ?? "";
}

async function until(condition: () => boolean): Promise<void> {
  const giveUpAt = performance.now() + 2 * MAX_LIFE_MS;
  while (!condition() && performance.now() < giveUpAt) await sleepFor(5);
}

async function campaign(n: number) {
  await using directory = new TemporaryDirectory();
  await using stage = await Stage.build({
    replicas: [`service${n}`],
    store: { LIVEKIT_STATE_DIR: directory.path },
    homeservers: PEOPLE,
    rooms: PEOPLE,
    delaysMs: [30_000, 3_600_000],
    maxStayMs: 2500,
  });
  stage.homeservers.treat = ({ action }) => ({
    latencyMs: Math.random() * (action === "send" ? 500 : 50),
    ...(Math.random() < REFUSED_SHARE ? { refusal: refusal(503, "M_UNKNOWN") } : {}),
  });
  const [service] = stage.replicas;
  assert.ok(service);
  stage.people.begin(PEOPLE);
  while (stage.kills.all < KILLS_EACH) {
    service.spawn();
    await MOMENTS[stage.kills.all % MOMENTS.length]?.(stage);
    await stage.kill(service);
  }
  await service.start();
  await stage.end(SETTLED_WITHIN_MS);
  assert.equal(await service.stop(), 0);
  return { kills: stage.kills, verdict: stage.judge() };
}

Deno.test("200 kills under load lose no event, and none is sent twice unless the answer was lost", async () => {
  const campaigns = Array.from({ length: SERVICES }, (_, n) => campaign(n));
  await Promise.allSettled(campaigns);
  const outcomes = await Promise.all(campaigns);
  const kills = outcomes.map(({ kills }) => kills);
  console.log(summary("SQLite", kills, outcomes.map(({ verdict }) => verdict)));
  assert.deepEqual(outcomes.flatMap(({ verdict }) => [...verdict.violations, ...verdict.repeats]), []);
  for (const state of STATES) {
    assert.ok(kills.reduce((sum, counts) => sum + counts[state], 0) >= MIN_KILLS_PER_STATE, state);
  }
});
