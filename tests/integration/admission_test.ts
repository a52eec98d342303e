// Lists of homeservers, the rate limit and pseudonyms, as the environment sets them and the process keeps them.

import assert from "node:assert/strict";
import { pseudonym } from "../../lib/log/pseudonyms.ts";
import { ServiceProcess } from "../../testing/service_process.ts";
import { requestGrant, startHomeserver, Surroundings } from "../../testing/surroundings.ts";

async function outcome(response: Response): Promise<[status: number, errcode: unknown]> {
  return [response.status, (await response.json()).errcode];
}

Deno.test("only allowed homeservers and those with full access are asked", async () => {
  await using around = await Surroundings.start();
  await using stranger = await startHomeserver();
  const LIVEKIT_ALLOWED_HOMESERVERS = "*.example.com";
  await using service = await ServiceProcess.start({ ...around.variables, LIVEKIT_ALLOWED_HOMESERVERS });
  const ours = await requestGrant(service, around.homeserver.mintOpenIdToken("alice"));
  assert.deepEqual(await outcome(ours), [200, undefined]);
  const refused = await requestGrant(service, stranger.mintOpenIdToken("mallory"));
  assert.equal(refused.headers.get("access-control-allow-origin"), "*");
  assert.deepEqual(await outcome(refused), [403, "M_FORBIDDEN"]);
  assert.equal(stranger.userInfoRequests, 0);
});

Deno.test("a blocked homeserver is refused although it has full access", async () => {
  await using around = await Surroundings.start();
  const LIVEKIT_BLOCKED_HOMESERVERS = around.homeserver.serverName;
  await using service = await ServiceProcess.start({ ...around.variables, LIVEKIT_BLOCKED_HOMESERVERS });
  assert.match(service.output, /WARNING LIVEKIT_BLOCKED_HOMESERVERS covers .*: it is refused\n/);
  const refused = await requestGrant(service, around.homeserver.mintOpenIdToken("alice"));
  assert.deepEqual(await outcome(refused), [403, "M_FORBIDDEN"]);
  assert.equal(around.homeserver.userInfoRequests, 0);
});

Deno.test("the rate limit counts clients behind a trusted proxy one by one", async () => {
  await using around = await Surroundings.start();
  const limits = { LIVEKIT_RATE_LIMIT: "2/1h", LIVEKIT_TRUSTED_PROXIES: "127.0.0.1" };
  await using service = await ServiceProcess.start({ ...around.variables, ...limits });
  const ask = async (client: string) => {
    const response = await fetch(`${service.url}/sfu/get`, {
      method: "POST",
      headers: { "x-forwarded-for": `192.0.2.66, ${client}` },
      body: JSON.stringify({ room: "!r:example.com", openid_token: around.homeserver.mintOpenIdToken("alice") }),
    });
    return { retryAfter: response.headers.get("retry-after"), status: response.status, body: await response.json() };
  };
  assert.deepEqual([(await ask("203.0.113.1")).status, (await ask("203.0.113.1")).status], [200, 200]);
  const { retryAfter, status, body } = await ask("203.0.113.1");
  assert.deepEqual([status, body.errcode], [429, "M_LIMIT_EXCEEDED"]);
  assert.ok(body.retry_after_ms > 3_500_000 && body.retry_after_ms <= 3_600_000);
  assert.equal(retryAfter, String(Math.ceil(body.retry_after_ms / 1000)));
  assert.equal((await ask("203.0.113.2")).status, 200);
  for (let times = 0; times < 5; times++) {
    const health = await fetch(`${service.url}/healthz`, { headers: { "x-forwarded-for": "203.0.113.1" } });
    await health.body?.cancel();
    assert.equal(health.status, 200);
  }
});

Deno.test("LIVEKIT_LOG_IDS=hash keeps users and rooms out of the log", async () => {
  await using around = await Surroundings.start();
  const variables = { ...around.variables, LIVEKIT_LOG_IDS: "hash", LIVEKIT_LOG_LEVEL: "debug" };
  await using service = await ServiceProcess.start(variables);
  const granted = await requestGrant(service, around.homeserver.mintOpenIdToken("alice"));
  assert.deepEqual(await outcome(granted), [200, undefined]);
  await service.waitFor(/Granted .*\n/);
  assert.match(service.output, new RegExp(`user=${pseudonym(`@alice:${around.homeserver.serverName}`)}`));
  assert.match(service.output, new RegExp(`room_id=${pseudonym("!room:example.com")}`));
  assert.doesNotMatch(service.output, /alice|!room/);
});
