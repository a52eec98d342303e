// Reads a request's body within a byte cap and a deadline: the server underneath has neither.

import { MatrixError } from "./matrix_error.ts";

/** Bounds of a body. */
export interface BodyLimits {
  readonly maxBytes: number;
  readonly timeoutMs: number;
}

/**
 * The whole body.
 *
 * @throws MatrixError 413 as soon as it is known to be over the cap, 408 when it has not arrived in time, 400 when the
 * client went away in the middle.
 */
export async function readBody(request: Request, limits: BodyLimits): Promise<Uint8Array> {
  const declared = request.headers.get("content-length");
  if (declared !== null && Number(declared) > limits.maxBytes) throw tooLarge(limits);
  // With a declared length the server underneath reads no further, and the whole body comes in one piece; to ask for
  // `body` alone would build a stream.
  const reader = declared === null ? request.body?.getReader() : null;
  if (reader === undefined) return new Uint8Array();

  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    const message = "The request body did not arrive in time";
    timer = setTimeout(() => reject(new MatrixError(408, "M_UNKNOWN", message)), limits.timeoutMs);
  });
  try {
    return await Promise.race([reader === null ? request.bytes() : collect(reader, limits), late]);
  } catch (error) {
    reader?.cancel().catch(() => {});
    if (error instanceof MatrixError) throw error;
    throw new MatrixError(400, "M_NOT_JSON", "Error reading request", { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

async function collect(reader: ReadableStreamDefaultReader<Uint8Array>, limits: BodyLimits): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let received = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    received += value.length;
    if (received > limits.maxBytes) throw tooLarge(limits);
    chunks.push(value);
  }
  return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
}

function tooLarge(limits: BodyLimits): MatrixError {
  return new MatrixError(413, "M_TOO_LARGE", `The request body is over ${limits.maxBytes} bytes`);
}
