// Two processes on one state directory, as a rolling restart has them: the second waits before it listens, goes on with
// the jobs once the first has ended, however that came, and gives up when it stays.

import assert from "node:assert/strict";
import { setTimeout as sleepFor } from "node:timers/promises";
import { TemporaryDirectory } from "../../testing/surroundings.ts";
import type { Replica } from "./replica.ts";
import { Stage, summary } from "./stage.ts";
import { standingOf } from "./verdict.ts";

const PEOPLE = 16;
const HELD_MS = 2000;
// It looks four times a second.
const TAKES_OVER_WITHIN_MS = 2000;
const WAITS_MS = 30_000;
const SETTLED_WITHIN_MS = 90_000;

function build(directory: TemporaryDirectory): Promise<Stage> {
  return Stage.build({
    replicas: ["first", "second", "third"],
    store: { LIVEKIT_STATE_DIR: directory.path },
    homeservers: PEOPLE,
    rooms: PEOPLE,
    delaysMs: [20_000, 3_600_000],
    maxStayMs: 6000,
  });
}

/** Starts a process, and sees that it waits. */
async function wait(replica: Replica): Promise<void> {
  await replica.spawn().process.waitFor(/Waiting for another process to leave the state directory/);
  await sleepFor(HELD_MS);
  assert.doesNotMatch(replica.life?.process.output ?? "", /Listening/);
}

/** Sees that a process listens soon, and restarts the events of those who are there. */
async function takeOver(stage: Stage, old: Replica, next: Replica, end: () => Promise<unknown>): Promise<void> {
  const held = stage.people.stories.filter((story) => standingOf(story, old.life?.name ?? "") === "connected");
  await end();
  const endedAt = performance.now();
  await next.listens();
  assert.ok(performance.now() - endedAt < TAKES_OVER_WITHIN_MS, "it listens late");
  await sleepFor(TAKES_OVER_WITHIN_MS);
  const forgotten = held.filter(({ event, supersededAt }) =>
    event.end === null && supersededAt === null && !event.calls.some(({ life }) => life === next.life?.name)
  );
  assert.ok(held.length > 0);
  assert.deepEqual(forgotten, []);
}

Deno.test("a second process on the directory waits, and goes on with the jobs when the first ends", async () => {
  await using directory = new TemporaryDirectory();
  await using stage = await build(directory);
  const [first, second, third] = stage.replicas;
  assert.ok(first && second && third);
  await first.start();
  stage.people.begin(PEOPLE);
  await wait(second);
  await takeOver(stage, first, second, async () => assert.equal(await first.stop(), 0));
  await wait(third);
  await takeOver(stage, second, third, () => stage.kill(second));
  await stage.end(SETTLED_WITHIN_MS);
  assert.equal(await third.stop(), 0);
  const verdict = stage.judge();
  console.log(summary("One directory, handed on", [stage.kills], [verdict]));
  assert.deepEqual([verdict.violations, verdict.repeats], [[], []]);
});

Deno.test("a second process on the directory ends after 30 s and names it, while the first goes on", async () => {
  await using directory = new TemporaryDirectory();
  await using stage = await build(directory);
  const [first, second] = stage.replicas;
  assert.ok(first && second);
  await first.start();
  stage.people.begin(PEOPLE);
  const startedAt = performance.now();
  const { process } = second.spawn();
  assert.equal(await process.exitCode(2 * WAITS_MS), 1);
  assert.ok(performance.now() - startedAt >= WAITS_MS);
  assert.ok(process.output.includes(`"${directory.path}": another process has held it for 30 s`), process.output);
  assert.doesNotMatch(process.output, /Listening/);
  await stage.end(SETTLED_WITHIN_MS);
  assert.equal(await first.stop(), 0);
  const verdict = stage.judge();
  console.log(summary("One directory, kept", [stage.kills], [verdict]));
  assert.deepEqual([verdict.violations, verdict.sentAgain], [[], 0]);
});
