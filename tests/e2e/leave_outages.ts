// Stories about what goes down while people are in a call: the SFU, the service, one of several replicas. Whoever comes
// back has not left; whoever does not, has.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { attend, leave, OVER_TWO_RESTARTS_MS, PROMPTLY_MS, seatOf, SHORT_DELAY_MS, type Story } from "./leave_scene.ts";
import { RedisServer } from "../../testing/redis_server.ts";
import { joinRoom } from "./stack/client.ts";
import { joinFromProcess } from "./stack/client_process.ts";
import { startLiveKit } from "./stack/livekit.ts";
import { grantFor } from "./stack/requests.ts";
import { freeBind } from "./stack/service.ts";

const LONG_MS = 600_000; // no leave comes by itself

// Without a webhook an absence counts once it was seen twice, the sanity interval apart.
const SANITY_INTERVAL_SECONDS = 15;
const LATEST_ABSENCE_MS = 100_000;

const sfuKilled: Story = {
  name: "after the SFU was killed and started again, whoever does not come back has left, and nobody else",
  async tell({ variables, alice }, parts) {
    const bind = await freeBind();
    const { LIVEKIT_KEY: apiKey = "", LIVEKIT_SECRET: apiSecret = "" } = variables;
    const sfu = parts.use(await startLiveKit({ apiKey, apiSecret, webhookUrls: [`http://${bind}/sfu_webhook`] }));
    const service = await parts.service({
      ...variables,
      LIVEKIT_JWT_BIND: bind,
      LIVEKIT_URL: sfu.url,
      LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS: String(SANITY_INTERVAL_SECONDS),
    });
    const seats = [await seatOf(alice), await seatOf(alice)] as const;
    const options = { delayMs: 12_000, join: joinFromProcess };
    const gone = await attend(parts, service, seats[0], options);
    const back = await attend(parts, service, seats[1], options);
    await gone.membership.staysFor(1000);

    // The clients are killed too: what the library does about it by itself is not the matter here.
    await Promise.all([gone.client.kill(), back.client.kill(), sfu.kill()]);
    await sleep(2000);
    await sfu.restart();
    const restartedAt = performance.now();
    await sleep(8000); // by now the service has forgotten that the room was there
    const grant = await grantFor(service, "/sfu/get", seats[1]);
    const client = parts.use(await joinRoom(grant.url, grant.jwt));
    await gone.membership.untilLeft(LATEST_ABSENCE_MS);
    const tookMs = performance.now() - restartedAt;
    assert.ok(tookMs > SANITY_INTERVAL_SECONDS * 1000, `the leave came after ${Math.round(tookMs)} ms`);
    await back.membership.staysFor(PROMPTLY_MS);
    await leave(client);
    await back.membership.untilLeft(PROMPTLY_MS);
  },
};

// LiveKit tells a webhook again for 15 s: after the longer outage nobody tells.
const OUTAGES = [{ how: "stopped", durationMs: 2000 }, { how: "killed", durationMs: 18_000 }] as const;
const OUTLIVING_DELAY_MS = 60_000;

const restarted: readonly Story[] = OUTAGES.map(({ how, durationMs }) => ({
  name: `after the service was ${how} for ${durationMs / 1000} s, whoever hung up meanwhile has left, and nobody else`,
  async tell(scene, parts) {
    const { variables, binds, alice } = scene;
    const directory = await Deno.makeTempDir({ prefix: "lk-jwt-service-state-" });
    parts.defer(() => Deno.remove(directory, { recursive: true }));
    const settings = { ...variables, LIVEKIT_JWT_BIND: binds[how], LIVEKIT_STATE_DIR: directory };
    const service = await parts.service(settings);
    const gone = await attend(parts, service, await seatOf(alice), { delayMs: LONG_MS, join: joinRoom });
    const stays = { delayMs: OUTLIVING_DELAY_MS, join: joinRoom };
    const here = await attend(parts, service, await seatOf(alice), stays);
    await here.membership.staysFor(1000);

    if (how === "killed") await service.kill();
    else assert.equal(await service.stop(), 0);
    await leave(gone.client);
    await Promise.all([gone, here].map(({ membership }) => membership.staysFor(durationMs)));
    await parts.service(settings);
    await Promise.all([
      gone.membership.untilLeft(LATEST_ABSENCE_MS),
      here.membership.staysFor(OUTLIVING_DELAY_MS + 10_000),
    ]);
    await here.membership.staysFor(1000);
    await leave(here.client);
    await here.membership.untilLeft(PROMPTLY_MS);
  },
}));

const replicaKilled: Story = {
  name: "any replica hears of a leave for the one that looks after the call, and another one goes on when that dies",
  async tell(scene, parts) {
    const { variables, binds, alice } = scene;
    const redis = parts.use(await RedisServer.start());
    const shared = { ...variables, LIVEKIT_REDIS_URL: redis.url };
    const heir = await parts.service({ ...shared, LIVEKIT_JWT_BIND: binds.replica });
    const owner = await parts.service(shared); // hears of no webhook itself
    const early = await attend(parts, owner, await seatOf(alice), { delayMs: SHORT_DELAY_MS, join: joinRoom });
    const gone = await attend(parts, owner, await seatOf(alice), { delayMs: LONG_MS, join: joinRoom });
    const stays = { delayMs: OUTLIVING_DELAY_MS, join: joinRoom };
    const here = await attend(parts, owner, await seatOf(alice), stays);
    await early.membership.staysFor(OVER_TWO_RESTARTS_MS);
    await leave(early.client);
    await early.membership.untilLeft(PROMPTLY_MS);

    await owner.kill();
    await leave(gone.client); // while nobody looks after the call
    await gone.membership.untilLeft(20_000);
    await here.membership.staysFor(OUTLIVING_DELAY_MS + 10_000);
    await leave(here.client);
    await here.membership.untilLeft(PROMPTLY_MS);
    assert.equal(await heir.stop(), 0);
  },
};

/** All of them. */
export const OUTAGES_SURVIVED: readonly Story[] = [sfuKilled, ...restarted, replicaKilled];
