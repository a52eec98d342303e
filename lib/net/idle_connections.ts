// How many idle connections are kept for the next request, to all hosts together. Requests name any number of hosts;
// each would leave a connection, and with it a file descriptor, for as long as it may be reused.

import type http from "node:http";
import type { Duplex } from "node:stream";

/** Idle connections of several agents, the one that has been idle for longest making room. */
export class IdleConnections {
  readonly #limit: number;
  readonly #idle = new Set<Duplex>();
  readonly #known = new WeakSet<Duplex>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Idle connections now: never above the limit. */
  get size(): number {
    return this.#idle.size;
  }

  /** Has an agent's idle connections counted here. */
  govern(agent: http.Agent): void {
    const keep = agent.keepSocketAlive.bind(agent);
    const reuse = agent.reuseSocket.bind(agent);
    agent.keepSocketAlive = (socket) => {
      const isKept: unknown = keep(socket);
      if (isKept === true) this.#add(socket);
      return isKept;
    };
    agent.reuseSocket = (socket, request) => {
      this.#idle.delete(socket);
      return reuse(socket, request);
    };
  }

  #add(socket: Duplex): void {
    if (!this.#known.has(socket)) {
      this.#known.add(socket);
      socket.once("close", () => this.#idle.delete(socket));
    }
    this.#idle.add(socket);
    const [oldest] = this.#idle;
    if (this.#idle.size <= this.#limit || oldest === undefined) return;
    this.#idle.delete(oldest);
    oldest.destroy();
  }
}
