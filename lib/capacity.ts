// How much goes on at once. A join storm is served; what would only wait for its deadline is turned away at once, and a
// hanging homeserver takes no more than its share.

import { MatrixError } from "./http/matrix_error.ts";

/** The bounds of {@link Capacity}. */
export interface CapacityLimits {
  readonly total: number;
  /** Per target homeserver, its name compared without regard to case: spelling must not multiply a share. */
  readonly perServer: number;
}

/** What the service takes on before it says no. */
export const DEFAULT_LIMITS: CapacityLimits = { total: 4000, perServer: 1000 };

// A storm is over within its deadline.
const RETRY_AFTER_SECONDS = 5;

/** Counts the exchanges in flight. */
export class Capacity {
  readonly #limits: CapacityLimits;
  readonly #perServer = new Map<string, number>();
  #total = 0;

  constructor(limits: CapacityLimits = DEFAULT_LIMITS) {
    this.#limits = limits;
  }

  /** Exchanges in flight. */
  get inFlight(): number {
    return this.#total;
  }

  /**
   * Runs an exchange on behalf of a homeserver's user.
   *
   * @throws MatrixError 503 at once when there is no room for it.
   */
  async run<T>(serverName: string, work: () => Promise<T>): Promise<T> {
    const server = serverName.toLowerCase();
    const ofServer = this.#perServer.get(server) ?? 0;
    if (this.#total >= this.#limits.total || ofServer >= this.#limits.perServer) {
      throw new MatrixError(503, "M_UNKNOWN", "The service is busy, try again shortly", {
        retryAfterSeconds: RETRY_AFTER_SECONDS,
      });
    }
    this.#total++;
    this.#perServer.set(server, ofServer + 1);
    try {
      return await work();
    } finally {
      this.#total--;
      const left = (this.#perServer.get(server) ?? 1) - 1;
      if (left === 0) this.#perServer.delete(server);
      else this.#perServer.set(server, left);
    }
  }
}
