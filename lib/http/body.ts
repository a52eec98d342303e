// Reads a request's body within a byte cap and a deadline: the server underneath has neither.

import { within } from "../deadline.ts";
import { MatrixError } from "./matrix_error.ts";

/**
 * The whole body.
 *
 * @param signal Aborted when the body should have arrived.
 * @throws MatrixError 413 as soon as it is known to be over the cap, 408 when it has not arrived in time, 400 when the
 * client went away in the middle.
 */
export async function readBody(request: Request, maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
  const declared = request.headers.get("content-length");
  if (declared !== null && Number(declared) > maxBytes) throw tooLarge(maxBytes);
  // With a declared length the server underneath reads no further, and the whole body comes in one piece; to ask for
  // `body` alone would build a stream.
  const reader = declared === null ? request.body?.getReader() : null;
  if (reader === undefined) return new Uint8Array();
  try {
    return await within(reader === null ? request.bytes() : collect(reader, maxBytes), signal);
  } catch (error) {
    reader?.cancel().catch(() => {});
    if (error instanceof MatrixError) throw error;
    if (signal.aborted) throw new MatrixError(408, "M_UNKNOWN", "The request body did not arrive in time");
    throw new MatrixError(400, "M_NOT_JSON", "Error reading request", { cause: error });
  }
}

async function collect(reader: ReadableStreamDefaultReader<Uint8Array>, maxBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let received = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    received += value.length;
    if (received > maxBytes) throw tooLarge(maxBytes);
    chunks.push(value);
  }
  return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
}

function tooLarge(maxBytes: number): MatrixError {
  return new MatrixError(413, "M_TOO_LARGE", `The request body is over ${maxBytes} bytes`);
}
