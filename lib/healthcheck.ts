// The health check: asks the service that this host's environment describes, at the very bind that it would listen on.

import http from "node:http";
import { readBind } from "./config/bind.ts";
import { Environment, type EnvironmentVariables } from "./config/environment.ts";
import { type Bind, formatBind, reachable } from "./http/bind.ts";
import { errorText } from "./log/error_text.ts";

const TIMEOUT_MS = 3000;

/** Asks for `/healthz`; null when it answers 200, else what is wrong. */
export async function checkHealth(variables: EnvironmentVariables): Promise<string | null> {
  const env = new Environment(variables, () => "");
  const bind = readBind(env);
  if (bind === null) return env.problems.found.join("\n");
  try {
    const status = await getHealth(bind);
    return status === 200 ? null : `GET /healthz at ${formatBind(bind)} answered ${status}, expected 200`;
  } catch (error) {
    return `Cannot reach ${formatBind(bind)}: ${errorText(error)}`;
  }
}

function getHealth(bind: Bind): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = http.get({
      ...(bind.transport === "unix" ? { socketPath: bind.path } : { host: reachable(bind).hostname, port: bind.port }),
      path: "/healthz",
      agent: false,
      signal: AbortSignal.timeout(TIMEOUT_MS),
    }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode ?? 0));
    });
    request.on("error", reject);
  });
}
