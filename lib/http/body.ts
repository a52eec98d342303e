// Reads requests' bodies, each within a byte cap and a deadline, and only so many of those that come in pieces at once:
// the server underneath bounds none of it.

import { within } from "../async/deadline.ts";
import { MatrixError } from "../matrix_error.ts";

// What clients send has a few hundred bytes, and comes along with its head. While such a body is not complete it holds
// hardly more than the connection does.
const MAX_SMALL_BYTES = 8 * 1024;

/** Bodies at once that are larger, or whose length is not declared; each may hold its cap and a buffer of 64 KiB. */
export const MAX_BODIES_IN_PIECES = 500;

const FIRST_BUFFER_BYTES = 4096;

/** Reads bodies. */
export class BodyReader {
  readonly #limit: number;
  /** What drops each body that comes in pieces, the one that has been coming for longest first. */
  readonly #inPieces = new Set<() => void>();

  constructor(limit = MAX_BODIES_IN_PIECES) {
    this.#limit = limit;
  }

  /** Bodies that come in pieces now: never above the limit. */
  get size(): number {
    return this.#inPieces.size;
  }

  /**
   * The whole body.
   *
   * @param signal Aborted when the body should have arrived.
   * @throws MatrixError 413 as soon as it is known to be over the cap, 408 when it has not arrived in time or has to
   * make room for others, 400 when the client went away in the middle.
   */
  async read(request: Request, maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
    const declared = request.headers.get("content-length");
    const length = declared === null ? Infinity : Number(declared);
    if (declared !== null && length > maxBytes) throw tooLarge(maxBytes);
    // The server underneath reads no further than the declared length, and the whole body comes in one piece; to ask
    // for `body` alone would build a stream.
    if (length <= MAX_SMALL_BYTES) return await arrived(request.bytes(), signal);
    const reader = request.body?.getReader();
    return reader === undefined ? new Uint8Array() : await this.#readPieces(reader, maxBytes, signal);
  }

  async #readPieces(reader: BodyPieces, maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
    const room = new AbortController();
    const drop = () => room.abort();
    this.#inPieces.add(drop);
    const [oldest] = this.#inPieces;
    if (this.#inPieces.size > this.#limit && oldest !== undefined) {
      this.#inPieces.delete(oldest);
      oldest();
    }
    try {
      return await arrived(collect(reader, maxBytes), AbortSignal.any([signal, room.signal]));
    } catch (error) {
      reader.cancel().catch(() => {});
      throw error;
    } finally {
      this.#inPieces.delete(drop);
    }
  }
}

type BodyPieces = ReadableStreamDefaultReader<Uint8Array>;

async function arrived(body: Promise<Uint8Array>, signal: AbortSignal): Promise<Uint8Array> {
  try {
    return await within(body, signal);
  } catch (error) {
    if (error instanceof MatrixError) throw error;
    if (signal.aborted) throw new MatrixError(408, "M_UNKNOWN", "The request body did not arrive in time");
    throw new MatrixError(400, "M_NOT_JSON", "Error reading request", { cause: error });
  }
}

async function collect(pieces: BodyPieces, maxBytes: number): Promise<Uint8Array> {
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
