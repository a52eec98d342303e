// What the executable talks to in these tests, and what a client does: a homeserver over plain HTTP that an override
// names, an SFU, and whole exchanges.

import assert from "node:assert/strict";
import { DevelopmentHomeserver } from "../../testing/fake_homeserver.ts";
import { DevelopmentSfu } from "../../testing/fake_sfu.ts";

const SERVER_NAME = "example.com";
const DELAY_MS = 4000;

/** The services beside the one under test. */
export interface Backend extends AsyncDisposable {
  /** An operator's environment for them, without `LIVEKIT_JWT_BIND`. */
  readonly variables: Readonly<Record<string, string>>;
  /** Asks the service at a base URL for a LiveKit token, as a user of whom it has not heard, and joins with it. */
  exchange(serviceUrl: string): Promise<void>;
  /** Hands over a leave event that is due in a few seconds, as a user who is in no call. */
  delegate(serviceUrl: string, delayId: string): Promise<void>;
}

/** Starts them. */
export async function startBackend(): Promise<Backend> {
  await using started = new AsyncDisposableStack();
  const homeserver = started.use(await DevelopmentHomeserver.start({ serverName: SERVER_NAME }));
  const sfu = started.use(await DevelopmentSfu.start());
  let users = 0;
  const parts = started.move();
  return {
    variables: {
      LIVEKIT_URL: sfu.url,
      LIVEKIT_KEY: sfu.apiKey,
      LIVEKIT_SECRET: sfu.apiSecret,
      LIVEKIT_FULL_ACCESS_HOMESERVERS: SERVER_NAME,
      LIVEKIT_FEDERATION_URL_OVERRIDES: `${SERVER_NAME}=${homeserver.url.origin}`,
      LIVEKIT_CS_API_URL_OVERRIDES: `${SERVER_NAME}=${homeserver.url.origin}`,
    },
    async exchange(serviceUrl) {
      const localpart = `user${users++}`;
      const response = await fetch(`${serviceUrl}/sfu/get`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({
          room: `!${localpart}:${SERVER_NAME}`,
          device_id: "DEVICE",
          openid_token: homeserver.mintOpenIdToken(localpart),
        }),
      });
      const answer: unknown = await response.json();
      assert.equal(response.status, 200, JSON.stringify(answer));
      assert.ok(typeof answer === "object" && answer !== null && "url" in answer && "jwt" in answer);
      assert.equal(answer.url, sfu.url);
      // Lets nobody in whose token is wrong or whose room the service has not created.
      const { identity } = await sfu.join(String(answer.jwt));
      assert.equal(identity, `@${localpart}:${SERVER_NAME}:DEVICE`);
    },
    async delegate(serviceUrl, delayId) {
      const response = await fetch(`${serviceUrl}/delegate_delayed_leave`, {
        method: "POST",
        body: JSON.stringify({
          room_id: `!room:${SERVER_NAME}`,
          slot_id: "m.call#ROOM",
          openid_token: homeserver.mintOpenIdToken("alice"),
          member: { id: "member", claimed_user_id: `@alice:${SERVER_NAME}`, claimed_device_id: "DEVICE" },
          delay_id: delayId,
          delay_timeout: DELAY_MS,
        }),
      });
      assert.deepEqual([response.status, await response.json()], [200, {}]);
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}
