// One connection: a request, then its answer, then perhaps the next one. What nobody asked for ends it.

import type { Socket } from "node:net";
import { type Http1Answer, type Http1Limits, Http1Reader } from "./http1_reader.ts";
import { classify, noAnswerInTime, OutboundError } from "./outbound_error.ts";

interface Exchange {
  readonly reader: Http1Reader;
  readonly signal: AbortSignal;
  readonly resolve: (answer: Http1Answer) => void;
  readonly reject: (error: OutboundError) => void;
}

const ONCE = { once: true };

/** A connection that stands. */
export class Connection {
  /** The address at the other end; null where the runtime does not know it. */
  readonly address: string | null;
  /** Called once, when the connection ends. */
  onClose: () => void = () => {};
  readonly #socket: Socket;
  readonly #where: string;
  #exchange: Exchange | null = null;

  /** @param where Host and port, for the messages of errors. */
  constructor(socket: Socket, where: string) {
    this.#socket = socket;
    this.#where = where;
    this.address = socket.remoteAddress ?? null;
    socket.on("data", (piece: Buffer) => this.#take(piece));
    socket.on("end", () => this.#end());
    socket.on("error", (error: Error) => this.#fail(classify(error, where)));
    socket.on("close", () => {
      this.#fail(new OutboundError("reset", `Connection broke to ${where}`));
      this.onClose();
    });
  }

  /** False once it has ended, or is about to. */
  get isOpen(): boolean {
    return !this.#socket.destroyed && this.#socket.readable && this.#socket.writable;
  }

  /**
   * Sends a request and reads its answer; one at a time. The connection ends with anything but an answer after which
   * it can be used again.
   *
   * @throws OutboundError, `timeout` once the signal is aborted.
   */
  exchange(request: Uint8Array, limits: Http1Limits, signal: AbortSignal): Promise<Http1Answer> {
    return new Promise((resolve, reject) => {
      this.#exchange = { reader: new Http1Reader(limits, this.#where), signal, resolve, reject };
      if (signal.aborted) return this.#abort();
      signal.addEventListener("abort", this.#abort, ONCE);
      this.#socket.write(request);
    });
  }

  readonly #abort = (): void => this.#fail(noAnswerInTime(this.#where));

  /** Ends it. */
  close(): void {
    this.#socket.destroy();
  }

  #take(piece: Buffer): void {
    if (this.#exchange === null) return this.close(); // unsolicited
    try {
      const answer = this.#exchange.reader.push(piece);
      if (answer !== null) this.#finish(answer);
    } catch (error) {
      this.#fail(classify(error, this.#where));
    }
  }

  #end(): void {
    if (this.#exchange === null) return this.close();
    try {
      this.#finish(this.#exchange.reader.close());
    } catch (error) {
      this.#fail(classify(error, this.#where));
    }
  }

  #finish(answer: Http1Answer): void {
    const exchange = this.#endExchange();
    if (!answer.isReusable) this.close();
    exchange?.resolve(answer);
  }

  #fail(error: OutboundError): void {
    const exchange = this.#endExchange();
    this.close();
    exchange?.reject(error);
  }

  #endExchange(): Exchange | null {
    const exchange = this.#exchange;
    this.#exchange = null;
    exchange?.signal.removeEventListener("abort", this.#abort);
    return exchange;
  }
}
