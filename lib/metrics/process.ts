// Metrics of the process itself. Those that the library brings along read files which the service's permissions close.

import { monitorEventLoopDelay } from "node:perf_hooks";
import process from "node:process";
import { Counter, Gauge, type Registry } from "prom-client";

const NANOSECONDS = 1e9;
const MICROSECONDS = 1e6;

/** Registers them; what it returns ends the measurement. */
export function processMetrics(registry: Registry, version: string): () => void {
  const registers = [registry];
  new Gauge({
    name: "lk_jwt_build_info",
    help: "Always 1; what runs is in the labels",
    labelNames: ["version", "deno"],
    registers,
  }).set({ version, deno: Deno.version.deno }, 1);
  new Gauge({ name: "process_start_time_seconds", help: "Since the epoch", registers })
    .set((performance.timeOrigin) / 1000);
  new Gauge({
    name: "process_resident_memory_bytes",
    help: "Resident memory",
    registers,
    collect() {
      this.set(Deno.memoryUsage().rss);
    },
  });
  new Gauge({
    name: "lk_jwt_heap_used_bytes",
    help: "Used part of the JavaScript heap",
    registers,
    collect() {
      this.set(Deno.memoryUsage().heapUsed);
    },
  });
  new Counter({
    name: "process_cpu_seconds_total",
    help: "CPU time, user and system",
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc((user + system) / MICROSECONDS);
    },
  });
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  new Gauge({
    name: "lk_jwt_event_loop_delay_seconds",
    help: "How late timers ran since the last scrape: all requests wait that long",
    labelNames: ["quantile"],
    registers,
    collect() {
      this.set({ quantile: "0.5" }, delay.percentile(50) / NANOSECONDS);
      this.set({ quantile: "0.99" }, delay.percentile(99) / NANOSECONDS);
      this.set({ quantile: "1" }, Math.max(delay.max, 0) / NANOSECONDS);
      delay.reset();
    },
  });
  return () => delay.disable();
}
