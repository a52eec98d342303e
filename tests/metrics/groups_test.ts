// Each group of metrics, read as a scrape would.

import assert from "node:assert/strict";
import { Registry } from "prom-client";
import { cacheMetrics } from "../../lib/metrics/caches.ts";
import { leaveMetrics } from "../../lib/metrics/leaves.ts";
import { operatorRoutes } from "../../lib/metrics/listener.ts";
import { processMetrics } from "../../lib/metrics/process.ts";
import { requestMetrics } from "../../lib/metrics/requests.ts";
import { webhookMetrics } from "../../lib/metrics/webhooks.ts";

Deno.test("answers are counted by route, status and errcode, and timed", async () => {
  const registry = new Registry();
  const observe = requestMetrics(registry);
  observe({ route: "/sfu/get", status: 200, errcode: "", durationMs: 12 });
  observe({ route: "/sfu/get", status: 401, errcode: "M_UNAUTHORIZED", durationMs: 3 });
  const text = await registry.metrics();
  assert.ok(text.includes('lk_jwt_requests_total{route="/sfu/get",status="401",errcode="M_UNAUTHORIZED"} 1'));
  assert.ok(text.includes('lk_jwt_request_duration_seconds_bucket{le="0.025",route="/sfu/get"} 2'));
});

Deno.test("leaves are read at each scrape, and counted by reason when they were sent", async () => {
  const registry = new Registry();
  const counts = { waiting: 1, connected: 2, leaving: 0 };
  const sent = leaveMetrics(registry, { counts: () => counts, waitingCalls: () => 7, isDurable: () => false });
  sent("hang-up", 80);
  counts.connected = 3;
  const text = await registry.metrics();
  for (
    const line of [
      'lk_jwt_delegated_leaves{state="connected"} 3',
      "lk_jwt_leave_calls_waiting 7",
      "lk_jwt_store_up 0",
      'lk_jwt_leaves_sent_total{reason="hang-up"} 1',
      'lk_jwt_leave_lag_seconds_bucket{le="0.1"} 1',
    ]
  ) assert.ok(text.includes(line), line);
});

Deno.test("webhooks and caches show what their owners count, at each scrape anew", async () => {
  const registry = new Registry();
  let accepted = 1;
  webhookMetrics(registry, () => ({ accepted, rejected: 2, lastAcceptedAt: 5000 }));
  cacheMetrics(registry, { verified_tokens: () => ({ hits: 3, joins: 1, loads: 2 }) });
  await registry.metrics();
  accepted = 4;
  const text = await registry.metrics();
  for (
    const line of [
      'lk_jwt_webhooks_total{result="accepted"} 4',
      'lk_jwt_webhooks_total{result="rejected"} 2',
      "lk_jwt_last_webhook_timestamp_seconds 5",
      'lk_jwt_cache_requests_total{cache="verified_tokens",result="join"} 1',
    ]
  ) assert.ok(text.includes(line), line);
});

Deno.test("the process tells its memory, its CPU time and what it is", async () => {
  const registry = new Registry();
  const end = processMetrics(registry, "1.2.3");
  const text = await registry.metrics();
  end();
  assert.ok(text.includes(`lk_jwt_build_info{version="1.2.3",deno="${Deno.version.deno}"} 1`));
  const value = (name: string) => Number(new RegExp(`^${name} (.+)$`, "m").exec(text)?.[1]);
  assert.ok(value("process_resident_memory_bytes") > 10_000_000);
  assert.ok(value("process_cpu_seconds_total") > 0);
});

const ROUTES: ReadonlyArray<readonly [path: string, unready: string | null, status: number, text: string]> = [
  ["/metrics", null, 200, "lk_jwt_webhooks_total"],
  ["/readyz", null, 200, "ready"],
  ["/readyz", "stopping", 503, "stopping"],
  ["/status", null, 200, '"version":"1.2.3"'],
  ["/healthz", "stopping", 200, ""],
  ["/sfu/get", null, 404, "Not found"],
];

for (const [path, unready, status, text] of ROUTES) {
  Deno.test(`the operator's listener answers ${path} ${status}${unready === null ? "" : ` while it is ${unready}`}`, async () => {
    const registry = new Registry();
    webhookMetrics(registry, () => ({ accepted: 0, rejected: 0, lastAcceptedAt: null }));
    const routes = operatorRoutes({
      registry,
      unready: () => unready,
      status: () => ({ version: "1.2.3", started_at: "", last_webhook_seconds_ago: null, jobs: {}, findings: [] }),
    });
    const response = await routes(new Request(`http://localhost${path}`));
    assert.equal(response.status, status);
    assert.ok((await response.text()).includes(text));
  });
}

Deno.test("the operator's listener takes no POST", async () => {
  const routes = operatorRoutes({
    registry: new Registry(),
    unready: () => null,
    status: () => ({ version: "", started_at: "", last_webhook_seconds_ago: null, jobs: {}, findings: [] }),
  });
  assert.equal((await routes(new Request("http://localhost/metrics", { method: "POST" }))).status, 405);
});
