// A line between a client and a server on loopback that can be cut: connections through it end, and no new ones are made.

/** Passes TCP on to a port of this machine. */
export class CutLine implements AsyncDisposable {
  readonly port: number;
  readonly #target: number;
  readonly #listener: Deno.TcpListener;
  readonly #open = new Set<Deno.TcpConn>();
  readonly #done: Promise<void>;
  #isCut = false;

  constructor(target: number) {
    this.#target = target;
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.port = this.#listener.addr.port;
    this.#done = this.#serve();
  }

  cut(): void {
    this.#isCut = true;
    for (const connection of this.#open) close(connection);
  }

  mend(): void {
    this.#isCut = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    this.#listener.close();
    await this.#done;
  }

  async #serve(): Promise<void> {
    const pairs: Promise<void>[] = [];
    for await (const near of this.#listener) {
      if (this.#isCut) close(near);
      else pairs.push(this.#join(near));
    }
    await Promise.all(pairs);
  }

  async #join(near: Deno.TcpConn): Promise<void> {
    this.#open.add(near);
    let far: Deno.TcpConn;
    try {
      far = await Deno.connect({ hostname: "127.0.0.1", port: this.#target });
    } catch {
      this.#open.delete(near);
      return close(near);
    }
    this.#open.add(far);
    await Promise.allSettled([
      near.readable.pipeTo(far.writable).finally(() => close(far)),
      far.readable.pipeTo(near.writable).finally(() => close(near)),
    ]);
    this.#open.delete(near);
    this.#open.delete(far);
  }
}

function close(connection: Deno.TcpConn): void {
  try {
    connection.close();
  } catch {
    // The other end was faster.
  }
}
