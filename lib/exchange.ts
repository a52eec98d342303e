// The job: a Matrix OpenID token in, a LiveKit grant out, in the order in which the README explains it.

import type { Access, HomeserverPolicy } from "./admission/homeserver_policy.ts";
import type { Clock } from "./async/clock.ts";
import type { Delegations, Refusal } from "./leave/delegations.ts";
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
import type { LogFields } from "./log/log.ts";
import type { OpenIdToken, OpenIdVerifier } from "./matrix/openid.ts";
import { byteLength, serverOf, type UserId } from "./matrix/server_name.ts";
import { MatrixError, unauthorized } from "./matrix_error.ts";

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

/** The operator's choices about grants. */
export interface GrantPolicy {
  readonly livekitUrl: string;
  readonly tokenTtlSeconds: number;
  readonly canUpdateOwnMetadata: boolean;
  readonly restrictedCanPublish: boolean;
}

/** What an exchange is made of. */
export interface ExchangeParts {
  readonly policy: GrantPolicy;
  readonly homeservers: Pick<HomeserverPolicy, "accessOf">;
  readonly openId: Pick<OpenIdVerifier, "verify">;
  readonly rooms: Pick<Rooms, "ensure">;
  readonly delegations: Pick<Delegations, "prepare">;
  readonly signer: AccessTokenSigner;
  readonly clock: Pick<Clock, "now">;
}

/** What one request has of its own. */
export interface RequestContext {
  /** The deadline: each step heeds it, and has its own words for having come to nothing. */
  readonly signal: AbortSignal;
  /** Adds to the request's log record. */
  readonly note: (fields: LogFields) => void;
}

/**
 * Exchanges an OpenID token for a grant, and accepts a delayed leave event when there is one.
 *
 * @throws MatrixError with what the client gets.
 */
export async function exchange(request: TokenRequest, parts: ExchangeParts, context: RequestContext): Promise<Grant> {
  const caller = await identify(request, parts, context);
  const { access, room, identity } = caller;

  const { delayedLeave } = request;
  const acceptLeave = delayedLeave === null
    ? null
    : await prepareLeave({ ...request, ...caller, delayedLeave, refusal: "at a token route" }, parts, context);
  if (access === "full") {
    const wasKnown = await parts.rooms.ensure(room, context.signal); // is the room there?
    context.note({ room_cached: wasKnown });
  }
  await acceptLeave?.();

  const jwt = parts.signer.sign({
    identity,
    video: videoGrant(room, access, parts.policy),
    issuedAt: Math.floor(parts.clock.now() / 1000),
    ttlSeconds: parts.policy.tokenTtlSeconds,
  });
  return { url: parts.policy.livekitUrl, jwt };
}

/**
 * Accepts a delayed leave event, without a grant.
 *
 * @throws MatrixError with what the client gets.
 */
export async function delegate(
  request: DelegationRequest,
  parts: ExchangeParts,
  context: RequestContext,
): Promise<Record<string, never>> {
  const caller = await identify(request, parts, context);
  const acceptLeave = await prepareLeave({ ...request, ...caller, refusal: "at its own route" }, parts, context);
  await acceptLeave();
  return {};
}

interface Caller {
  readonly user: UserId;
  readonly access: Access;
  readonly room: RoomAlias;
  readonly identity: Identity;
}

async function identify(request: TokenRequest, parts: ExchangeParts, context: RequestContext): Promise<Caller> {
  const { user, wasKnown } = await parts.openId.verify(request.openIdToken, context.signal); // who is asking?
  const identity = identityOf(request.member, user);
  const access = parts.homeservers.accessOf(serverOf(user)); // full or restricted?
  const room = roomAlias(request.roomId, request.slotId);
  context.note({ user, access, room_id: request.roomId, room, identity, token_cached: wasKnown });
  return { user, access, room, identity };
}

/** Checks a delegation before anything is changed anywhere; the function it returns carries it out. */
async function prepareLeave(
  { delayedLeave, member, user, access, room, identity, refusal }: DelegationRequest & Caller & {
    readonly refusal: Refusal;
  },
  parts: ExchangeParts,
  { signal }: RequestContext,
): Promise<() => Promise<void>> {
  // The leave of a hashed member may belong to a client that joined by its legacy identity.
  const alsoWatched = legacyIdentity(user, member.deviceId);
  const wish = { ...delayedLeave, user, access, room, identity, alsoWatched, refusal };
  return await parts.delegations.prepare(wish, signal);
}

function identityOf(member: Member, user: UserId): Identity {
  if (member.form === "hashed") {
    if (member.userId !== user) throw unauthorized("claimed_user_id is not the user of the OpenID token");
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
