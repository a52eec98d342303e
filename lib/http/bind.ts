// Where to listen, and how that is written.

import { formatHostAndPort } from "../net/endpoint.ts";

/** A TCP address or a unix socket. */
export type Bind =
  | { readonly transport: "tcp"; readonly hostname: string; readonly port: number }
  | { readonly transport: "unix"; readonly path: string };

/** All addresses, IPv6 and IPv4 alike. */
export const ANY_ADDRESS = "::";

/** The bind as it would be written in `LIVEKIT_JWT_BIND`. */
export function formatBind(bind: Bind): string {
  if (bind.transport === "unix") return `unix:${bind.path}`;
  if (bind.hostname === ANY_ADDRESS) return `:${bind.port}`;
  return formatHostAndPort(bind.hostname, bind.port);
}
