// Who may hand a delayed leave event over: the checks between a request and the manager.

import type { Clock } from "../async/clock.ts";
import { withDeadline, within } from "../async/deadline.ts";
import { type ErrorDetails, MatrixError } from "../matrix_error.ts";
import { type Identity, MAX_IDENTITY_BYTES, type RoomAlias } from "../livekit/identity.ts";
import type { ClientDiscovery } from "../matrix/client_discovery.ts";
import type { DelayedEvents } from "../matrix/delayed_events.ts";
import { byteLength, serverOf, type UserId } from "../matrix/server_name.ts";
import { LoadingCache } from "../cache/loading_cache.ts";
import type { Log } from "../log/log.ts";
import type { Delegation } from "./machine/job.ts";
import { JobLimits, type JobLimitsDeps } from "./job_limits.ts";
import type { LeaveManager } from "./manager.ts";

/** Where a request came in: the same refusal reads differently there, since clients act on it (contract of 0.6.0). */
export type Refusal = "at a token route" | "at its own route";

/** A wish to have an event taken charge of, its user verified. */
export interface DelegationWish {
  readonly delayId: string;
  readonly delayMs: number;
  readonly user: UserId;
  readonly room: RoomAlias;
  readonly identity: Identity;
  /** The other identity under which the participant may have connected; the same one where there is no other. */
  readonly alsoWatched: Identity;
  readonly access: "full" | "restricted";
  readonly refusal: Refusal;
}

/** What the checks need from outside. */
export interface DelegationsDeps {
  /** null = delegation is switched off. */
  readonly manager: Pick<LeaveManager, "accept"> & Pick<JobLimitsDeps, "jobs"> | null;
  readonly discovery: Pick<ClientDiscovery, "find">;
  readonly delayedEvents: Pick<DelayedEvents, "supports">;
  /** Whether users of other homeservers may delegate too. */
  readonly allowsRestricted: boolean;
  /** Whether the operator named a homeserver. */
  readonly isListed: JobLimitsDeps["isListed"];
  /** Whether the operator named any. */
  readonly namesServers: boolean;
  readonly clock: Pick<Clock, "monotonicNow" | "setTimer">;
  readonly log: Log;
}

const SUPPORT_TTL_MS = 60 * 60_000;
const UNKNOWN_SUPPORT_TTL_MS = 60_000;
const SUPPORT_TIMEOUT_MS = 5000;
const CACHED_SERVERS = 1000;

/** Checks delegations. */
export class Delegations {
  readonly #deps: DelegationsDeps;
  readonly #support: LoadingCache<boolean | "unknown">;
  readonly #limits: JobLimits | null;

  constructor(deps: DelegationsDeps) {
    this.#deps = deps;
    this.#limits = deps.manager === null ? null : new JobLimits({ ...deps, jobs: deps.manager.jobs });
    this.#support = new LoadingCache({ capacity: CACHED_SERVERS, clock: deps.clock });
  }

  /**
   * Checks a wish.
   *
   * @returns What takes charge of the event; resolves once it is stored.
   * @throws MatrixError with what the client is told.
   */
  async prepare(wish: DelegationWish, signal: AbortSignal): Promise<() => Promise<void>> {
    const { manager, discovery, allowsRestricted } = this.#deps;
    // A client that is told M_BAD_JSON asks again without the delay fields, and keeps its own timer.
    if (manager === null || this.#limits === null) throw badJson("Delegation of delayed events is switched off");
    if (wish.access === "restricted" && !allowsRestricted) throw refused(RESTRICTED, wish.refusal);
    const limits = this.#limits;
    const delegation = delegationOf(wish);
    const { homeserver } = delegation;
    const assertRoom = () => {
      const reason = limits.refusal(delegation);
      if (reason !== null) throw refused(reason, wish.refusal);
    };
    assertRoom();
    const found = await within(discovery.find(homeserver), signal).catch(() => null);
    if (found === null || found.outcome === "not-found") {
      const steps = found === null ? ["no answer in time"] : found.steps;
      throw badJson("Unable to resolve client-server API", { fields: { steps, advice: UNRESOLVED } });
    }
    void this.#warnIfUnsupported(wish.user);
    return async () => {
      assertRoom(); // again: others may have come first
      await limits.during(delegation, () => manager.accept(delegation));
    };
  }

  async #warnIfUnsupported(user: UserId): Promise<void> {
    const homeserver = serverOf(user);
    if (this.#support.has(homeserver)) return;
    const supports = await this.#support.get(homeserver, async () => {
      const ask = (signal: AbortSignal) => this.#deps.delayedEvents.supports(homeserver, signal);
      const answer = await withDeadline(this.#deps.clock, SUPPORT_TIMEOUT_MS, ask).catch(() => null);
      return answer === null
        ? { value: "unknown", ttlMs: UNKNOWN_SUPPORT_TTL_MS }
        : { value: answer, ttlMs: SUPPORT_TTL_MS };
    });
    if (supports !== false) return;
    this.#deps.log.warning(
      "A homeserver does not announce delayed events (org.matrix.msc4140): with Synapse set max_event_delay_duration",
      { homeserver, throttle: homeserver },
    );
  }
}

const UNRESOLVED = "serve /.well-known/matrix/client with m.homeserver for that server name, or give its address in " +
  "LIVEKIT_CS_API_URL_OVERRIDES";
const RESTRICTED = "Delegation of delayed events is only supported for full access users";

function delegationOf({ user, delayId, delayMs, room, identity, alsoWatched }: DelegationWish): Delegation {
  // LiveKit knows nobody by an identity over its limit.
  const watched = new Set(byteLength(alsoWatched) <= MAX_IDENTITY_BYTES ? [identity, alsoWatched] : [identity]);
  return { room, identity, watched: [...watched], homeserver: serverOf(user), delayId, delayMs };
}

function refused(message: string, refusal: Refusal): MatrixError {
  return refusal === "at a token route" ? badJson(message) : new MatrixError(403, "M_FORBIDDEN", message);
}

function badJson(message: string, details: ErrorDetails = {}): MatrixError {
  return new MatrixError(400, "M_BAD_JSON", message, { details });
}
