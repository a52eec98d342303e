// The concurrency limit: a join storm is served; what would only wait for its deadline is turned away at once, and
// homeservers that hang, be they many, take no more than their share: some permits are kept for servers that are known.

import type { Clock } from "../async/clock.ts";
import { type Permit, permitOf } from "../async/semaphore.ts";
import { BoundedMap } from "../cache/bounded_map.ts";
import type { ServerName } from "../matrix/server_name.ts";
import { MatrixError } from "../matrix_error.ts";

/** Exchanges at once. */
export interface ConcurrencyLimits {
  readonly total: number;
  /** Per target homeserver, its name compared without regard to case: spelling must not multiply a share. */
  readonly perServer: number;
  /** All servers together that the operator did not name. */
  readonly unnamed: number;
  /** Those of them together that have not vouched for a user lately. */
  readonly unproven: number;
}

/** What the limit knows of the world. */
export interface ConcurrencyLimitOptions {
  readonly limits?: ConcurrencyLimits;
  /** Whether the operator named a server. */
  readonly isNamed: (server: ServerName) => boolean;
  readonly clock: Pick<Clock, "monotonicNow">;
}

/** What the service takes on before it refuses. */
export const DEFAULT_LIMITS: ConcurrencyLimits = { total: 4000, perServer: 1000, unnamed: 3000, unproven: 2000 };

// A storm is over within its deadline.
const RETRY_AFTER_SECONDS = 5;

// Enough for a server to prove itself while forty others hang.
const FEW = 8;

const PROVEN_FOR_MS = 10 * 60_000;
const MAX_PROVEN = 4000;

/**
 * How far a server is trusted with permits.
 * - `named`: the operator named it.
 * - `proven`: it vouched for a user lately.
 * - `unproven`: anybody's.
 */
type TrustLevel = "named" | "proven" | "unproven";

/** Gives out permits for exchanges. */
export class ConcurrencyLimit {
  readonly #limits: ConcurrencyLimits;
  readonly #isNamed: (server: ServerName) => boolean;
  readonly #clock: Pick<Clock, "monotonicNow">;
  readonly #perServer = new Map<string, number>();
  readonly #inFlight: Record<TrustLevel, number> = { named: 0, proven: 0, unproven: 0 };
  readonly #provenAt = new BoundedMap<ServerName, number>(MAX_PROVEN);

  constructor({ limits = DEFAULT_LIMITS, isNamed, clock }: ConcurrencyLimitOptions) {
    this.#limits = limits;
    this.#isNamed = isNamed;
    this.#clock = clock;
  }

  /** Permits out. */
  get inFlight(): number {
    const { named, proven, unproven } = this.#inFlight;
    return named + proven + unproven;
  }

  /** Raises a server's trust level for ten minutes: it has just vouched for a user. */
  prove(server: ServerName): void {
    this.#provenAt.set(server, this.#clock.monotonicNow());
  }

  /** Whether the operator named a server, or it has vouched for a user lately. */
  isKnown(server: ServerName): boolean {
    return this.#trustOf(server) !== "unproven";
  }

  /**
   * Takes a permit for an exchange of a homeserver's user.
   *
   * @throws MatrixError 503 at once when there is none left.
   */
  acquire(server: ServerName): Permit {
    const trust = this.#trustOf(server);
    // Another spelling of a named server is another server's, which must not take from the share of the real one.
    const key = trust === "named" ? `named ${server}` : server.toLowerCase();
    const ofServer = this.#perServer.get(key) ?? 0;
    if (ofServer >= this.#limits.perServer || !this.#hasRoom(trust, ofServer)) {
      throw new MatrixError(503, "M_UNKNOWN", "The service is busy, try again shortly", {
        retryAfterSeconds: RETRY_AFTER_SECONDS,
      });
    }
    this.#inFlight[trust]++;
    this.#perServer.set(key, ofServer + 1);
    return permitOf(() => {
      this.#inFlight[trust]--;
      const left = (this.#perServer.get(key) ?? 1) - 1;
      if (left === 0) this.#perServer.delete(key);
      else this.#perServer.set(key, left);
    });
  }

  #hasRoom(trust: TrustLevel, ofServer: number): boolean {
    const { proven, unproven } = this.#inFlight;
    if (this.inFlight >= this.#limits.total) return false;
    if (trust === "named") return true;
    if (!isLeft(this.#limits.unnamed, proven + unproven, ofServer)) return false;
    return trust === "proven" || isLeft(this.#limits.unproven, unproven, ofServer);
  }

  #trustOf(server: ServerName): TrustLevel {
    if (this.#isNamed(server)) return "named";
    const provenAt = this.#provenAt.get(server);
    const isProven = provenAt !== undefined && this.#clock.monotonicNow() - provenAt < PROVEN_FOR_MS;
    return isProven ? "proven" : "unproven";
  }
}

/** Of permits that servers share which nobody named, the last quarter is for those that hold only a few. */
function isLeft(permits: number, taken: number, ofServer: number): boolean {
  return taken < (ofServer < FEW ? permits : permits * 3 / 4);
}
