// The variables that say where to listen, read by the server and the health check alike.

import { ANY_ADDRESS, type Bind } from "../http/bind.ts";
import { parseHostAndPort } from "../net/endpoint.ts";
import type { Environment } from "./environment.ts";

/**
 * Parses `:8080`, `host:8080`, `[::1]:8080` or `unix:/path`.
 *
 * @returns null for anything else, a port above 65535 among it.
 */
export function parseBind(text: string): Bind | null {
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length).replace(/^\/{2,}/, "/");
    return path === "" ? null : { transport: "unix", path };
  }
  const { host = "", port = null } = parseHostAndPort(text) ?? {};
  return port === null ? null : { transport: "tcp", hostname: host || ANY_ADDRESS, port };
}

/** Where to listen: by `LIVEKIT_JWT_BIND`, else by a port alone; null when there is a problem. */
export function readBind(env: Environment): Bind | null {
  const { problems } = env;
  const name = portVariable(env);
  if (name === null) {
    const text = env.get("LIVEKIT_JWT_BIND");
    const bind = parseBind(text);
    if (bind === null) problems.add("LIVEKIT_JWT_BIND", `is "${text}"`, ":8080, host:port or unix:/path");
    return bind;
  }
  const port = env.get(name);
  if (env.given("LIVEKIT_JWT_BIND") !== undefined) {
    problems.add(`LIVEKIT_JWT_BIND and ${name}`, "are both set", "LIVEKIT_JWT_BIND alone");
    return null;
  }
  const bind = parseBind(`:${port}`);
  if (bind === null) problems.add(name, `is "${port}"`, "a port");
  else problems.warn(`${name} is deprecated: use LIVEKIT_JWT_BIND=":${port}"`);
  return bind;
}

/** Where the operator's listener is; null = nowhere. */
export function readMetricsBind(env: Environment): Bind | null {
  const text = env.get("LIVEKIT_METRICS_BIND");
  if (text === undefined) return null;
  const bind = parseBind(text);
  if (bind === null) env.problems.add("LIVEKIT_METRICS_BIND", `is "${text}"`, "127.0.0.1:9464, :9464 or unix:/path");
  return bind;
}

/** The variable that gives a port alone. Its former name is still set beside the others in many places. */
function portVariable(env: Environment): "LIVEKIT_JWT_PORT" | "LK_JWT_PORT" | null {
  const names = ["LIVEKIT_JWT_PORT", "LIVEKIT_JWT_BIND", "LK_JWT_PORT"] as const;
  const [first, ...others] = names.filter((name) => env.given(name) !== undefined);
  if (first !== "LK_JWT_PORT" && others.includes("LK_JWT_PORT")) {
    env.problems.warn(`LK_JWT_PORT has no effect beside ${first}: remove it`);
  }
  return first === undefined || first === "LIVEKIT_JWT_BIND" ? null : first;
}
