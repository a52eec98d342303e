// Opens the listener: TCP on both address families, or a unix socket. Keeps it open: the server underneath gives up
// for good when it has no file descriptor left for one connection, and anybody can open connections.

import { ANY_ADDRESS, type Bind, formatBind } from "./bind.ts";
import type { Log } from "../log/log.ts";

/** Answers requests. */
export type Handler = (request: Request, info: { readonly remoteAddr: Deno.Addr }) => Promise<Response>;

// Whoever is in the group of the service (a proxy) may connect.
const SOCKET_MODE = 0o660;
const REOPEN_AFTER_MS = 100;

/** An open listener. */
export class Listener {
  readonly address: Deno.Addr;
  readonly #bind: Bind;
  readonly #handler: Handler;
  readonly #log: Log;
  #server: Deno.HttpServer<Deno.Addr>;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;

  private constructor(server: Deno.HttpServer<Deno.Addr>, bind: Bind, handler: Handler, log: Log) {
    this.address = server.addr;
    // Once it is open, it stays at the address it was given: no other port, no other family.
    const { hostname, port } = "hostname" in server.addr ? server.addr : { hostname: "", port: 0 };
    this.#bind = bind.transport === "unix" ? bind : { transport: "tcp", hostname, port };
    this.#handler = handler;
    this.#log = log;
    this.#server = server;
    this.#watch();
  }

  /**
   * Listens.
   *
   * @throws When the address cannot be had; a unix socket on which another process listens is not taken from it.
   */
  static async open(bind: Bind, handler: Handler, log: Log): Promise<Listener> {
    return new Listener(await serve(bind, handler), bind, handler, log);
  }

  /** Accepts nothing more, and answers what is in flight. */
  async shutdown(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#server.shutdown();
  }

  #watch(): void {
    this.#server.finished.catch((error) => this.#reopenSoon(error));
  }

  #reopenSoon(error: unknown): void {
    if (this.#isClosed) return;
    const cause = error instanceof Error ? error.message : String(error);
    this.#log.error(
      "Cannot accept connections, trying on: with too many open files, raise the limit (ulimit -n) or let a proxy " +
        "close idle connections",
      { cause, throttle: cause },
    );
    this.#timer = setTimeout(() => void this.#reopen(), REOPEN_AFTER_MS);
  }

  async #reopen(): Promise<void> {
    try {
      const server = await serve(this.#bind, this.#handler);
      if (this.#isClosed) return await server.shutdown();
      this.#server = server;
      this.#watch();
    } catch (error) {
      this.#reopenSoon(error);
    }
  }
}

async function serve(bind: Bind, handler: Handler): Promise<Deno.HttpServer<Deno.Addr>> {
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
