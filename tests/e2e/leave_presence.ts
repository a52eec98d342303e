// Stories about who is in a call: the room shows a leave when the participant has gone, however that happened, and not
// before.

import assert from "node:assert/strict";
import { attend, leave, OVER_TWO_RESTARTS_MS, PROMPTLY_MS, seatOf, SHORT_DELAY_MS, type Story } from "./leave_scene.ts";
import { joinRoom } from "./stack/client.ts";
import { joinFromProcess } from "./stack/client_process.ts";
import type { LiveKit } from "./stack/livekit.ts";
import { CALL_MEMBER } from "./stack/matrix.ts";
import { aliasOf, type DelegationRoute, grantFor, handOver, type TokenRoute } from "./stack/requests.ts";

const RTC_MEMBER = "m.rtc.member";

// LiveKit notices a client that is dead after 20.5 to 21 s.
const EARLIEST_TIMEOUT_MS = 18_000;
const LATEST_TIMEOUT_MS = 27_000;

const hungUp: Story = {
  name: "whoever hangs up has left within seconds, long before the event's own delay",
  async tell({ service, alice }, parts) {
    const seat = await seatOf(alice);
    const { membership, client } = await attend(parts, service, seat, { delayMs: 60_000, join: joinRoom });
    await membership.staysFor(2000);
    await leave(client);
    await membership.untilLeft(PROMPTLY_MS);
  },
};

const postponed: Story = {
  name: "whoever stays longer than the event's own delay has not left, until they hang up",
  async tell({ service, alice }, parts) {
    const seat = await seatOf(alice);
    const { membership, client } = await attend(parts, service, seat, { delayMs: SHORT_DELAY_MS, join: joinRoom });
    await membership.staysFor(OVER_TWO_RESTARTS_MS);
    await leave(client);
    await membership.untilLeft(PROMPTLY_MS);
  },
};

const died: readonly Story[] = [60_000, SHORT_DELAY_MS].map((delayMs) => ({
  name: `whoever dies with a delay of ${delayMs / 1000} s has left when LiveKit notices, not before`,
  async tell({ service, alice }, parts) {
    const seat = await seatOf(alice);
    const { membership, client } = await attend(parts, service, seat, { delayMs, join: joinFromProcess });
    await membership.staysFor(1000);
    await client.kill();
    const tookMs = await membership.untilLeft(LATEST_TIMEOUT_MS);
    assert.ok(tookMs > EARLIEST_TIMEOUT_MS, `the leave came after ${Math.round(tookMs)} ms`);
  },
}));

const reconnected: Story = {
  name: "whoever joins again while they are still connected has not left, until the second one hangs up",
  async tell({ service, sfu, alice }, parts) {
    const seat = await seatOf(alice);
    const { membership } = await attend(parts, service, seat, { delayMs: SHORT_DELAY_MS, join: joinRoom });
    const first = await sidsOf(sfu, seat.roomId);
    const grant = await grantFor(service, "/sfu/get", seat);
    const again = parts.use(await joinFromProcess(grant.url, grant.jwt));
    const second = await sidsOf(sfu, seat.roomId);
    assert.equal(second.length, 1);
    assert.notDeepEqual(second, first);
    await membership.staysFor(OVER_TWO_RESTARTS_MS);
    assert.deepEqual(await sidsOf(sfu, seat.roomId), second);
    await again.leave();
    await membership.untilLeft(PROMPTLY_MS);
  },
};

const HANDOVERS: readonly { joinBy: TokenRoute; handOverBy: DelegationRoute; type: string }[] = [
  { joinBy: "/sfu/get", handOverBy: "/sfu/get", type: RTC_MEMBER },
  { joinBy: "/get_token", handOverBy: "/get_token", type: CALL_MEMBER },
  { joinBy: "/get_token", handOverBy: "/delegate_delayed_leave", type: RTC_MEMBER },
  // The client is in the call by its legacy name, and the leave is handed over under the hashed one.
  { joinBy: "/sfu/get", handOverBy: "/delegate_delayed_leave", type: CALL_MEMBER },
];

const handedOver: readonly Story[] = HANDOVERS.map(({ joinBy, handOverBy, type }) => ({
  name: `an event of type ${type} handed over at ${handOverBy} is that of the client that joined by ${joinBy}`,
  async tell({ service, alice }, parts) {
    const seat = await seatOf(alice);
    const options = { delayMs: SHORT_DELAY_MS, joinBy, handOverBy, type, join: joinRoom };
    const { membership, client } = await attend(parts, service, seat, options);
    await membership.staysFor(OVER_TWO_RESTARTS_MS);
    await leave(client);
    await membership.untilLeft(PROMPTLY_MS);
  },
}));

const beforehand: readonly Story[] = (["/sfu/get", "/get_token"] as const).map((route) => ({
  name: `an event handed over at ${route} together with the request for a token waits for the client to connect`,
  async tell({ service, alice }, parts) {
    const seat = await seatOf(alice);
    const openIdToken = await alice.openIdToken();
    const membership = await parts.member(seat, { delayMs: SHORT_DELAY_MS });
    const grant = await grantFor(service, route, seat, { membership, openIdToken });
    await membership.staysFor(3000);
    const client = parts.use(await joinRoom(grant.url, grant.jwt));
    await membership.staysFor(OVER_TWO_RESTARTS_MS);
    await leave(client);
    await membership.untilLeft(PROMPTLY_MS);
  },
}));

const renewed: Story = {
  name: "a client that lost its event hands a new one over, and the session goes on",
  async tell({ service, alice }, parts) {
    const seat = await seatOf(alice);
    const { membership, client } = await attend(parts, service, seat, { delayMs: 60_000, join: joinRoom });
    assert.equal(await alice.homeserver.manageDelayedEvent(membership.delayId, "cancel"), 200);
    const openIdToken = await alice.openIdToken();
    const second = await parts.member(seat, { delayMs: SHORT_DELAY_MS });
    await handOver(service, "/sfu/get", seat, { membership: second, openIdToken });
    await second.staysFor(OVER_TWO_RESTARTS_MS);
    await leave(client);
    await second.untilLeft(PROMPTLY_MS);
  },
};

/** All of them. */
export const PRESENCE: readonly Story[] = [
  ...[hungUp, postponed, ...died, reconnected, ...handedOver, ...beforehand, renewed],
];

async function sidsOf(sfu: LiveKit, roomId: string): Promise<string[]> {
  return (await sfu.participants(aliasOf(roomId))).map(({ sid }) => sid);
}
