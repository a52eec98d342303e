// Opens the listener: TCP on both address families, or a unix socket.

import { ANY_ADDRESS, type Bind, formatBind } from "./bind.ts";

/** Answers requests. */
export type Handler = (request: Request) => Promise<Response>;

// Whoever is in the group of the service (a proxy) may connect.
const SOCKET_MODE = 0o660;

/**
 * Listens.
 *
 * @throws When the address cannot be had; a unix socket on which another process listens is not taken from it.
 */
export async function listen(bind: Bind, handler: Handler): Promise<Deno.HttpServer<Deno.Addr>> {
  const onListen = () => {}; // the service announces itself
  if (bind.transport === "unix") {
    await removeStaleSocket(bind.path);
    const server = Deno.serve({ path: bind.path, onListen }, handler);
    Deno.chmodSync(bind.path, SOCKET_MODE);
    return server;
  }
  const { hostname, port } = bind;
  try {
    return Deno.serve({ hostname, port, onListen }, handler);
  } catch (error) {
    // A host without IPv6 has no "::" to listen on.
    if (hostname !== ANY_ADDRESS || error instanceof Deno.errors.AddrInUse) throw error;
    return Deno.serve({ hostname: "0.0.0.0", port, onListen }, handler);
  }
}

// A socket file outlives a crash, and nothing can listen where it lies. Anything else at that path is not ours.
async function removeStaleSocket(path: string): Promise<void> {
  try {
    if (!Deno.lstatSync(path).isSocket) return;
    const connection = await Deno.connect({ transport: "unix", path });
    connection.close();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
    Deno.removeSync(path);
    return;
  }
  throw new Deno.errors.AddrInUse(`Another process listens on "${formatBind({ transport: "unix", path })}"`);
}
