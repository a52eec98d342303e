// All metrics of one service, by group. Loaded only where LIVEKIT_METRICS_BIND asks for them.

import { Registry } from "prom-client";
import type { Clock } from "../async/clock.ts";
import type { CacheCounts } from "../cache/loading_cache.ts";
import type { AnsweredRequest } from "../http/request_record.ts";
import type { Outbound } from "../net/client.ts";
import { VERSION } from "../version.ts";
import { cacheMetrics } from "./caches.ts";
import { leaveMetrics, type LeaveSource } from "./leaves.ts";
import { MeasuredOutbound } from "./outbound.ts";
import { processMetrics } from "./process.ts";
import { requestMetrics } from "./requests.ts";
import { type WebhookCounts, webhookMetrics } from "./webhooks.ts";

/** The metrics of a service; each group is registered once. */
export class Metrics {
  readonly registry = new Registry();
  readonly #endProcess: () => void;
  /** To be told of each answered request. */
  readonly onAnswered: (request: AnsweredRequest) => void;

  constructor() {
    this.#endProcess = processMetrics(this.registry, VERSION);
    this.onAnswered = requestMetrics(this.registry);
  }

  /** An outbound client that is counted and timed. */
  measure(outbound: Outbound, clock: Pick<Clock, "monotonicNow">): Outbound {
    return new MeasuredOutbound(outbound, this.registry, clock);
  }

  /** Returns what is to be told of each leave that a homeserver has taken. */
  ofLeaves(source: LeaveSource): (reason: string, afterMs: number | null) => void {
    return leaveMetrics(this.registry, source);
  }

  ofWebhooks(counts: () => WebhookCounts): void {
    webhookMetrics(this.registry, counts);
  }

  ofCaches(caches: Readonly<Record<string, () => CacheCounts>>): void {
    cacheMetrics(this.registry, caches);
  }

  close(): void {
    this.#endProcess();
  }
}
