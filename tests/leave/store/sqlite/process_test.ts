// The embedded store in processes of their own: with the service's permissions only, and killed at any moment.

import assert from "node:assert/strict";
import { setTimeout as sleepFor } from "node:timers/promises";
import { FILE_NAME } from "../../../../lib/leave/store/sqlite/file.ts";
import { ServiceProcess } from "../../../../testing/service_process.ts";
import { StateDirectory, storedIds } from "./harness.ts";

const ROUNDS = 8;
const VERSIONS_PER_ROUND = 1_000_000;
const MAX_LIFE_MS = 150;

Deno.test("a store that is open goes on writing after the permission to write files is given up", async () => {
  using state = new StateDirectory();
  await using probe = ServiceProcess.spawn({}, {
    module: new URL("./revoked_probe.ts", import.meta.url),
    args: [state.directory],
  });
  assert.equal(await probe.exitCode(), 0, probe.output);
  assert.deepEqual(JSON.parse(probe.output), { file: "NotCapable", durable: 12_000, errors: 0 });
  assert.deepEqual(state.names, [FILE_NAME]);
  assert.equal((await storedIds(state.directory)).length, 1000);
});

Deno.test("a process that is killed at any moment loses no job that it acknowledged", async () => {
  using state = new StateDirectory();
  const acknowledged = new Map<string, number>();
  for (let round = 0; round < ROUNDS; round++) {
    await using probe = ServiceProcess.spawn({}, {
      module: new URL("./crash_probe.ts", import.meta.url),
      args: [state.directory, `${round * VERSIONS_PER_ROUND}`],
    });
    await probe.waitFor(/stored/);
    await sleepFor(Math.random() * MAX_LIFE_MS);
    probe.kill("SIGKILL");
    assert.equal(await probe.exitCode(), 137);
    for (const [, participant = "", version] of probe.output.matchAll(/^stored (\d+) (\d+)\n/gm)) {
      acknowledged.set(participant, Math.max(acknowledged.get(participant) ?? 0, Number(version)));
    }
    // Every other time the next probe has to cope with what was left behind.
    if (round % 2 === 1) assert.deepEqual(missing(acknowledged, await storedIds(state.directory)), []);
  }
  assert.ok(acknowledged.size > ROUNDS);
});

/** Participants whose last acknowledged job is not there, nor a later one in its place. */
function missing(acknowledged: ReadonlyMap<string, number>, ids: readonly string[]): string[] {
  const stored = new Map<string, number>();
  for (const id of ids) {
    const [, participant = "", version] = id.split("_");
    stored.set(participant, Number(version));
  }
  return [...acknowledged].filter(([participant, version]) => (stored.get(participant) ?? -1) < version)
    .map(([participant]) => participant);
}
