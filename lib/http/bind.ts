// Where to listen, and how that is written.

import { formatHostAndPort } from "../net/endpoint.ts";

/** A TCP address; `hostname` is an IP address or a name. */
export interface TcpBind {
  readonly transport: "tcp";
  readonly hostname: string;
  readonly port: number;
}

/** A TCP address or a unix socket. */
export type Bind = TcpBind | { readonly transport: "unix"; readonly path: string };

/** All addresses, IPv6 and IPv4 alike. */
export const ANY_ADDRESS = "::";

/** The bind as it would be written in `LIVEKIT_JWT_BIND`. */
export function formatBind(bind: Bind): string {
  if (bind.transport === "unix") return `unix:${bind.path}`;
  if (bind.hostname === ANY_ADDRESS) return `:${bind.port}`;
  return formatHostAndPort(bind.hostname, bind.port);
}

/** Where this host reaches a listener: one on all addresses answers on loopback, whichever family the host has. */
export function reachable(bind: TcpBind): TcpBind {
  const { hostname } = bind;
  return hostname === ANY_ADDRESS || hostname === "0.0.0.0" ? { ...bind, hostname: "localhost" } : bind;
}
