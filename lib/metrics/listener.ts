// The operator's listener: metrics, readiness and status, on a bind of its own that is not for clients.

import type { Registry } from "prom-client";
import type { Check } from "../doctor/check.ts";

/** What the routes tell. */
export interface OperatorRoutesDeps {
  readonly registry: Pick<Registry, "metrics" | "contentType">;
  /** Why the service takes no work now; null = it does. */
  readonly unready: () => string | null;
  readonly status: () => Status;
}

/** What a running service knows of itself. */
export interface Status {
  readonly version: string;
  readonly started_at: string;
  /** Null before the first one. */
  readonly last_webhook_seconds_ago: number | null;
  readonly jobs: Readonly<Record<string, number>>;
  /** What the checks at the start found wrong, and still do. */
  readonly findings: readonly Check[];
}

/** Answers `/metrics`, `/readyz`, `/status` and `/healthz` to GET and HEAD. */
export function operatorRoutes(deps: OperatorRoutesDeps): (request: Request) => Promise<Response> {
  return async (request) => {
    if (request.method !== "GET" && request.method !== "HEAD") {
      return new Response("Method not allowed\n", { status: 405, headers: { allow: "GET, HEAD" } });
    }
    switch (new URL(request.url).pathname) {
      case "/metrics":
        return new Response(await deps.registry.metrics(), { headers: { "content-type": deps.registry.contentType } });
      case "/readyz": {
        const reason = deps.unready();
        return new Response(reason === null ? "ready\n" : `${reason}\n`, { status: reason === null ? 200 : 503 });
      }
      case "/status":
        return Response.json(deps.status());
      case "/healthz":
        return new Response(null);
      default:
        return new Response("Not found: /metrics, /readyz and /status are here\n", { status: 404 });
    }
  };
}
