// Any server on loopback that counts its connections, and takes them down with it.

import type net from "node:net";

/** Counts and keeps the connections of a server, and takes them down with it. */
export class ListeningServer implements AsyncDisposable {
  /** Connections so far. */
  connections = 0;
  readonly port: number;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();

  private constructor(server: net.Server, port: number) {
    this.#server = server;
    this.port = port;
    server.on("connection", (socket) => {
      this.connections++;
      this.#sockets.add(socket);
      socket.on("error", () => {}); // clients of these tests break connections on purpose
      socket.on("close", () => this.#sockets.delete(socket));
    });
  }

  /** Starts a server on a loopback address. */
  static listen(server: net.Server, host = "127.0.0.1", port = 0): Promise<ListeningServer> {
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen(port, host, () => {
        const address = server.address();
        if (address === null || typeof address === "string") return reject(new TypeError("Cannot tell the port"));
        resolve(new ListeningServer(server, address.port));
      });
    });
  }

  /** Connections that stand at the moment. */
  get open(): number {
    return this.#sockets.size;
  }

  /** Breaks the connections that stand. */
  breakConnections(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.breakConnections();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }
}
