// The dashboard and the alert rules, held against a real process: Prometheus takes them, scrapes the service, and each
// query names metrics that are there.

import assert from "node:assert/strict";
import * as v from "valibot";
import { BackgroundProcess, runToEnd } from "../../testing/child_process.ts";
import { freePort } from "../../testing/free_port.ts";
import { ServiceProcess } from "../../testing/service_process.ts";

const FOLDER = new URL("../../deploy/monitoring/", import.meta.url);
const TO_INSTALL = "install Prometheus (Debian: prometheus)";
const Dashboard = v.object({
  panels: v.array(v.object({ title: v.string(), targets: v.array(v.object({ expr: v.string() })) })),
});
const Answer = v.object({ status: v.string(), data: v.object({ result: v.array(v.unknown()) }) });

// A service in which nothing has happened yet has no series of these.
const NEEDS_EVENTS = /leaves_sent|leave_lag|requests_total|request_duration|cache_requests/;

async function queries(): Promise<ReadonlyArray<readonly [title: string, expr: string]>> {
  const text = await Deno.readTextFile(new URL("grafana-dashboard.json", FOLDER));
  const { panels } = v.parse(Dashboard, JSON.parse(text));
  return panels.flatMap(({ title, targets }) => targets.map(({ expr }) => [title, expr.replaceAll("$job", "test")]));
}

Deno.test("promtool takes the rules and the scrape configuration", async () => {
  const { pathname: folder } = FOLDER;
  await runToEnd("promtool", ["check", "config", `${folder}prometheus.yaml`], { toInstall: TO_INSTALL });
});

Deno.test("each query of the dashboard is understood by Prometheus, and finds what the process exposes", async () => {
  const [metricsPort, prometheusPort] = [await freePort(), await freePort()];
  const folder = await Deno.makeTempDir({ prefix: "lk-jwt-service-prometheus-" });
  await using service = await ServiceProcess.start({
    LIVEKIT_URL: "ws://127.0.0.1:1",
    LIVEKIT_KEY: "key",
    LIVEKIT_SECRET: "secret-secret-secret-secret-secret-1",
    LIVEKIT_FULL_ACCESS_HOMESERVERS: "example.com",
    LIVEKIT_JWT_BIND: "127.0.0.1:0",
    LIVEKIT_METRICS_BIND: `127.0.0.1:${metricsPort}`,
  });
  assert.ok(service.output.includes("Listening on"));
  const exposed = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
  const names = new Set([...exposed.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name));
  const rules = await Deno.readTextFile(new URL("alerts.yaml", FOLDER));
  // Prometheus names series of histograms by the part.
  const all = [...(await queries()).map(([, expr]) => expr), rules].join("\n");
  for (const [, name = ""] of all.matchAll(/\b(lk_jwt_[a-z_]+|process_[a-z_]+)\b/g)) {
    assert.ok(names.has(name) || names.has(name.replace(/_(?:bucket|sum|count)$/, "")), `no metric "${name}"`);
  }

  const config = {
    global: { scrape_interval: "200ms" },
    scrape_configs: [{ job_name: "test", static_configs: [{ targets: [`127.0.0.1:${metricsPort}`] }] }],
  };
  await Deno.writeTextFile(`${folder}/prometheus.yaml`, JSON.stringify(config)); // JSON is YAML
  await using prometheus = new BackgroundProcess({
    name: "Prometheus",
    program: "prometheus",
    args: [
      `--config.file=${folder}/prometheus.yaml`,
      `--storage.tsdb.path=${folder}/data`,
      `--web.listen-address=127.0.0.1:${prometheusPort}`,
    ],
    logFile: `${folder}/prometheus.log`,
  });
  const ask = async (expr: string) => {
    const url = `http://127.0.0.1:${prometheusPort}/api/v1/query?query=${encodeURIComponent(expr)}`;
    const response = await fetch(url);
    return v.parse(Answer, await response.json());
  };
  await prometheus.untilReady(
    async () => (await ask('count_over_time(up{job="test"}[1m]) > 2')).data.result.length > 0,
    30_000,
  );
  for (const [title, expr] of await queries()) {
    const { status, data } = await ask(expr);
    assert.equal(status, "success", `${title}: ${expr}`);
    if (!NEEDS_EVENTS.test(expr)) assert.ok(data.result.length > 0, `${title}: nothing found by ${expr}`);
  }
  await Deno.remove(folder, { recursive: true }).catch(() => {});
});
