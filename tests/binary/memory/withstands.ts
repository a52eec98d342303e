// The test of one kind of pressure: the executable in 200 MiB (its bundle on a whole Deno in more) is not killed, nor ends, nor lets its health check wait.
// Each kind has a file of its own, so that they run side by side. MEMORY_SECONDS: how long each presses.

import assert from "node:assert/strict";
import { press, type Pressure } from "../../../testing/pressure/pressure.ts";

const SECONDS = Number(Deno.env.get("MEMORY_SECONDS") ?? 60);
// Orchestrators give a probe one second.
const MAX_HEALTH_MS = 1000;

/** Defines it. */
export function testPressure(pressure: Pressure): void {
  Deno.test({
    name: `the executable in 200 MiB withstands ${pressure.what}`,
    sanitizeOps: false, // what others are doing when the service is taken away from them
    sanitizeResources: false,
    async fn() {
      const { isRunning, memory, health, done, output } = await press(pressure, SECONDS * 1000);
      const peakMiB = memory.peakBytes / 1024 / 1024;
      const limitMiB = memory.limitBytes / 1024 / 1024;
      console.log(
        `${done}; at most ${peakMiB.toFixed(0)} of ${limitMiB} MiB, slowest health check ${
          health.slowestMs.toFixed(0)
        } ms`,
      );
      if (!memory.isLimited) {
        console.log("No control group can be made here: the memory is read, and nothing limits it");
      }
      assert.deepEqual({ isRunning, kills: memory.kills }, { isRunning: true, kills: 0 }, output);
      assert.ok(memory.peakBytes > 0 && memory.peakBytes < memory.limitBytes, `${peakMiB} MiB`);
      assert.equal(health.failed, 0, `${health.failed} health checks failed, ${health.answered} did not`);
      assert.ok(health.slowestMs < MAX_HEALTH_MS, `a health check took ${health.slowestMs} ms`);
    },
  });
}
