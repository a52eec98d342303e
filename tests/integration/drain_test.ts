// The end: whoever is being served gets an answer, nobody new is let in, and the exit code says how it went.

import assert from "node:assert/strict";
import { ServiceProcess } from "../../testing/service_process.ts";
import { requestGrant, Surroundings } from "../../testing/surroundings.ts";

const IN_FLIGHT = 20;

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  Deno.test(`${signal} lets ${IN_FLIGHT} exchanges behind a slow homeserver end well, and refuses new connections`, async () => {
    await using around = await Surroundings.start();
    await using service = await ServiceProcess.start(around.variables);
    around.homeserver.faults.inject({ kind: "delay", durationMs: 1500 });
    const exchanges = Array.from(
      { length: IN_FLIGHT },
      (_, index) =>
        requestGrant(service, around.homeserver.mintOpenIdToken(`user${index}`), `!room${index}:example.com`),
    );
    await waitUntil(() => around.homeserver.userInfoRequests === IN_FLIGHT);

    service.kill(signal);
    await service.waitFor(new RegExp(`Stopping signal=${signal}`));
    await assert.rejects(fetch(`${service.url}/healthz`), TypeError);

    for (const response of await Promise.all(exchanges)) {
      assert.equal(response.status, 200);
      assert.ok((await response.json()).jwt);
    }
    assert.equal(await service.exitCode(), 0);
    assert.match(service.output, /Stopped\n$/);
  });
}

Deno.test("an idle service ends at once, with connections that are kept alive or silent", async () => {
  await using around = await Surroundings.start();
  await using service = await ServiceProcess.start(around.variables);
  await (await requestGrant(service, around.homeserver.mintOpenIdToken("alice"))).json();
  const { hostname, port } = new URL(service.url);
  using _silent = await Deno.connect({ hostname, port: Number(port) });
  using halfHeader = await Deno.connect({ hostname, port: Number(port) });
  await halfHeader.write(new TextEncoder().encode("POST /sfu/get HTTP/1.1\r\nHost: x\r\n"));
  const startedAt = performance.now();
  service.kill("SIGTERM");
  assert.equal(await service.exitCode(), 0);
  assert.ok(performance.now() - startedAt < 7000, service.output);
});

Deno.test("a second signal changes nothing", async () => {
  await using around = await Surroundings.start();
  await using service = await ServiceProcess.start(around.variables);
  around.homeserver.faults.inject({ kind: "delay", durationMs: 1000 });
  const exchange = requestGrant(service, around.homeserver.mintOpenIdToken("alice"));
  await waitUntil(() => around.homeserver.userInfoRequests === 1);
  service.kill("SIGTERM");
  await service.waitFor(/Stopping/);
  service.kill("SIGINT");
  service.kill("SIGTERM");
  const response = await exchange;
  assert.equal(response.status, 200);
  await response.body?.cancel();
  assert.equal(await service.exitCode(), 0);
});

async function waitUntil(condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 500 && !condition(); turn++) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(condition());
}
