// Asks a service for /healthz all the time, as an orchestrator does, from a thread of its own: what the attackers in this
// process do must not count as slowness of the service.

/** What the probe saw. */
export interface Health {
  /** Probes answered with 200. */
  readonly answered: number;
  /** Probes that were answered otherwise, or not at all. */
  readonly failed: number;
  /** The slowest answer, in ms, less what a server that does nothing took at the same moment. */
  readonly slowestMs: number;
}

/** Probes until it is stopped. */
export class HealthProbe {
  readonly #worker: Worker;

  /** @param url Base URL of the service. */
  constructor(url: string) {
    this.#worker = new Worker(new URL("health_probe_worker.ts", import.meta.url), { type: "module", name: url });
    this.#worker.postMessage(url);
  }

  /** Ends it; gives what it saw. */
  stop(): Promise<Health> {
    return new Promise((resolve, reject) => {
      this.#worker.onmessage = ({ data }: MessageEvent<Health>) => {
        this.#worker.terminate();
        resolve(data);
      };
      this.#worker.onerror = (event) => reject(new Error(`The health probe failed: ${event.message}`));
      this.#worker.postMessage(null);
    });
  }
}
