// Servers that take a request and stay silent: the client has its answer within the deadline of an exchange.

import assert from "node:assert/strict";
import { ServiceProcess } from "../../testing/service_process.ts";
import { requestGrant, Surroundings } from "../../testing/surroundings.ts";

Deno.test("a homeserver that stays silent is 401 after 10 s, an SFU that does is 500, and the log knows both", async () => {
  await using around = await Surroundings.start();
  await using service = await ServiceProcess.start(around.variables);
  const alice = around.homeserver.mintOpenIdToken("alice");
  await (await requestGrant(service, alice)).json();
  const bob = around.homeserver.mintOpenIdToken("bob");
  around.homeserver.faults.inject({ kind: "hang" });
  around.sfu.faults.inject({ kind: "hang" });

  const startedAt = performance.now();
  const [homeserverSilent, sfuSilent] = await Promise.all([
    requestGrant(service, bob),
    requestGrant(service, alice, "!other:example.com"),
  ]);
  const tookMs = performance.now() - startedAt;
  assert.ok(tookMs > 9000 && tookMs < 14_000, `${tookMs} ms`);
  assert.deepEqual([homeserverSilent.status, await homeserverSilent.json()], [401, {
    errcode: "M_UNAUTHORIZED",
    error: "The request could not be authorised.",
  }]);
  assert.deepEqual([sfuSilent.status, await sfuSilent.json()], [500, {
    errcode: "M_UNKNOWN",
    error: "Unable to create room on SFU",
  }]);
  await service.waitFor(/Cannot verify an OpenID token.*No answer from localhost:\d+ in time/, 5000);
  await service.waitFor(/Cannot create a room on the SFU.*failure=timeout/, 5000);
  assert.doesNotMatch(service.output, /this is a bug/);
});
