// An end beside what hangs: whoever is being served is refused in time, and the process leaves before a container runtime
// would kill it, as one that ended well.

import assert from "node:assert/strict";
import { ServiceProcess } from "../../testing/service_process.ts";
import { requestGrant, Surroundings } from "../../testing/surroundings.ts";

/** A request whose body never comes, and what is answered to it. */
async function halfABody(url: string): Promise<string> {
  const { hostname, port } = new URL(url);
  using connection = await Deno.connect({ hostname, port: Number(port) });
  const head = "POST /sfu/get HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
  await connection.write(new TextEncoder().encode(head));
  return await new Response(connection.readable).text();
}

Deno.test("a process that is ended beside a hanging homeserver, a hanging SFU and half a body refuses all three and ends with 0", async () => {
  await using around = await Surroundings.start();
  await using service = await ServiceProcess.start(around.variables);
  around.sfu.faults.inject({ kind: "hang" });
  const atSfu = requestGrant(service, around.homeserver.mintOpenIdToken("alice"));
  while (around.homeserver.userInfoRequests < 1) await new Promise((resolve) => setTimeout(resolve, 20));
  around.homeserver.faults.inject({ kind: "hang" });
  const atHomeserver = requestGrant(service, around.homeserver.mintOpenIdToken("bob"));
  while (around.homeserver.userInfoRequests < 2) await new Promise((resolve) => setTimeout(resolve, 20));
  const half = halfABody(service.url);
  await new Promise((resolve) => setTimeout(resolve, 100));

  const startedAt = performance.now();
  service.kill("SIGTERM");
  for (const response of await Promise.all([atSfu, atHomeserver])) {
    assert.equal(response.status, 503);
    assert.equal(response.headers.get("retry-after"), "1");
    assert.deepEqual(await response.json(), { errcode: "M_UNKNOWN", error: "The service is shutting down" });
  }
  assert.match(await half, /^HTTP\/1\.1 503 .*\r\nretry-after: 1\r\n/s);
  assert.equal(await service.exitCode(), 0);
  assert.ok(performance.now() - startedAt < 8000, service.output);
  assert.match(service.output, /INFO +Stopped\n$/);
});

Deno.test("a process that is ended beside a Redis that hangs ends with 0, before a container runtime would kill it", async () => {
  await using around = await Surroundings.start();
  using redis = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using service = await ServiceProcess.start({
    ...around.variables,
    LIVEKIT_REDIS_URL: `redis://127.0.0.1:${redis.addr.port}`,
    LIVEKIT_RATE_LIMIT: "100/1s",
  });
  const granted = await requestGrant(service, around.homeserver.mintOpenIdToken("alice"));
  assert.equal(granted.status, 200);
  await granted.body?.cancel();
  const startedAt = performance.now();
  service.kill("SIGTERM");
  assert.equal(await service.exitCode(), 0);
  assert.ok(performance.now() - startedAt < 8000, service.output);
});
