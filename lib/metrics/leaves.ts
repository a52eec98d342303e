// Metrics of delegated leave: jobs by state, leaves that were sent, and what waits.

import { Counter, Gauge, Histogram, type Registry } from "prom-client";

/** Reads of the leave manager, at each scrape. */
export interface LeaveSource {
  /** Jobs by state. */
  readonly counts: () => Readonly<Record<string, number>>;
  /** Calls that wait for their turn, for all homeservers together. */
  readonly waitingCalls: () => number;
  /** Whether events are stored so that they outlive the process. */
  readonly isDurable: () => boolean;
}

// From a webhook to the homeserver's answer.
const BUCKETS_SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

/** Returns what is to be told of each leave that a homeserver has taken. */
export function leaveMetrics(
  registry: Registry,
  source: LeaveSource,
): (reason: string, afterMs: number | null) => void {
  const registers = [registry];
  new Gauge({
    name: "lk_jwt_delegated_leaves",
    help: "Delegated leave events, by state of their job",
    labelNames: ["state"],
    registers,
    collect() {
      for (const [state, count] of Object.entries(source.counts())) this.set({ state }, count);
    },
  });
  new Gauge({
    name: "lk_jwt_leave_calls_waiting",
    help: "Calls to homeservers that wait for their turn, in all",
    registers,
    collect() {
      this.set(source.waitingCalls());
    },
  });
  new Gauge({
    name: "lk_jwt_store_up",
    help: "1 when delegated leave events outlive the process, 0 while they can only be kept in memory",
    registers,
    collect() {
      this.set(source.isDurable() ? 1 : 0);
    },
  });
  const sent = new Counter({
    name: "lk_jwt_leaves_sent_total",
    help: "Leave events that were sent, by reason",
    labelNames: ["reason"],
    registers,
  });
  const lag = new Histogram({
    name: "lk_jwt_leave_lag_seconds",
    help: "From the sign of a leave to the homeserver's answer",
    buckets: BUCKETS_SECONDS,
    registers,
  });
  return (reason, afterMs) => {
    sent.inc({ reason });
    if (afterMs !== null) lag.observe(afterMs / 1000);
  };
}
