// Stories about whose leaves are taken charge of, and how fast their homeserver may be asked.

import assert from "node:assert/strict";
import { attend, leave, type Parts, PROMPTLY_MS, type Scene, seatOf, type Story } from "./leave_scene.ts";
import { joinRoom } from "./stack/client.ts";
import type { Homeserver } from "./stack/matrix.ts";
import type { Seat } from "./stack/membership.ts";
import { aliasOf, ask, type DelegationRoute, grantFor } from "./stack/requests.ts";
import type { ServiceProcess } from "./stack/service.ts";

const ERROR = "Delegation of delayed events is only supported for full access users";
const REFUSALS: readonly { route: DelegationRoute; status: number; errcode: string }[] = [
  { route: "/sfu/get", status: 400, errcode: "M_BAD_JSON" },
  { route: "/get_token", status: 400, errcode: "M_BAD_JSON" },
  { route: "/delegate_delayed_leave", status: 403, errcode: "M_FORBIDDEN" },
];

const restricted: Story = {
  name: "a restricted user's event is refused, and stays the client's own",
  async tell(scene, parts) {
    const { service } = scene;
    const seat = await openCall(scene, service, parts);
    const grant = await grantFor(service, "/sfu/get", seat);
    const client = parts.use(await joinRoom(grant.url, grant.jwt));
    const membership = await parts.member(seat, { delayMs: 60_000 });
    for (const { route, status, errcode } of REFUSALS) {
      assert.deepEqual(
        await ask(service, route, seat, { membership }),
        { status, body: { errcode, error: ERROR } },
        route,
      );
    }
    await leave(client);
    await membership.staysFor(PROMPTLY_MS);
  },
};

const delegated: Story = {
  name: "where restricted users may delegate too, a federated user's leave goes out from their own homeserver",
  async tell(scene, parts) {
    const { alice, lenient } = scene;
    const seat = await openCall(scene, lenient, parts);
    const { membership, client } = await attend(parts, lenient, seat, { delayMs: 60_000, join: joinRoom });
    await membership.staysFor(2000);
    assert.equal(await membership.hasLeft(alice), false);
    await leave(client);
    await membership.untilLeft(PROMPTLY_MS);
    await membership.untilLeft(PROMPTLY_MS, alice); // over federation
  },
};

const PARTICIPANTS = 6;

const limited: Story = {
  name: "six participants with a delay of 10 s stay in the call within Synapse's own limit of delayed-event calls",
  async tell(scene, parts) {
    const { federated, local, lenient, sfu } = scene;
    const { roomId } = await openCall(scene, lenient, parts);
    const attendances = await Promise.all(
      Array.from({ length: PARTICIPANTS }, async (_, index) => {
        const user = await federated.register(`guest${index}`, `GUEST${index}`);
        await user.joinRoom(roomId, local.serverName);
        return await attend(parts, lenient, await seatOf(user, roomId), { delayMs: 10_000, join: joinRoom });
      }),
    );
    assert.equal((await sfu.participants(aliasOf(roomId))).length, PARTICIPANTS + 1);
    await Promise.all(attendances.map(({ membership }) => membership.staysFor(25_000)));
    await Promise.all(attendances.map(({ client }) => leave(client)));
    await Promise.all(attendances.map(({ membership }) => membership.untilLeft(10_000)));
    assert.ok((await statusesOfABurst(federated)).includes(429), "the homeserver has no limit that could be kept");
  },
};

const CORS = {
  "access-control-allow-origin": "*",
  "access-control-allow-methods": "POST",
  "access-control-allow-headers": "Accept, Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token",
};

const off: Story = {
  name: "where delegation is off a page's script is shown that the route is missing, and events are refused",
  async tell({ service, variables, alice }, parts) {
    const without = await parts.service({ ...variables, LIVEKIT_DELEGATION: "off" });
    const seat = await seatOf(alice);
    const membership = await parts.member(seat, { delayMs: 60_000 });

    assert.equal((await probe(service)).status, 400);
    const { status, headers } = await probe(without);
    assert.equal(status, 404);
    for (const [name, value] of Object.entries(CORS)) assert.equal(headers.get(name), value, name);
    assert.equal((await ask(without, "/delegate_delayed_leave", seat, { membership })).status, 404);
    assert.deepEqual(await ask(without, "/sfu/get", seat, { membership }), {
      status: 400,
      body: { errcode: "M_BAD_JSON", error: "Delegation of delayed events is switched off" },
    });
    await grantFor(without, "/sfu/get", seat);
  },
};

/** All of them. */
export const ADMISSION: readonly Story[] = [limited, restricted, delegated, off];

/** A call that Alice has opened, and Bob's place in it: he may not open one. */
async function openCall(
  { alice, bob, local }: Scene,
  service: ServiceProcess,
  parts: Parts,
): Promise<Seat> {
  const roomId = await alice.createRoom();
  await bob.joinRoom(roomId, local.serverName);
  const grant = await grantFor(service, "/sfu/get", await seatOf(alice, roomId));
  parts.use(await joinRoom(grant.url, grant.jwt));
  return await seatOf(bob, roomId);
}

/** What Element Call asks to learn whether events are taken: a request without a body. */
async function probe({ url }: ServiceProcess): Promise<Response> {
  const response = await fetch(`${url}/delegate_delayed_leave`, { method: "POST" });
  await response.body?.cancel();
  return response;
}

async function statusesOfABurst(homeserver: Homeserver): Promise<number[]> {
  const calls = Array.from({ length: 10 }, () => homeserver.manageDelayedEvent("syd_unknown", "restart"));
  return await Promise.all(calls);
}
