// Where to listen, and how that is written.

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
  return bind.hostname.includes(":") ? `[${bind.hostname}]:${bind.port}` : `${bind.hostname}:${bind.port}`;
}
