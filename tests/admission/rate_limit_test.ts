// So many requests per client and window: in memory, in Redis, and in memory again when Redis is away.

import assert from "node:assert/strict";
import { clientAddress } from "../../lib/admission/client_address.ts";
import { MatrixError } from "../../lib/matrix_error.ts";
import { systemClock } from "../../lib/platform.ts";
import { createRateLimit, type RateLimit } from "../../lib/admission/rate_limit.ts";
import { RecordingLog } from "../../testing/recording_log.ts";

function limitOf(client: FakeRedis | null = null) {
  const log = new RecordingLog();
  const redis = client === null ? null : { client, disconnect: () => Promise.resolve() };
  const limit = createRateLimit({ requests: 2, windowSeconds: 10, redis, clock: systemClock, log });
  return { limit, log, [Symbol.asyncDispose]: () => limit.close() };
}

async function isLimited(limit: RateLimit, address: string): Promise<boolean> {
  try {
    await limit.take(clientAddress(address, null, []));
    return false;
  } catch (error) {
    assert.ok(error instanceof MatrixError);
    assert.deepEqual([error.status, error.errcode], [429, "M_LIMIT_EXCEEDED"]);
    const { retryAfterMs = NaN, retryAfterSeconds = NaN } = error;
    assert.ok(retryAfterMs > 0 && retryAfterMs <= 10_000, `${retryAfterMs}`);
    assert.equal(retryAfterSeconds, Math.ceil(retryAfterMs / 1000));
    return true;
  }
}

async function outcomes(limit: RateLimit, ...addresses: readonly string[]): Promise<boolean[]> {
  const limited: boolean[] = [];
  for (const address of addresses) limited.push(await isLimited(limit, address));
  return limited;
}

/** As much of ioredis as the library uses: one script, which counts. */
class FakeRedis {
  status = "ready";
  readonly counts = new Map<string, number>();
  answer: "count" | "fail" | "hang" = "count";

  defineCommand(): void {}

  rlflxIncr([key = "", points]: readonly string[]): Promise<unknown> {
    if (this.answer === "hang") return new Promise(() => {});
    if (this.answer === "fail") return Promise.reject(new Error("READONLY"));
    const consumed = (this.counts.get(key) ?? 0) + Number(points);
    this.counts.set(key, consumed);
    return Promise.resolve([consumed, 9000]);
  }
}

Deno.test("the third request of one client is over the limit of two, other clients are not", async () => {
  await using fixture = limitOf();
  const { limit, log } = fixture;
  const alice = "203.0.113.1";
  assert.deepEqual(await outcomes(limit, alice, alice, alice, "203.0.113.2", alice), [false, false, true, false, true]);
  assert.deepEqual(log.written.map(({ level, fields }) => [level, fields.client]), [["info", alice]]);
});

Deno.test("all addresses of an IPv6 /64 are one client", async () => {
  await using fixture = limitOf();
  assert.deepEqual(
    await outcomes(fixture.limit, "2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"),
    [false, false, true, false],
  );
});

Deno.test("a client nobody knows is not counted", async () => {
  await using fixture = limitOf();
  for (let times = 0; times < 5; times++) await fixture.limit.take(null);
});

Deno.test("past 5,000 clients the one least recently seen is forgotten", async () => {
  await using fixture = limitOf();
  const { limit } = fixture;
  const address = (index: number) => `10.${index >> 16}.${index >> 8 & 255}.${index & 255}`;
  assert.deepEqual(await outcomes(limit, address(0), address(0), address(1), address(1)), Array(4).fill(false));
  for (let index = 2; index < 5000; index++) await limit.take(clientAddress(address(index), null, []));
  assert.equal(await isLimited(limit, address(0)), true);
  await limit.take(clientAddress("192.0.2.1", null, [])); // one too many: address(1) goes
  assert.deepEqual(await outcomes(limit, address(0), address(1)), [true, false]);
});

Deno.test("with Redis the counts are there, under the tag of the service's other keys", async () => {
  const redis = new FakeRedis();
  await using one = limitOf(redis);
  await using other = limitOf(redis);
  const alice = "203.0.113.1";
  assert.deepEqual(await outcomes(one.limit, alice, alice), [false, false]);
  assert.equal(await isLimited(other.limit, alice), true);
  assert.deepEqual([...redis.counts], [["{lk-jwt:jobs}:rate:203.0.113.1", 3]]);
});

for (const away of ["not ready", "fail", "hang"] as const) {
  Deno.test(`with a Redis that is away (${away}) each replica counts for itself`, async () => {
    const redis = new FakeRedis();
    if (away === "not ready") redis.status = "reconnecting";
    else redis.answer = away;
    await using fixture = limitOf(redis);
    const startedAt = performance.now();
    const alice = "203.0.113.1";
    assert.deepEqual(await outcomes(fixture.limit, alice, alice, alice, alice), [false, false, true, true]);
    assert.ok(performance.now() - startedAt < 2000, "waited for Redis each time");
    assert.match(fixture.log.text, /Redis does not answer/);
  });
}
