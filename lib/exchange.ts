// The job: a Matrix OpenID token in, a LiveKit grant out, in the order in which the README explains it.

import { DeadlineError } from "./deadline.ts";
import { MatrixError, unauthorised } from "./http/matrix_error.ts";
import { assertIdentityFits, type Member, type TokenRequest } from "./http/requests.ts";
import type { AccessTokenSigner, VideoGrant } from "./livekit/access_token.ts";
import { hashedIdentity, type Identity, legacyIdentity, roomAlias } from "./livekit/identity.ts";
import type { Rooms } from "./livekit/rooms.ts";
import type { OpenIdVerifier } from "./matrix/openid.ts";
import type { UserId } from "./matrix/server_name.ts";
import type { Log } from "./ops/log.ts";

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
  readonly signer: AccessTokenSigner;
  readonly now: () => number;
  readonly log: Log;
}

const DEADLINE_MS = 10_000;

/**
 * Exchanges an OpenID token for a grant within 10 s.
 *
 * @throws MatrixError with what the client is told.
 */
export async function exchange(request: TokenRequest, deps: ExchangeDeps): Promise<Grant> {
  // Every step watches the signal, and says in its own words that it came to nothing.
  const deadline = new AbortController();
  const late = () => deadline.abort(new DeadlineError(`No grant within ${DEADLINE_MS / 1000} s`));
  const timer = setTimeout(late, DEADLINE_MS);
  try {
    return await grant(request, deps, deadline.signal);
  } finally {
    clearTimeout(timer);
  }
}

async function grant(request: TokenRequest, deps: ExchangeDeps, signal: AbortSignal): Promise<Grant> {
  assertNoDelegation(request);

  const user = await deps.openId.verify(request.openIdToken, signal); // who is asking?
  const identity = identityOf(request.member, user);
  const access = accessOf(request.openIdToken.matrixServerName, deps.policy); // full or restricted?

  const room = roomAlias(request.roomId, request.slotId);
  if (access === "full") await deps.rooms.ensure(room, signal); // is the room there?

  const jwt = deps.signer.sign({
    identity,
    video: videoGrant(room, access, deps.policy),
    issuedAt: Math.floor(deps.now() / 1000),
    ttlSeconds: deps.policy.tokenTtlSeconds,
  });
  deps.log.info("Granted", { access, user, room_id: request.roomId, room, identity });
  return { url: deps.policy.livekitUrl, jwt };
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

function accessOf(serverName: string, { fullAccess }: GrantPolicy): Access {
  return fullAccess === "*" || fullAccess.has(serverName) ? "full" : "restricted";
}

function videoGrant(room: string, access: Access, policy: GrantPolicy): VideoGrant {
  return {
    roomJoin: true,
    room,
    canPublish: access === "full" || policy.restrictedCanPublish,
    canSubscribe: true,
    canUpdateOwnMetadata: policy.canUpdateOwnMetadata,
  };
}

// A client that is told M_BAD_JSON asks again without the delay fields, and keeps its own short timer.
function assertNoDelegation(request: TokenRequest): void {
  if (request.delayedLeave === null) return;
  throw new MatrixError(400, "M_BAD_JSON", "Delegation of delayed events is not supported by this service");
}
