// Metrics of LiveKit's webhooks.

import { Counter, Gauge, type Registry } from "prom-client";

/** What the webhook receiver counts. */
export interface WebhookCounts {
  readonly accepted: number;
  readonly rejected: number;
  /** Wall clock, ms since the epoch; null before the first one. */
  readonly lastAcceptedAt: number | null;
}

/** Registers them. */
export function webhookMetrics(registry: Registry, counts: () => WebhookCounts): void {
  const registers = [registry];
  new Counter({
    name: "lk_jwt_webhooks_total",
    help: "Webhooks, by result; rejected ones were not signed by LiveKit",
    labelNames: ["result"],
    registers,
    collect() {
      this.reset();
      const { accepted, rejected } = counts();
      this.inc({ result: "accepted" }, accepted);
      this.inc({ result: "rejected" }, rejected);
    },
  });
  new Gauge({
    name: "lk_jwt_last_webhook_timestamp_seconds",
    help: "When the last genuine webhook came, since the epoch; 0 = none yet",
    registers,
    collect() {
      this.set((counts().lastAcceptedAt ?? 0) / 1000);
    },
  });
}
