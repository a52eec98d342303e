// The whole job over HTTP, as a process among a homeserver with verified TLS and an SFU.

import assert from "node:assert/strict";
import { ServiceProcess } from "../../testing/service_process.ts";
import { requestGrant, startHomeserver, Surroundings } from "../../testing/surroundings.ts";

function videoOf(jwt: string) {
  return JSON.parse(atob(jwt.split(".")[1] ?? "")).video;
}

Deno.test("own users get a room, others only a token, impostors nothing, and no secret is printed", async () => {
  await using around = await Surroundings.start();
  await using foreign = await startHomeserver();
  await using impostor = await startHomeserver("@alice:example.com");
  await using service = await ServiceProcess.start({
    ...around.variables,
    LIVEKIT_FEDERATION_ALLOW_NETWORKS: "127.0.0.0/8",
    LIVEKIT_LOG_LEVEL: "debug",
  });
  const printed: string[] = [around.sfu.apiSecret];

  const alice = around.homeserver.mintOpenIdToken("alice");
  const granted = await requestGrant(service, alice);
  assert.equal(granted.status, 200);
  const { url, jwt } = await granted.json();
  assert.equal(url, around.sfu.url);
  assert.equal(around.sfu.callCount("CreateRoom"), 1);
  const joined = await around.sfu.join(jwt);
  assert.equal(joined.identity, `@alice:${around.homeserver.serverName}:DEVICE`);
  printed.push(alice.access_token, jwt);

  const bob = foreign.mintOpenIdToken("bob");
  const restricted = await requestGrant(service, bob);
  assert.equal(restricted.status, 200);
  const { jwt: bobsJwt } = await restricted.json();
  assert.equal(videoOf(bobsJwt).room, videoOf(jwt).room);
  await around.sfu.join(bobsJwt);
  assert.equal(around.sfu.callCount("CreateRoom"), 1);
  printed.push(bob.access_token, bobsJwt);

  const elsewhere = await requestGrant(service, bob, "!empty:example.com");
  assert.equal(elsewhere.status, 200);
  await assert.rejects(around.sfu.join((await elsewhere.json()).jwt), { status: 404 });

  const mallory = impostor.mintOpenIdToken("mallory");
  const refused = await requestGrant(service, mallory);
  assert.deepEqual([refused.status, await refused.json()], [401, {
    errcode: "M_UNAUTHORIZED",
    error: "The request could not be authorised.",
  }]);
  printed.push(mallory.access_token);
  await service.waitFor(/belongs to another server/);

  around.sfu.faults.inject({ kind: "status", status: 401, body: "no permission" }, { times: 1 });
  const broken = await requestGrant(service, alice, "!other:example.com");
  assert.deepEqual([broken.status, (await broken.json()).error], [500, "Unable to create room on SFU"]);
  await service.waitFor(/failure=key-mismatch/);

  service.kill("SIGTERM");
  assert.equal(await service.exitCode(), 0);
  for (const secret of printed) assert.equal(service.output.includes(secret), false, `${secret} was printed`);
  assert.doesNotMatch(service.output, /eyJ|access_token=/);
});

Deno.test("a homeserver whose certificate nobody vouches for is not believed", async () => {
  await using around = await Surroundings.start();
  const { LIVEKIT_EXTRA_CA_FILE: _, ...variables } = around.variables;
  await using service = await ServiceProcess.start(variables);
  const response = await requestGrant(service, around.homeserver.mintOpenIdToken("alice"));
  assert.equal(response.status, 401);
  await response.body?.cancel();
  assert.equal(around.homeserver.userInfoRequests, 0);
  await service.waitFor(/Cannot verify an OpenID token.*TLS failed with/);
});

Deno.test("an internal homeserver that nobody listed is not asked, and the log says what to do", async () => {
  await using around = await Surroundings.start();
  await using foreign = await startHomeserver();
  await using service = await ServiceProcess.start(around.variables);
  const response = await requestGrant(service, foreign.mintOpenIdToken("bob"));
  assert.equal(response.status, 401);
  await response.body?.cancel();
  assert.equal(foreign.connections, 0);
  await service.waitFor(
    /WARNING +Cannot verify an OpenID token.*its address is not public.*LIVEKIT_FEDERATION_ALLOW_NETWORKS/,
  );
});
