// How much goes on at once. A join storm is served; what would only wait for its deadline is turned away at once, and
// homeservers that hang, be they many, take no more than their share: some places are kept for servers that are known.

import { MatrixError } from "../matrix_error.ts";

/** The bounds of {@link Capacity}, in exchanges at once. */
export interface CapacityLimits {
  readonly total: number;
  /** Per target homeserver, its name compared without regard to case: spelling must not multiply a share. */
  readonly perServer: number;
  /** All servers together that the operator did not name. */
  readonly unlisted: number;
  /** Those of them together that have not vouched for a user lately. */
  readonly unproven: number;
}

/** What the capacity knows of the world. */
export interface CapacityOptions {
  readonly limits?: CapacityLimits;
  /** Whether the operator named a server. */
  readonly isListed: (serverName: string) => boolean;
  /** A clock that never jumps, in ms. */
  readonly monotonicNow: () => number;
}

/** What the service takes on before it says no. */
export const DEFAULT_LIMITS: CapacityLimits = { total: 4000, perServer: 1000, unlisted: 3000, unproven: 2000 };

// A storm is over within its deadline.
const RETRY_AFTER_SECONDS = 5;

// Enough for a server to prove itself while forty others hang.
const FEW = 8;

const PROVEN_FOR_MS = 10 * 60_000;
const MAX_PROVEN = 10_000;

type Standing = "listed" | "proven" | "unproven";

/** Counts the exchanges in flight. */
export class Capacity {
  readonly #limits: CapacityLimits;
  readonly #isListed: (serverName: string) => boolean;
  readonly #now: () => number;
  readonly #perServer = new Map<string, number>();
  readonly #inFlight: Record<Standing, number> = { listed: 0, proven: 0, unproven: 0 };
  readonly #provenAt = new Map<string, number>();

  constructor({ limits = DEFAULT_LIMITS, isListed, monotonicNow }: CapacityOptions) {
    this.#limits = limits;
    this.#isListed = isListed;
    this.#now = monotonicNow;
  }

  /** Exchanges in flight. */
  get inFlight(): number {
    const { listed, proven, unproven } = this.#inFlight;
    return listed + proven + unproven;
  }

  /** A server has just vouched for a user: for a while it does not share with servers that nobody knows. */
  prove(serverName: string): void {
    this.#provenAt.delete(serverName);
    this.#provenAt.set(serverName, this.#now());
    const oldest = this.#provenAt.keys().next();
    if (this.#provenAt.size > MAX_PROVEN && !oldest.done) this.#provenAt.delete(oldest.value);
  }

  /** Whether the operator named a server, or it has vouched for a user lately. */
  isKnown(serverName: string): boolean {
    return this.#standingOf(serverName) !== "unproven";
  }

  /**
   * Runs an exchange on behalf of a homeserver's user.
   *
   * @throws MatrixError 503 at once when there is no room for it.
   */
  async run<T>(serverName: string, work: () => Promise<T>): Promise<T> {
    const standing = this.#standingOf(serverName);
    // Another spelling of a listed name is another server's, which must not take from the share of the real one.
    const server = standing === "listed" ? `listed ${serverName}` : serverName.toLowerCase();
    const ofServer = this.#perServer.get(server) ?? 0;
    if (ofServer >= this.#limits.perServer || !this.#hasRoom(standing, ofServer)) {
      throw new MatrixError(503, "M_UNKNOWN", "The service is busy, try again shortly", {
        retryAfterSeconds: RETRY_AFTER_SECONDS,
      });
    }
    this.#inFlight[standing]++;
    this.#perServer.set(server, ofServer + 1);
    try {
      return await work();
    } finally {
      this.#inFlight[standing]--;
      const left = (this.#perServer.get(server) ?? 1) - 1;
      if (left === 0) this.#perServer.delete(server);
      else this.#perServer.set(server, left);
    }
  }

  #hasRoom(standing: Standing, ofServer: number): boolean {
    const { proven, unproven } = this.#inFlight;
    if (this.inFlight >= this.#limits.total) return false;
    if (standing === "listed") return true;
    if (!isLeft(this.#limits.unlisted, proven + unproven, ofServer)) return false;
    return standing === "proven" || isLeft(this.#limits.unproven, unproven, ofServer);
  }

  #standingOf(serverName: string): Standing {
    if (this.#isListed(serverName)) return "listed";
    const provenAt = this.#provenAt.get(serverName);
    return provenAt !== undefined && this.#now() - provenAt < PROVEN_FOR_MS ? "proven" : "unproven";
  }
}

/** Of places that servers share which nobody named, the last quarter is for those that hold only a few. */
function isLeft(places: number, taken: number, ofServer: number): boolean {
  return taken < (ofServer < FEW ? places : places * 3 / 4);
}
