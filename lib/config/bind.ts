// Where to listen: the text of LIVEKIT_JWT_BIND, parsed once for the server and the health check alike.

/** A TCP address or a unix socket. */
export type Bind =
  | { readonly transport: "tcp"; readonly hostname: string; readonly port: number }
  | { readonly transport: "unix"; readonly path: string };

/** All addresses, IPv6 and IPv4 alike. */
export const ANY_ADDRESS = "::";

const HOST_AND_PORT = /^(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([^:[\]\s/]*)):(\d{1,5})$/;

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
  const match = HOST_AND_PORT.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) return null;
  return { transport: "tcp", hostname: match[1] ?? (match[2] || ANY_ADDRESS), port };
}

/** The bind as it would be written. */
export function formatBind(bind: Bind): string {
  if (bind.transport === "unix") return `unix:${bind.path}`;
  if (bind.hostname === ANY_ADDRESS) return `:${bind.port}`;
  return bind.hostname.includes(":") ? `[${bind.hostname}]:${bind.port}` : `${bind.hostname}:${bind.port}`;
}
