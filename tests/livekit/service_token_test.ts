// The service's own tokens: signed once, used for five minutes, renewed by a clock that never jumps.

import assert from "node:assert/strict";
import { AccessTokenSigner } from "../../lib/livekit/access_token.ts";
import { roomAlias } from "../../lib/livekit/identity.ts";
import { RoomService } from "../../lib/livekit/room_service.ts";
import { systemClock } from "../../lib/platform.ts";
import { Secret } from "../../lib/secret.ts";
import { FakeOutbound } from "../../testing/fake_outbound.ts";

const ALIAS = roomAlias("!room:example.com", "m.call#ROOM");

Deno.test("a service token is used for five minutes, then signed anew by the wall clock", async () => {
  const clock = { wallMs: 1_700_000_000_000, steadyMs: 50 };
  const outbound = new FakeOutbound();
  const service = new RoomService({
    apiUrl: new URL("https://sfu.example.com"),
    outbound,
    signer: new AccessTokenSigner({ name: "devkey", secret: new Secret("secret") }),
    clock: { ...systemClock, now: () => clock.wallMs, monotonicNow: () => clock.steadyMs },
  });
  const tokenAfter = async (steadyMs: number) => {
    clock.wallMs += steadyMs - clock.steadyMs;
    clock.steadyMs = steadyMs;
    await service.createRoom(ALIAS, new AbortController().signal);
    return outbound.requests.at(-1)?.headers?.authorization?.replace("Bearer ", "") ?? "";
  };

  const first = await tokenAfter(50);
  assert.deepEqual(claims(first), [1_700_000_000, 1_700_000_000, 1_700_000_600]);
  assert.equal(await tokenAfter(300_049), first);
  const second = await tokenAfter(300_050);
  assert.deepEqual(claims(second), [1_700_000_300, 1_700_000_300, 1_700_000_900]);

  clock.wallMs -= 86_400_000; // somebody sets the clock back: the token in use stays good at the SFU
  assert.equal(await tokenAfter(300_051), second);
});

Deno.test("with a new API key the service's own token is signed anew, too", async () => {
  const outbound = new FakeOutbound();
  const signer = new AccessTokenSigner({ name: "old", secret: new Secret("secret") });
  const service = new RoomService({
    apiUrl: new URL("https://sfu.example.com"),
    outbound,
    signer,
    clock: { ...systemClock, now: () => 1_700_000_000_000 },
  });
  const issuer = async () => {
    await service.createRoom(ALIAS, new AbortController().signal);
    return JSON.parse(atob(outbound.requests.at(-1)?.headers?.authorization?.split(".")[1] ?? "")).iss;
  };
  assert.equal(await issuer(), "old");
  signer.use({ name: "new", secret: new Secret("another secret") });
  service.renewTokens();
  assert.equal(await issuer(), "new");
});

function claims(jwt: string): unknown[] {
  const { iat, nbf, exp } = JSON.parse(atob(jwt.split(".")[1] ?? ""));
  return [iat, nbf, exp];
}
