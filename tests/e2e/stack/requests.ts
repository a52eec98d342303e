// Requests to the service as clients make them, for a user on one device in one room.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import * as v from "valibot";
import type { Membership, Seat } from "./membership.ts";
import type { OpenIdToken } from "./matrix.ts";
import type { Answer, ServiceProcess } from "./service.ts";

const SLOT = "m.call#ROOM";
const MEMBER_ID = "member-1";
const GRANT = v.strictObject({ url: v.string(), jwt: v.string() });

/** A token and where it is good. */
export type Grant = v.InferOutput<typeof GRANT>;

/** Where requests go. */
export type Recipient = Pick<ServiceProcess, "post">;

/** Routes that give tokens. */
export type TokenRoute = "/sfu/get" | "/get_token";
/** Routes that take a delayed leave event. */
export type DelegationRoute = TokenRoute | "/delegate_delayed_leave";

/** What a request may have beside its place. */
export interface RequestOptions {
  /** Its delayed leave event is handed over. */
  readonly membership?: Membership;
  /** A fresh one by default. */
  readonly openIdToken?: OpenIdToken;
}

/** Makes a request. */
export async function ask(
  service: Recipient,
  route: DelegationRoute,
  seat: Seat,
  { membership, openIdToken }: RequestOptions = {},
): Promise<Answer> {
  const delay = membership === undefined
    ? {}
    : { delay_id: membership.delayId, delay_timeout: membership.delayMs, delay_cs_api_url: "https://nowhere.invalid" };
  const token = openIdToken ?? await seat.user.openIdToken();
  return await service.post(route, { ...bodyOf(route, seat), openid_token: token, ...delay });
}

/** Asks for a token, which must be granted. */
export async function grantFor(
  service: Recipient,
  route: TokenRoute,
  seat: Seat,
  options: RequestOptions = {},
): Promise<Grant> {
  const { status, body } = await ask(service, route, seat, options);
  assert.equal(status, 200, JSON.stringify(body));
  return v.parse(GRANT, body);
}

/** Hands a delayed leave event over, which must be taken. */
export async function handOver(
  service: Recipient,
  route: DelegationRoute,
  seat: Seat,
  options: RequestOptions & { readonly membership: Membership },
): Promise<void> {
  const { status, body } = await ask(service, route, seat, options);
  assert.equal(status, 200, JSON.stringify(body));
}

/** The SFU's name of a room's call. */
export function aliasOf(roomId: string): string {
  return createHash("sha256").update(JSON.stringify([roomId, SLOT])).digest("base64").replace(/=+$/, "");
}

/** The body of a request, without its token. */
export function bodyOf(route: DelegationRoute, { user, roomId, deviceId }: Seat): Record<string, unknown> {
  if (route === "/sfu/get") return { room: roomId, device_id: deviceId };
  const member = { id: MEMBER_ID, claimed_user_id: user.userId, claimed_device_id: deviceId };
  return { room_id: roomId, slot_id: SLOT, member };
}
