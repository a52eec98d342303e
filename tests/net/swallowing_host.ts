// A host that swallows connection attempts: its port is bound, but its backlog is full, so that the kernel drops what
// arrives. The nearest thing on loopback to a dead address behind a firewall.

import net from "node:net";

/** Holds a port of a loopback address, on which no connection is ever made or refused. */
export class SwallowingHost implements AsyncDisposable {
  readonly port: number;
  readonly #listener: Deno.TcpListener;
  readonly #fillers: net.Socket[];

  private constructor(listener: Deno.TcpListener, fillers: net.Socket[]) {
    this.#listener = listener;
    this.port = listener.addr.port;
    this.#fillers = fillers;
  }

  /** Binds the port and fills its backlog. */
  static async open(hostname: string, port = 0): Promise<SwallowingHost> {
    const listener = Deno.listen({ hostname, port, tcpBacklog: 1 });
    const fillers: net.Socket[] = [];
    let isFull = false;
    while (!isFull && fillers.length < 300) {
      const filler = net.connect({ host: hostname, port: listener.addr.port });
      filler.on("error", () => {});
      fillers.push(filler);
      isFull = !await connects(filler);
    }
    const host = new SwallowingHost(listener, fillers);
    if (!isFull) {
      await host[Symbol.asyncDispose]();
      throw new Error(`Cannot fill the backlog of ${hostname}: expected the kernel to drop connection attempts`);
    }
    return host;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = this.#fillers.map((filler) =>
      filler.closed ? undefined : new Promise((resolve) => filler.once("close", resolve))
    );
    for (const filler of this.#fillers) filler.destroy();
    this.#listener.close();
    await Promise.all(closed);
  }
}

function connects(socket: net.Socket): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), 300);
    socket.once("connect", () => {
      clearTimeout(timer);
      resolve(true);
    });
  });
}
