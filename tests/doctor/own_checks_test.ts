// What the doctor says of the service's own surroundings.

import assert from "node:assert/strict";
import { checkConfiguration, checkRunning, checkStateDirectory, directoryFacts } from "../../lib/doctor/own_checks.ts";
import { judgeInfo } from "../../lib/doctor/redis_check.ts";
import { json, page } from "./healthy_world.ts";

Deno.test("each problem of the configuration is an error, each warning a warning", () => {
  assert.deepEqual(checkConfiguration(["a", "b"], ["c"]).map(({ outcome, answered }) => [outcome, answered]), [
    ["error", "a"],
    ["error", "b"],
    ["warning", "c"],
  ]);
  assert.deepEqual(checkConfiguration([], ["c"]).map(({ outcome }) => outcome), ["warning"]);
  assert.deepEqual(checkConfiguration([], []).map(({ outcome }) => outcome), ["ok"]);
});

const directory = { isDirectory: true, isWritable: true, isWorldWritable: false };
const options = { stateDir: "/var/lib/lk-jwt-service", usesRedis: false, delegation: true };

for (
  const [what, outcome, changes, facts] of [
    ["a directory of this user", "ok", {}, directory],
    ["Redis", "ok", { usesRedis: true }, directory],
    ["delegation off", "skipped", { delegation: false }, directory],
    ["nothing", "warning", { stateDir: null }, directory],
    ["a file", "error", {}, { ...directory, isDirectory: false }],
    ["a directory of somebody else", "error", {}, { ...directory, isWritable: false }],
    ["a directory for everybody", "warning", {}, { ...directory, isWorldWritable: true }],
  ] as const
) {
  Deno.test(`kept in ${what}: ${outcome}`, () => {
    assert.equal(checkStateDirectory({ ...options, ...changes }, () => facts).outcome, outcome);
  });
}

Deno.test("a state directory that is not there is an error; one that is, is left as it was", async () => {
  assert.equal(checkStateDirectory({ ...options, stateDir: "/nonexistent/dir" }).outcome, "error");
  const path = await Deno.makeTempDir();
  try {
    assert.deepEqual(directoryFacts(path), directory);
    assert.deepEqual([...Deno.readDirSync(path)], []);
  } finally {
    await Deno.remove(path);
  }
});

const redis = { id: "own.redis", title: "", asked: "" };

for (
  const [info, outcome] of [
    ["redis_version:7.0.15\r\naof_enabled:1\r\n", "ok"],
    ["redis_version:7.0.15\r\naof_enabled:0\r\nrdb_last_save_time:1\r\n", "warning"],
    ["redis_version:4.0.9\r\naof_enabled:1\r\n", "error"],
    ["redis_version:7.0.15\r\naof_enabled:1\r\nmaxmemory:1000\r\nmaxmemory_policy:allkeys-lru\r\n", "warning"],
  ] as const
) {
  Deno.test(`Redis that says ${JSON.stringify(info)}: ${outcome}`, () => {
    assert.equal(judgeInfo(redis, info).outcome, outcome);
  });
}

const url = new URL("http://127.0.0.1:9464/status");
const { signal } = new AbortController();
const status = (age: number | null, connected: number) =>
  json(200, { version: "1.2.3", last_webhook_seconds_ago: age, jobs: { waiting: 0, connected, leaving: 0 } });

for (
  const [what, answer, outcome] of [
    ["came a while ago", status(60, 0), "ok"],
    ["never came, and nobody is in a call", status(null, 0), "warning"],
    ["never came, while people are in calls", status(null, 3), "error"],
    ["are told of by something else", page(200), "skipped"],
  ] as const
) {
  Deno.test(`webhooks ${what}: ${outcome}`, async () => {
    const check = await checkRunning(url, () => Promise.resolve({ outcome: "answer", response: answer }), signal);
    assert.equal(check.outcome, outcome);
  });
}

Deno.test("where no service runs, webhooks are nobody's fault", async () => {
  const probe = () => Promise.resolve({ outcome: "no-answer", failure: "connect", message: "refused" } as const);
  assert.equal((await checkRunning(url, probe, signal)).outcome, "skipped");
  assert.equal((await checkRunning(null, probe, signal)).outcome, "skipped");
});
