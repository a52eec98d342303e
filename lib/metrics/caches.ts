// Metrics of what is remembered instead of asked again.

import { Counter, type Registry } from "prom-client";
import type { CacheCounts } from "../cache/loading_cache.ts";

/** Registers the caches by name. */
export function cacheMetrics(registry: Registry, caches: Readonly<Record<string, () => CacheCounts>>): void {
  new Counter({
    name: "lk_jwt_cache_requests_total",
    help: "Look-ups in caches: hit = from memory, join = by a load under way, load = asked anew",
    labelNames: ["cache", "result"],
    registers: [registry],
    collect() {
      this.reset();
      for (const [cache, counts] of Object.entries(caches)) {
        const { hits, joins, loads } = counts();
        this.inc({ cache, result: "hit" }, hits);
        this.inc({ cache, result: "join" }, joins);
        this.inc({ cache, result: "load" }, loads);
      }
    },
  });
}
