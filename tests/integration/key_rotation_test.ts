// SIGHUP: new API keys for a living service, and nothing else happens to it, whatever it runs with.

import assert from "node:assert/strict";
import type { ApiKey } from "../../lib/livekit/access_token.ts";
import { verifyJwt } from "../../lib/livekit/jwt_signature.ts";
import { Secret } from "../../lib/secret.ts";
import { freePort, ServiceProcess } from "../../testing/service_process.ts";
import { signWebhook } from "../../testing/signed_webhook.ts";
import { requestGrant, Surroundings } from "../../testing/surroundings.ts";

const OTHER: ApiKey = { name: "rotated", secret: new Secret("another secret of at least 32 characters") };

function issuerOf(jwt: string): string {
  return JSON.parse(atob(jwt.split(".")[1] ?? "")).iss;
}

function line({ name, secret }: ApiKey): string {
  return `${name}: ${secret.reveal()}\n`;
}

/** Asks for a grant; a restricted user's, which needs no SFU that knows the key. */
async function grant(service: ServiceProcess, around: Surroundings, user: string): Promise<string> {
  const response = await requestGrant(service, around.homeserver.mintOpenIdToken(user));
  const body = await response.json();
  assert.equal(response.status, 200, JSON.stringify(body));
  return body.jwt;
}

Deno.test("SIGHUP changes keys without dropping a request, keeps them when the file is broken, and ends nothing", async () => {
  await using around = await Surroundings.start();
  const old: ApiKey = { name: around.sfu.apiKey, secret: new Secret(around.sfu.apiSecret) };
  const path = `${around.directory.path}/keys`;
  await Deno.writeTextFile(path, line(old), { mode: 0o600 });
  const { LIVEKIT_KEY: _key, LIVEKIT_SECRET: _secret, ...variables } = around.variables;
  await using service = await ServiceProcess.start({
    ...variables,
    LIVEKIT_KEY_FILE: path,
    LIVEKIT_FULL_ACCESS_HOMESERVERS: "ours.example",
    LIVEKIT_FEDERATION_ALLOW_NETWORKS: "127.0.0.0/8",
  });
  assert.equal(issuerOf(await grant(service, around, "alice")), old.name);

  // Requests go on all the while; each gets a token of one key or the other.
  let isOver = false;
  const issuers = new Set<string>();
  const storm = Promise.all(Array.from({ length: 8 }, async (_, index) => {
    for (let round = 0; !isOver; round++) {
      issuers.add(issuerOf(await grant(service, around, `user${index}-${round}`)));
    }
  }));
  while (issuers.size === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await Deno.writeTextFile(path, line(OTHER) + line(old));
  service.kill("SIGHUP");
  await service.waitFor(/Read the API keys anew signs=rotated takes_webhooks_of=\["rotated",".*"\]\n/);
  const jwt = await grant(service, around, "bob");
  isOver = true;
  await storm;
  assert.deepEqual([...issuers].sort(), [old.name, OTHER.name].sort());
  assert.equal(issuerOf(jwt), OTHER.name);
  assert.ok(verifyJwt(jwt, () => OTHER.secret).ok);

  await Deno.writeTextFile(path, "no key at all");
  service.kill("SIGHUP");
  await service.waitFor(/ERROR +Cannot read the API keys anew, the old ones stay problems=.*LIVEKIT_KEY_FILE.*\n/);
  assert.equal(issuerOf(await grant(service, around, "carol")), OTHER.name);
  for (const secret of [old, OTHER]) assert.ok(!service.output.includes(secret.secret.reveal()));

  service.kill("SIGTERM");
  assert.equal(await service.exitCode(), 0);
});

Deno.test("webhooks are taken in by the new keys, and by the old one only while the file has it", async () => {
  await using around = await Surroundings.start();
  const old: ApiKey = { name: around.sfu.apiKey, secret: new Secret(around.sfu.apiSecret) };
  const path = `${around.directory.path}/keys`;
  await Deno.writeTextFile(path, line(old), { mode: 0o600 });
  const { LIVEKIT_KEY: _key, LIVEKIT_SECRET: _secret, ...variables } = around.variables;
  await using service = await ServiceProcess.start({ ...variables, LIVEKIT_KEY_FILE: path });
  await Deno.writeTextFile(path, line(OTHER));
  service.kill("SIGHUP");
  await service.waitFor(/Read the API keys anew signs=rotated/);
  await sendWebhook(service, OTHER, "for another body");
  await service.waitFor(/Ignored a webhook that does not verify cause="wrong body hash.*rejected=1\n/);
  await sendWebhook(service, old);
  await service.waitFor(/Ignored a webhook that does not verify cause="signed with another API key.*rejected=2\n/);
});

async function sendWebhook(service: ServiceProcess, key: ApiKey, hashed?: string): Promise<void> {
  const body = '{"event":"room_started","id":"EV_1"}';
  const authorization = signWebhook({ name: key.name, secret: key.secret.reveal() }, hashed ?? body);
  const response = await fetch(`${service.url}/sfu_webhook`, {
    method: "POST",
    headers: { authorization, "content-type": "application/webhook+json" },
    body,
  });
  await response.body?.cancel();
  assert.equal(response.status, 200);
}

const LEAST = {
  LIVEKIT_URL: "wss://sfu.example.com",
  LIVEKIT_KEY: "devkey",
  LIVEKIT_SECRET: "a secret of at least 32 characters",
  LIVEKIT_FULL_ACCESS_HOMESERVERS: "example.com",
  LIVEKIT_JWT_BIND: "127.0.0.1:0",
};

for (const changes of [{}, { LIVEKIT_DELEGATION: "off", LIVEKIT_LOG_LEVEL: "error" }]) {
  Deno.test(`SIGHUP does not end a service with ${JSON.stringify(changes)}`, async () => {
    // With the log level "error" nobody says where it listens.
    const port = "LIVEKIT_LOG_LEVEL" in changes ? freePort() : 0;
    const variables = { ...LEAST, ...changes, LIVEKIT_JWT_BIND: `127.0.0.1:${port}` };
    await using service = port === 0 ? await ServiceProcess.start(variables) : ServiceProcess.spawn(variables);
    const url = port === 0 ? service.url : `http://127.0.0.1:${port}`;
    await untilHealthy(url);
    for (let times = 0; times < 3; times++) service.kill("SIGHUP");
    if (port === 0) await service.waitFor(/Nothing to read anew: no API key comes from a file/);
    await untilHealthy(url);
    service.kill("SIGTERM");
    assert.equal(await service.exitCode(), 0);
  });
}

async function untilHealthy(url: string): Promise<void> {
  for (let attempt = 0;; attempt++) {
    try {
      const response = await fetch(`${url}/healthz`);
      await response.body?.cancel();
      assert.equal(response.status, 200);
      return;
    } catch (error) {
      if (attempt > 500) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
