// Metrics of what clients ask: how much, how it is answered, and how long it takes.

import { Counter, Histogram, type Registry } from "prom-client";
import type { AnsweredRequest } from "../http/request_record.ts";

// Up to the deadline of an exchange.
const BUCKETS_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** Returns what is to be told of each answered request. */
export function requestMetrics(registry: Registry): (request: AnsweredRequest) => void {
  const registers = [registry];
  const total = new Counter({
    name: "lk_jwt_requests_total",
    help: "Answered requests. 401: not vouched for, 403: not on the lists, 429: rate limit, 503: busy or stopping",
    labelNames: ["route", "status", "errcode"],
    registers,
  });
  const duration = new Histogram({
    name: "lk_jwt_request_duration_seconds",
    help: "From the first byte of a request to its answer",
    labelNames: ["route"],
    buckets: BUCKETS_SECONDS,
    registers,
  });
  return ({ route, status, errcode, durationMs }) => {
    total.inc({ route, status, errcode });
    duration.observe({ route }, durationMs / 1000);
  };
}
