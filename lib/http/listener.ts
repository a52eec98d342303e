// Opens the listener: TCP on both address families, or a unix socket. Keeps it open: the server underneath gives up
// for good when it has no file descriptor left for one connection, and anybody can open connections.

import { ANY_ADDRESS, type Bind, formatBind } from "./bind.ts";
import type { Clock } from "../async/clock.ts";
import { errorText } from "../log/error_text.ts";
import type { Log } from "../log/log.ts";

/** Answers requests. */
export type Handler = (
  request: Request,
  info: { readonly remoteAddr: Deno.Addr },
) => Response | Promise<Response>;

// Whoever is in the group of the service (a proxy) may connect.
const SOCKET_MODE = 0o660;
const REOPEN_AFTER_MS = 100;

/** What a listener is opened with. */
export interface ListenerOptions {
  readonly bind: Bind;
  readonly handler: Handler;
  readonly clock: Pick<Clock, "setTimer">;
  readonly log: Log;
}

/** An open listener. */
export class Listener {
  readonly address: Deno.Addr;
  readonly #options: ListenerOptions;
  /** Once it is open, it stays at the address it was given: no other port, no other family. */
  readonly #bind: Bind;
  #server: Deno.HttpServer<Deno.Addr>;
  #cancelReopening = () => {};
  #isClosed = false;

  private constructor(server: Deno.HttpServer<Deno.Addr>, options: ListenerOptions) {
    this.address = server.addr;
    const { hostname, port } = "hostname" in server.addr ? server.addr : { hostname: "", port: 0 };
    this.#bind = options.bind.transport === "unix" ? options.bind : { transport: "tcp", hostname, port };
    this.#options = options;
    this.#server = server;
    this.#watch();
  }

  /**
   * Listens.
   *
   * @throws When the address cannot be had; a unix socket on which another process listens is not taken from it.
   */
  static async open(options: ListenerOptions): Promise<Listener> {
    return new Listener(await serve(options.bind, options.handler), options);
  }

  /** Accepts nothing more, and answers what is in flight. */
  async shutdown(): Promise<void> {
    this.#isClosed = true;
    this.#cancelReopening();
    await this.#server.shutdown();
  }

  #watch(): void {
    this.#server.finished.catch((error) => this.#reopenSoon(error));
  }

  #reopenSoon(error: unknown): void {
    if (this.#isClosed) return;
    const cause = errorText(error);
    this.#options.log.error(
      "Cannot accept connections, trying on: with too many open files, raise the limit (ulimit -n) or let a proxy " +
        "close idle connections",
      { cause, throttle: cause },
    );
    this.#cancelReopening = this.#options.clock.setTimer(() => void this.#reopen(), REOPEN_AFTER_MS);
  }

  async #reopen(): Promise<void> {
    try {
      const server = await serve(this.#bind, this.#options.handler);
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
