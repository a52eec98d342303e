// An end that does not come: the process leaves before a container runtime would kill it, and says so.

import assert from "node:assert/strict";
import { ServiceProcess } from "../../testing/service_process.ts";
import { requestGrant, Surroundings } from "../../testing/surroundings.ts";

Deno.test("a drain that cannot finish ends after 8 s with exit code 1", async () => {
  await using around = await Surroundings.start();
  await using service = await ServiceProcess.start(around.variables);
  around.homeserver.faults.inject({ kind: "hang" });
  const exchange = requestGrant(service, around.homeserver.mintOpenIdToken("alice")).catch(() => null);
  while (around.homeserver.userInfoRequests === 0) await new Promise((resolve) => setTimeout(resolve, 20));

  const startedAt = performance.now();
  service.kill("SIGTERM");
  assert.equal(await service.exitCode(), 1);
  const tookMs = performance.now() - startedAt;
  assert.ok(tookMs > 7500 && tookMs < 9900, `${tookMs} ms`);
  assert.match(service.output, /ERROR +Requests were still in flight after 8 s: leaving anyway\n$/);
  assert.equal(await exchange, null);
});
