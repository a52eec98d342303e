// Whole calls over real parts: two Synapses that federate over verified TLS, and a LiveKit that creates no room by
// itself. What holds is what the SFU and the homeservers say; what we answer is only the way to it.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import * as v from "valibot";
import { JoinRefused, joinRoom } from "./stack/client.ts";
import { type Deployment, startDeployment } from "./stack/deployment.ts";
import type { MatrixUser, OpenIdToken } from "./stack/matrix.ts";
import { type Answer, startService } from "./stack/service.ts";

const SLOT = "m.call#ROOM";
const MEMBER_ID = "member-1";
const GRANT = v.strictObject({ url: v.string(), jwt: v.string() });
const UNAUTHORISED: Answer = {
  status: 401,
  body: { errcode: "M_UNAUTHORIZED", error: "The request could not be authorised." },
};
const NO_SUCH_ROOM = { status: 404, text: "requested room does not exist" };

interface Shape {
  readonly path: string;
  request(user: MatrixUser, roomId: string, openIdToken: OpenIdToken): unknown;
  identityOf(user: MatrixUser): string;
}

const LEGACY: Shape = {
  path: "/sfu/get",
  request: (user, roomId, openIdToken) => ({ room: roomId, openid_token: openIdToken, device_id: user.deviceId }),
  identityOf: (user) => `${user.userId}:${user.deviceId}`,
};
const HASHED: Shape = {
  path: "/get_token",
  request: (user, roomId, openIdToken) => ({
    room_id: roomId,
    slot_id: SLOT,
    openid_token: openIdToken,
    member: { id: MEMBER_ID, claimed_user_id: user.userId, claimed_device_id: user.deviceId },
  }),
  identityOf: (user) => hashOf([user.userId, user.deviceId, MEMBER_ID]),
};
const SHAPES = [LEGACY, HASHED];

/** A deployment with a user on either homeserver. */
interface Scene extends Deployment {
  readonly alice: MatrixUser;
  readonly bob: MatrixUser;
}

let deployment: Deployment | undefined;
let scene: Scene | undefined;

Deno.test.beforeAll(async () => {
  deployment = await startDeployment();
  const alice = await deployment.local.register("alice", "ALICEDEV");
  const bob = await deployment.federated.register("bob", "BOBDEV");
  scene = { ...deployment, alice, bob };
});

Deno.test.afterAll(async () => {
  await deployment?.[Symbol.asyncDispose]();
});

for (const shape of SHAPES) {
  callTest(`${shape.path}: a local user's token creates the room and joins it`, async ({ service, sfu, alice }) => {
    const roomId = await alice.createRoom();
    assert.equal(await sfu.hasRoom(aliasOf(roomId)), false);

    const grant = await grantFor(shape, alice, roomId);
    assert.equal(grant.url, sfu.url);
    assert.equal(await sfu.hasRoom(aliasOf(roomId)), true, service.output());

    await using participant = await joinRoom(grant.url, grant.jwt);
    assert.equal(participant.roomName, aliasOf(roomId));
    assert.deepEqual(await sfu.identities(aliasOf(roomId)), [shape.identityOf(alice)]);
  });

  callTest(`${shape.path}: a federated user joins the call of a local user`, async ({ sfu, local, alice, bob }) => {
    const roomId = await alice.createRoom();
    await bob.joinRoom(roomId, local.serverName);
    const other = shape === LEGACY ? HASHED : LEGACY; // both must mean the same room

    const alices = await grantFor(other, alice, roomId);
    await using _alice = await joinRoom(alices.url, alices.jwt);
    const bobs = await grantFor(shape, bob, roomId);
    await using _bob = await joinRoom(bobs.url, bobs.jwt);

    const expected = [other.identityOf(alice), shape.identityOf(bob)].sort();
    assert.deepEqual(await sfu.identities(aliasOf(roomId)), expected);
  });

  callTest(`${shape.path}: a federated user alone opens no room`, async ({ sfu, alice, bob }) => {
    const roomId = await alice.createRoom();
    const grant = await grantFor(shape, bob, roomId);

    assert.deepEqual(await sfu.validate(grant.jwt), NO_SUCH_ROOM);
    await assert.rejects(joinRoom(grant.url, grant.jwt), (error) => {
      assert.ok(error instanceof JoinRefused);
      assert.match(error.message, /404 Not Found - requested room does not exist/);
      return true;
    });
    assert.equal(await sfu.hasRoom(aliasOf(roomId)), false);

    await grantFor(shape, alice, roomId); // the very token is good once a local user has begun the call
    await using _bob = await joinRoom(grant.url, grant.jwt);
    assert.deepEqual(await sfu.identities(aliasOf(roomId)), [shape.identityOf(bob)]);
  });
}

callTest("a token for another room does not open this one", async ({ sfu, alice, bob }) => {
  const [roomId, otherId, emptyId] = [await alice.createRoom(), await alice.createRoom(), await alice.createRoom()];
  await grantFor(LEGACY, alice, roomId);
  await grantFor(LEGACY, alice, otherId);

  const nowhere = await grantFor(LEGACY, bob, emptyId);
  assert.deepEqual(await sfu.validate(nowhere.jwt, aliasOf(roomId)), NO_SUCH_ROOM);
  await assert.rejects(joinRoom(nowhere.url, nowhere.jwt), JoinRefused);

  const elsewhere = await grantFor(LEGACY, bob, otherId);
  await using participant = await joinRoom(elsewhere.url, elsewhere.jwt);
  assert.equal(participant.roomName, aliasOf(otherId));
  assert.deepEqual(await sfu.identities(aliasOf(otherId)), [LEGACY.identityOf(bob)]);
  assert.deepEqual(await sfu.identities(aliasOf(roomId)), []);
});

callTest("a full-access token gives no power over the SFU", async ({ sfu, alice }) => {
  const roomId = await alice.createRoom();
  const { jwt } = await grantFor(HASHED, alice, roomId);
  const room = aliasOf(roomId);
  for (
    const [method, request] of [
      ["CreateRoom", { name: "another" }],
      ["DeleteRoom", { room }],
      ["ListRooms", {}],
      ["ListParticipants", { room }],
      ["RemoveParticipant", { room, identity: HASHED.identityOf(alice) }],
    ] as const
  ) assert.equal(await sfu.callApi(jwt, method, request), 401, method);
  assert.equal(await sfu.hasRoom(room), true);
  assert.equal(await sfu.hasRoom("another"), false);
});

for (const shape of SHAPES) {
  callTest(`${shape.path}: only the homeserver that issued a token can vouch for it`, async (scene) => {
    const { service, sfu, local, federated, alice, bob } = scene;
    const roomId = await alice.createRoom();
    const token = await alice.openIdToken();
    // Known to the service as good, so that nothing it remembers may lend itself to the forgeries.
    await grantFor(shape, alice, await alice.createRoom(), token);
    const bobs = await bob.openIdToken();

    const forgeries = [
      { why: "unknown", homeserver: local, user: alice, accessToken: "AbCdEfGhIjKlMnOpQrStUvWx" },
      { why: "altered", homeserver: local, user: alice, accessToken: altered(token.access_token) },
      { why: "of the local server", homeserver: federated, user: alice, accessToken: token.access_token },
      { why: "of the federated server", homeserver: local, user: bob, accessToken: bobs.access_token },
    ];
    for (const { why, homeserver, user, accessToken } of forgeries) {
      assert.deepEqual(await homeserver.userinfo(accessToken), { status: 401, body: { errcode: "M_UNKNOWN_TOKEN" } });
      const shown = { ...token, access_token: accessToken, matrix_server_name: homeserver.serverName };
      assert.deepEqual(await service.post(shape.path, shape.request(user, roomId, shown)), UNAUTHORISED, why);
    }
    assert.equal(await sfu.hasRoom(aliasOf(roomId)), false);
    assert.deepEqual(await local.userinfo(token.access_token), { status: 200, body: { sub: alice.userId } });
  });
}

callTest("nobody joins under another user's name", async ({ service, sfu, federated, alice, bob }) => {
  const roomId = await alice.createRoom();
  const token = await bob.openIdToken();
  assert.deepEqual(await federated.userinfo(token.access_token), { status: 200, body: { sub: bob.userId } });
  assert.deepEqual(await service.post(HASHED.path, HASHED.request(alice, roomId, token)), UNAUTHORISED);
  assert.equal(await sfu.hasRoom(aliasOf(roomId)), false);
});

callTest("a homeserver whose certificate is not trusted vouches for nobody", async ({ variables, sfu, alice }) => {
  const { LIVEKIT_EXTRA_CA_FILE: _, ...withoutCa } = variables;
  await using wary = await startService(withoutCa);
  const roomId = await alice.createRoom();
  const request = LEGACY.request(alice, roomId, await alice.openIdToken());
  assert.deepEqual(await wary.post(LEGACY.path, request), UNAUTHORISED);
  assert.equal(await sfu.hasRoom(aliasOf(roomId)), false);
  assert.equal(await wary.stop(), 0);
  assert.match(wary.output(), /TLS failed with localhost:.*certificate/);
});

callTest("a federated homeserver inside the operator's network is not dialed", async ({ variables, alice, bob }) => {
  const { LIVEKIT_FEDERATION_ALLOW_NETWORKS: _, ...withoutNetworks } = variables;
  await using guarded = await startService(withoutNetworks);
  const roomId = await alice.createRoom();
  const bobs = await guarded.post(LEGACY.path, LEGACY.request(bob, roomId, await bob.openIdToken()));
  assert.deepEqual(bobs, UNAUTHORISED);
  const alices = await guarded.post(LEGACY.path, LEGACY.request(alice, roomId, await alice.openIdToken()));
  assert.equal(alices.status, 200, guarded.output());

  assert.equal(await guarded.stop(), 0);
  assert.match(guarded.output(), /homeserver=127\.0\.0\.1:.*LIVEKIT_FEDERATION_ALLOW_NETWORKS/);
});

function callTest(name: string, body: (scene: Scene) => Promise<void>): void {
  Deno.test({
    name,
    // The client library's native threads and its callbacks outlive the room that they served.
    sanitizeOps: false,
    sanitizeResources: false,
    async fn() {
      assert.ok(scene);
      try {
        await body(scene);
      } catch (error) {
        console.log(`The service's log ends:\n${scene.service.output(10)}`);
        throw error;
      }
    },
  });
}

async function grantFor(shape: Shape, user: MatrixUser, roomId: string, openIdToken?: OpenIdToken) {
  assert.ok(scene);
  const token = openIdToken ?? await user.openIdToken();
  const { status, body } = await scene.service.post(shape.path, shape.request(user, roomId, token));
  assert.equal(status, 200, JSON.stringify(body));
  return v.parse(GRANT, body);
}

function aliasOf(roomId: string): string {
  return hashOf([roomId, SLOT]);
}

// Canonical JSON of plain ASCII texts is what JSON.stringify makes of them.
function hashOf(parts: readonly string[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("base64").replace(/=+$/, "");
}

function altered(token: string): string {
  return token.slice(0, -1) + (token.endsWith("A") ? "B" : "A");
}
