// LIVEKIT_RATE_LIMIT over several replicas: counted in Redis together, and by each alone when Redis has gone.

import assert from "node:assert/strict";
import { clientAddress } from "../../lib/admission/client_address.ts";
import { MatrixError } from "../../lib/matrix_error.ts";
import { systemClock } from "../../lib/platform.ts";
import { createRateLimit, type RateLimit } from "../../lib/admission/rate_limit.ts";
import { connectToRedis } from "../../lib/redis/client.ts";
import { RecordingLog } from "../../testing/recording_log.ts";
import { targetOf, until } from "./replica.ts";
import { RedisServer } from "../../testing/redis_server.ts";

/** Whether each of some requests in a row is refused. */
async function outcomes(limit: RateLimit, address: string, requests: number): Promise<boolean[]> {
  const limited: boolean[] = [];
  for (let times = 0; times < requests; times++) {
    try {
      await limit.take(clientAddress(address, null, []));
      limited.push(false);
    } catch (error) {
      if (!(error instanceof MatrixError)) throw error;
      limited.push(true);
    }
  }
  return limited;
}

Deno.test("a real Redis counts for all replicas, forgets with the window, and need not come back", async () => {
  await using server = await RedisServer.start();
  const replicas = [1, 2].map(() => connectToRedis(targetOf(server.url)));
  const limits = replicas.map((redis) =>
    createRateLimit({
      requests: 2,
      windowSeconds: 10,
      redis,
      clock: systemClock,
      log: new RecordingLog(),
    })
  );
  const [one, two] = limits;
  assert.ok(one !== undefined && two !== undefined);
  try {
    await until(() => replicas.every(({ client }) => client.status === "ready"));
    const alice = "203.0.113.1";
    assert.deepEqual(await outcomes(one, alice, 2), [false, false]);
    assert.deepEqual(await outcomes(two, alice, 1), [true]);
    const ttlMs = Number(await server.cli("PTTL", `{lk-jwt:jobs}:rate:${alice}`));
    assert.ok(ttlMs > 0 && ttlMs <= 10_000, `${ttlMs}`);
    await server.kill();
    assert.deepEqual(await outcomes(two, alice, 3), [false, false, true]);
  } finally {
    await Promise.all(limits.map((limit) => limit.close()));
  }
});
