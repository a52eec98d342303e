// The side of a service that faces its operator: metrics, readiness, status, and the checks of the set-up after the
// start. Each is loaded only where it is wanted.

import type { Clients } from "./clients.ts";
import type { Config } from "./config/config.ts";
import type { StartupChecks } from "./doctor/startup_checks.ts";
import { Listener } from "./http/listener.ts";
import type { Log } from "./log/log.ts";
import type { Metrics } from "./metrics/metrics.ts";
import type { Status } from "./metrics/listener.ts";
import type { Clock } from "./async/clock.ts";
import { VERSION } from "./version.ts";

/** What the operator's side reads of the service. */
export interface OperatorSideDeps {
  readonly config: Config;
  readonly clients: Clients;
  /** Null where no listener is wanted. */
  readonly metrics: Metrics | null;
  readonly clock: Clock;
  readonly log: Log;
  /** Why no work is taken now; null = it is. */
  readonly unready: () => string | null;
  readonly lastWebhookAt: () => number | null;
  readonly jobs: () => Readonly<Record<string, number>>;
}

/** Metrics where a listener for them is wanted. */
export async function loadMetrics({ metricsBind }: Config): Promise<Metrics | null> {
  if (metricsBind === null) return null;
  const { Metrics } = await import("./metrics/metrics.ts");
  return new Metrics();
}

/**
 * Opens the operator's listener and begins the checks, both as configured.
 *
 * @returns Ends both.
 * @throws When the address of LIVEKIT_METRICS_BIND cannot be listened on.
 */
export async function openOperatorSide(deps: OperatorSideDeps): Promise<() => Promise<void>> {
  const checks = await beginChecks(deps);
  const listener = await openListener(deps, checks);
  return async () => {
    checks?.close();
    await listener?.shutdown();
    deps.metrics?.close();
  };
}

async function beginChecks({ config, clients, clock, log }: OperatorSideDeps): Promise<StartupChecks | null> {
  if (!config.startupChecks) return null;
  const [{ StartupChecks }, { startupCheck }] = await Promise.all([
    import("./doctor/startup_checks.ts"),
    import("./doctor/setup.ts"),
  ]);
  const checks = new StartupChecks({ check: startupCheck(config, clients, clock), clock, log });
  void checks.run();
  return checks;
}

async function openListener(deps: OperatorSideDeps, checks: StartupChecks | null): Promise<Listener | null> {
  const { config: { metricsBind }, metrics, unready, clock, log } = deps;
  if (metricsBind === null || metrics === null) return null;
  const { operatorRoutes } = await import("./metrics/listener.ts");
  const startedAt = new Date(clock.now()).toISOString();
  const status = (): Status => {
    const lastAt = deps.lastWebhookAt();
    return {
      version: VERSION,
      started_at: startedAt,
      last_webhook_seconds_ago: lastAt === null ? null : Math.max(clock.now() - lastAt, 0) / 1000,
      jobs: deps.jobs(),
      findings: checks?.findings ?? [],
    };
  };
  return await Listener.open({
    bind: metricsBind,
    handler: operatorRoutes({ registry: metrics.registry, unready, status }),
    clock,
    log,
  });
}
