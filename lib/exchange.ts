// The job: a Matrix OpenID token in, a LiveKit grant out, in the order in which the README explains it.

import type { Delegations, Refusal } from "./leave/delegations.ts";
import { MatrixError, unauthorised } from "./matrix_error.ts";
import type { AccessTokenSigner, VideoGrant } from "./livekit/access_token.ts";
import {
  hashedIdentity,
  type Identity,
  legacyIdentity,
  MAX_IDENTITY_BYTES,
  type RoomAlias,
  roomAlias,
} from "./livekit/identity.ts";
import type { Rooms } from "./livekit/rooms.ts";
import type { OpenIdToken, OpenIdVerifier } from "./matrix/openid.ts";
import { byteLength, type UserId } from "./matrix/server_name.ts";
import type { Log } from "./log/log.ts";

/** Who the participant will be: readable at `/sfu/get`, hashed and claimed at `/get_token`. */
export type Member =
  | { readonly form: "legacy"; readonly deviceId: string }
  | { readonly form: "hashed"; readonly memberId: string; readonly userId: string; readonly deviceId: string };

/** A delayed leave event that the client delegates (MSC4140). */
export interface DelayedLeave {
  readonly delayId: string;
  /** The event's own delay, above 0 and at most 24 h. */
  readonly delayMs: number;
}

/** A request for a token, its shape checked. Whether it is true is not known yet. */
export interface TokenRequest {
  readonly roomId: string;
  readonly slotId: string;
  readonly openIdToken: OpenIdToken;
  readonly member: Member;
  readonly delayedLeave: DelayedLeave | null;
}

/** A request to delegate a delayed leave event, and nothing else. */
export interface DelegationRequest extends TokenRequest {
  readonly delayedLeave: DelayedLeave;
}

/** What the client takes to the SFU. */
export interface Grant {
  /** `LIVEKIT_URL`, byte for byte. */
  readonly url: string;
  readonly jwt: string;
}

/** Own homeservers' users may create rooms; everybody else may join what exists. */
export type Access = "full" | "restricted";

/** The operator's choices about grants. */
export interface GrantPolicy {
  readonly livekitUrl: string;
  /** `*`, or the servers with full access. */
  readonly fullAccess: "*" | ReadonlySet<string>;
  readonly tokenTtlSeconds: number;
  readonly canUpdateOwnMetadata: boolean;
  readonly restrictedCanPublish: boolean;
}

/** What an exchange is made of. */
export interface ExchangeDeps {
  readonly policy: GrantPolicy;
  readonly openId: Pick<OpenIdVerifier, "verify">;
  readonly rooms: Pick<Rooms, "ensure">;
  readonly delegations: Pick<Delegations, "prepare">;
  readonly signer: AccessTokenSigner;
  readonly now: () => number;
  readonly log: Log;
}

/**
 * Exchanges an OpenID token for a grant, and takes charge of a delayed leave event when there is one.
 *
 * @param signal The deadline: each step heeds it, and says in its own words that it came to nothing.
 * @throws MatrixError with what the client is told.
 */
export async function exchange(request: TokenRequest, deps: ExchangeDeps, signal: AbortSignal): Promise<Grant> {
  const caller = await identify(request, deps, signal);
  const { user, access, room, identity } = caller;

  const takeCharge = await prepareLeave(request, caller, "at a token route", deps, signal);
  if (access === "full") await deps.rooms.ensure(room, signal); // is the room there?
  await takeCharge();

  const jwt = deps.signer.sign({
    identity,
    video: videoGrant(room, access, deps.policy),
    issuedAt: Math.floor(deps.now() / 1000),
    ttlSeconds: deps.policy.tokenTtlSeconds,
  });
  deps.log.info("Granted", { access, user, room_id: request.roomId, room, identity });
  return { url: deps.policy.livekitUrl, jwt };
}

/**
 * Takes charge of a delayed leave event, without a grant.
 *
 * @param signal The deadline.
 * @throws MatrixError with what the client is told.
 */
export async function delegate(
  request: DelegationRequest,
  deps: ExchangeDeps,
  signal: AbortSignal,
): Promise<Record<string, never>> {
  const caller = await identify(request, deps, signal);
  const takeCharge = await prepareLeave(request, caller, "at its own route", deps, signal);
  await takeCharge();
  return {};
}

interface Caller {
  readonly user: UserId;
  readonly access: Access;
  readonly room: RoomAlias;
  readonly identity: Identity;
}

async function identify(request: TokenRequest, deps: ExchangeDeps, signal: AbortSignal): Promise<Caller> {
  const user = await deps.openId.verify(request.openIdToken, signal); // who is asking?
  return {
    user,
    identity: identityOf(request.member, user),
    access: accessOf(request.openIdToken.matrixServerName, deps.policy), // full or restricted?
    room: roomAlias(request.roomId, request.slotId),
  };
}

/** Checks a delegation before anything is changed anywhere; what it gives back carries it out. */
async function prepareLeave(
  { delayedLeave, member }: TokenRequest,
  caller: Caller,
  refusal: Refusal,
  deps: ExchangeDeps,
  signal: AbortSignal,
): Promise<() => Promise<void>> {
  if (delayedLeave === null) return () => Promise.resolve();
  // The leave of a hashed member may belong to a client that joined by its legacy identity.
  const legacy = legacyIdentity(caller.user, member.deviceId);
  return await deps.delegations.prepare({ ...delayedLeave, ...caller, alsoWatched: legacy, refusal }, signal);
}

function identityOf(member: Member, user: UserId): Identity {
  if (member.form === "hashed") {
    if (member.userId !== user) throw unauthorised("claimed_user_id is not the user of the OpenID token");
    return hashedIdentity(user, member.deviceId, member.memberId);
  }
  const identity = legacyIdentity(user, member.deviceId);
  assertIdentityFits(identity);
  return identity;
}

/**
 * Refuses an identity that LiveKit would not take.
 *
 * @throws MatrixError 400 M_BAD_JSON above 256 bytes.
 */
export function assertIdentityFits(identity: string): void {
  if (byteLength(identity) <= MAX_IDENTITY_BYTES) return;
  const text = `The participant identity is over ${MAX_IDENTITY_BYTES} bytes: shorten the device ID`;
  throw new MatrixError(400, "M_BAD_JSON", text);
}

function accessOf(serverName: string, { fullAccess }: GrantPolicy): Access {
  return fullAccess === "*" || fullAccess.has(serverName) ? "full" : "restricted";
}

function videoGrant(room: string, access: Access, policy: GrantPolicy): VideoGrant {
  if (access === "full" || policy.restrictedCanPublish) {
    const { canUpdateOwnMetadata } = policy;
    return { roomJoin: true, room, canPublish: true, canSubscribe: true, canUpdateOwnMetadata };
  }
  // Who may only watch and listen reaches nobody by data messages or metadata either. LiveKit takes what is left out of
  // a grant for granted: each refusal is written.
  return {
    roomJoin: true,
    room,
    canPublish: false,
    canSubscribe: true,
    canUpdateOwnMetadata: false,
    canPublishData: false,
  };
}
