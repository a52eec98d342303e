// Reads requests' bodies, each within a byte cap and a deadline, and only so many at once: the server underneath bounds
// none of it. It also speaks HTTP/2 in cleartext, which cannot be switched off, and in which one connection could bring
// 200 bodies, each of them in memory for as long as it stays open: a connection has one body read at a time.

import { within } from "../async/deadline.ts";
import { MatrixError } from "../matrix_error.ts";

// What clients send has a few hundred bytes, and comes along with its head. While such a body is not complete it holds
// hardly more than the connection does.
const MAX_SMALL_BYTES = 8 * 1024;

/** Bodies at once that are larger, or whose length is not declared; each may hold its cap and a buffer of 64 KiB. */
export const MAX_LARGE_BODIES = 50;

const FIRST_BUFFER_BYTES = 4096;

/** Reads bodies. */
export class BodyReader {
  readonly #limit: number;
  /** What drops each large body, the one that has been coming for longest first. */
  readonly #large = new Set<() => void>();
  /** Large bodies that the server underneath has not let go of. */
  #held = 0;
  /** The other ends of connections of which the server underneath reads a body. */
  readonly #connections = new Set<string>();

  constructor(limit = MAX_LARGE_BODIES) {
    this.#limit = limit;
  }

  /** Large bodies that are being read now: never above the limit. */
  get size(): number {
    return this.#large.size;
  }

  /**
   * The whole body.
   *
   * @param signal Aborted when the body should have arrived.
   * @param peer The other end of a connection that may speak HTTP/2; one without a port is a neighbor, and not bounded.
   * @throws MatrixError 413 as soon as it is known to be over the cap, 408 when it has not arrived in time or has to
   * make room for others, 400 when the client went away in the middle, 503 for what only HTTP/2 can do: a second body on
   * a connection.
   */
  async read(request: Request, maxBytes: number, signal: AbortSignal, peer?: Deno.Addr): Promise<Uint8Array> {
    const declared = request.headers.get("content-length");
    if (declared !== null && Number(declared) > maxBytes) throw tooLarge(maxBytes);
    const connection = peer !== undefined && "hostname" in peer ? `${peer.hostname} ${peer.port}` : null;
    if (connection !== null && this.#connections.has(connection)) throw busy("One request at a time"); // only in HTTP/2
    // The server underneath reads no further than the declared length, and the whole body comes in one piece; to ask
    // for `body` alone would build a stream.
    if (declared !== null && Number(declared) <= MAX_SMALL_BYTES) {
      return await arrived(this.#occupy(connection, request.bytes()), signal);
    }
    if (this.#held >= 2 * this.#limit) throw busy("Too many large requests at once");
    if (declared !== null) return await this.#readLarge(this.#occupy(connection, this.#hold(request.bytes())), signal);
    if (request.body === null) return new Uint8Array();
    // In HTTP/1.1 there is no body then (RFC 9112, 6.3). HTTP/2's is left unread.
    if (connection !== null && !request.headers.has("transfer-encoding")) return new Uint8Array();
    const reader = request.body.getReader();
    try {
      return await this.#readLarge(this.#occupy(connection, this.#hold(collect(reader, maxBytes))), signal);
    } catch (error) {
      reader.cancel().catch(() => {});
      throw error;
    }
  }

  /** Large bodies take turns: one too many drops the one that has been coming for longest. */
  async #readLarge(body: Promise<Uint8Array>, signal: AbortSignal): Promise<Uint8Array> {
    const room = new AbortController();
    const drop = () => {
      this.#large.delete(drop);
      room.abort();
    };
    const [oldest] = this.#large.size < this.#limit ? [] : this.#large;
    oldest?.();
    this.#large.add(drop);
    try {
      return await arrived(body, AbortSignal.any([signal, room.signal]));
    } finally {
      this.#large.delete(drop);
    }
  }

  #occupy(connection: string | null, body: Promise<Uint8Array>): Promise<Uint8Array> {
    if (connection === null) return body;
    this.#connections.add(connection);
    const free = () => void this.#connections.delete(connection);
    body.then(free, free);
    return body;
  }

  #hold(body: Promise<Uint8Array>): Promise<Uint8Array> {
    this.#held++;
    const letGo = () => void this.#held--;
    body.then(letGo, letGo);
    return body;
  }
}

async function arrived(body: Promise<Uint8Array>, signal: AbortSignal): Promise<Uint8Array> {
  try {
    return await within(body, signal);
  } catch (error) {
    if (error instanceof MatrixError) throw error;
    if (signal.aborted) throw new MatrixError(408, "M_UNKNOWN", "The request body did not arrive in time");
    throw new MatrixError(400, "M_NOT_JSON", "Error reading request", { cause: error });
  }
}

async function collect(pieces: ReadableStreamDefaultReader<Uint8Array>, maxBytes: number): Promise<Uint8Array> {
  let held = new Uint8Array(FIRST_BUFFER_BYTES);
  let length = 0;
  for (;;) {
    const { done, value } = await pieces.read();
    if (done) return held.slice(0, length);
    const newLength = length + value.length;
    if (newLength > maxBytes) throw tooLarge(maxBytes);
    if (newLength > held.length) {
      const larger = new Uint8Array(Math.max(newLength, 2 * held.length));
      larger.set(held.subarray(0, length));
      held = larger;
    }
    // Copied, since each piece stands in a buffer of 64 KiB, be it one byte: kept, they would fill the memory.
    held.set(value, length);
    length = newLength;
  }
}

function tooLarge(maxBytes: number): MatrixError {
  return new MatrixError(413, "M_TOO_LARGE", `The request body is over ${maxBytes} bytes`);
}

function busy(message: string): MatrixError {
  return new MatrixError(503, "M_UNKNOWN", message, { retryAfterSeconds: 1 });
}
