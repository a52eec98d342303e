// Connections on which clients write what no HTTP library would.

import net from "node:net";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";

/** A connection. */
export class RawConnection {
  readonly #socket: net.Socket;
  /** Ends the pauses when the connection does. */
  readonly #end = new AbortController();
  /** The first bytes that came back. */
  received = "";

  constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on("error", () => {}); // the service may end any connection, and may be gone
    socket.on("data", (bytes) => {
      if (this.received.length < 1000) this.received += bytes.toString("latin1");
    });
    socket.on("close", () => this.#end.abort());
  }

  get isOver(): boolean {
    return this.#end.signal.aborted;
  }

  /** Resolves once the other side has taken it, as far as the kernel's buffers tell, or the connection is over. */
  async write(text: string): Promise<void> {
    if (this.isOver || this.#socket.write(text, "latin1")) return;
    await once(this.#socket, "drain", { signal: this.#end.signal }).catch(() => {});
  }

  /** Waits, until the connection is over at the latest. */
  async pause(durationMs: number, over?: AbortSignal): Promise<void> {
    const signal = over === undefined ? this.#end.signal : AbortSignal.any([this.#end.signal, over]);
    await sleep(durationMs, undefined, { signal }).catch(() => {});
  }

  /** Half a minute is as good as for ever. */
  async untilOver(over: AbortSignal): Promise<void> {
    await this.pause(30_000, over);
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** Gives what connects to a service; connections that are left are closed with `parts`. */
export function connectionsTo(url: string, parts: AsyncDisposableStack): () => Promise<RawConnection> {
  const { hostname, port } = new URL(url);
  const open = new Set<net.Socket>();
  parts.defer(() => open.forEach((socket) => socket.destroy()));
  return async () => {
    const socket = net.connect({ host: hostname, port: Number(port) });
    open.add(socket);
    socket.once("close", () => open.delete(socket));
    const connection = new RawConnection(socket);
    await once(socket, "connect");
    return connection;
  };
}
