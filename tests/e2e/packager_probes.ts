// How packagers ask whether the service runs. Each probe fails, or gives one line about what was asked and answered.

import assert from "node:assert/strict";

const KUBELET_TIMEOUT_MS = 1000;
const KUBELET_FAILURES = 3;

/** The command of the executable, or the program of the image. */
export type HealthcheckName = "healthcheck" | "/lk-jwt-service-healthcheck";

/** A service that runs in a packager's set-up. */
export interface Probed {
  /** Straight to it. */
  readonly url: string;
  /** To it through a proxy that strips a prefix, over TLS. */
  readonly proxied: (path: string, init?: RequestInit) => Promise<Response>;
  /** Runs a health check where it runs, with its variables; gives the exit code. */
  readonly healthcheck: (name: HealthcheckName) => Promise<number>;
  /** A body for `/get_token` that is right but for its OpenID token. */
  readonly bodyWithUnknownToken: Readonly<Record<string, unknown>>;
}

/** A probe. */
export type Probe = (service: Probed) => Promise<string>;

/** As Kubernetes does by `httpGet`: it gives up on a pod after three failures in a row, each after a second. */
export const kubelet: Probe = async ({ url }) => {
  for (let failures = 0;;) {
    try {
      const response = await fetch(`${url}/healthz`, {
        headers: { "user-agent": "kube-probe/1.31" },
        signal: AbortSignal.timeout(KUBELET_TIMEOUT_MS),
      });
      await response.body?.cancel();
      assert.equal(response.status, 200);
      return "GET /healthz -> 200";
    } catch (error) {
      if (++failures === KUBELET_FAILURES) throw error;
    }
  }
};

/** By connecting, as systemd's users and Home Assistant's watchdog do. */
export const tcpConnect: Probe = async ({ url }) => {
  const { hostname, port } = new URL(url);
  using _connection = await Deno.connect({ hostname: hostname.replace(/[[\]]/g, ""), port: Number(port) });
  return "TCP connect -> connected";
};

/** By a health check of the service's own. */
export function healthcheck(name: HealthcheckName): Probe {
  return async (service) => {
    assert.equal(await service.healthcheck(name), 0);
    return `${name} -> exit code 0`;
  };
}

/** By hand, with curl: do these routes exist? */
export const routesByHand: Probe = async ({ url }) => {
  const asked = [
    ["GET", "/healthz", 200],
    ["POST", "/sfu_webhook", 200],
    ["POST", "/delegate_delayed_leave", 400],
    ["GET", "/sfu/get", 405],
    ["OPTIONS", "/get_token", 200],
  ] as const;
  for (const [method, path, status] of asked) {
    const response = await fetch(`${url}${path}`, { method });
    await response.body?.cancel();
    assert.equal(response.status, status, `${method} ${path}`);
  }
  return asked.map(([method, path, status]) => `${method} ${path} -> ${status}`).join(", ");
};

/** Through the proxy: the paths that its configuration routes. */
export const pathsOfProxies: Probe = async ({ proxied }) => {
  const health = await proxied("/healthz");
  await health.body?.cancel();
  const empty = await proxied("/sfu/get", { method: "POST", body: "{}" });
  const { errcode } = await empty.json();
  assert.deepEqual([health.status, empty.status, errcode], [200, 400, "M_BAD_JSON"]);
  return `GET …/healthz -> ${health.status}, POST …/sfu/get {} -> ${empty.status} ${errcode}, through nginx`;
};

/** As the role's own tests do: health, CORS, and what becomes of bad JSON and of an unknown token. */
export const molecule: Probe = async ({ url, bodyWithUnknownToken }) => {
  const health = await fetch(`${url}/healthz`);
  await health.body?.cancel();
  assert.equal(health.status, 200);

  const preflight = await fetch(`${url}/get_token`, { method: "OPTIONS" });
  await preflight.body?.cancel();
  const cors = ["origin", "methods", "headers"].map((name) => preflight.headers.get(`access-control-allow-${name}`));
  assert.deepEqual([preflight.status, ...cors.map((value) => value?.toLowerCase())], [
    200,
    "*",
    "post",
    "accept, content-type, content-length, accept-encoding, x-csrf-token",
  ]);

  const post = async (body: string) => {
    const headers = { "content-type": "application/json" };
    const response = await fetch(`${url}/get_token`, { method: "POST", headers, body });
    return [response.status, await response.json()];
  };
  assert.deepEqual(await post("{not-json"), [400, { errcode: "M_NOT_JSON", error: "Error reading request" }]);
  const refusal = { errcode: "M_UNAUTHORIZED", error: "The request could not be authorised." };
  assert.deepEqual(await post(JSON.stringify(bodyWithUnknownToken)), [401, refusal]);
  return "/healthz -> 200, OPTIONS /get_token -> 200 with CORS, bad JSON -> 400 M_NOT_JSON, unknown token -> 401";
};
