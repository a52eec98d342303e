// Reading a body: its cap, its deadline, and clients that go away in the middle.

import assert from "node:assert/strict";
import { readBody } from "../../lib/http/body.ts";
import { MatrixError } from "../../lib/http/matrix_error.ts";

const MAX_BYTES = 10;
const UNHURRIED = new AbortController().signal;

interface PlayedBody {
  readonly stream: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** How many chunks were asked for. */
  readonly pulled: () => number;
  readonly cancelled: () => boolean;
}

// A body in chunks, after which it ends, breaks, or stays open.
function play(chunks: readonly number[], end: "ends" | "breaks" | "stays open"): PlayedBody {
  let pulled = 0;
  let cancelled = false;
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      const size = chunks[pulled++];
      if (size !== undefined) controller.enqueue(new Uint8Array(size));
      else if (end === "ends") controller.close();
      else if (end === "breaks") controller.error(new Error("connection reset"));
      else return new Promise(() => {});
    },
    cancel() {
      cancelled = true;
    },
  }, { highWaterMark: 0 });
  return { stream, pulled: () => pulled, cancelled: () => cancelled };
}

function request(body: BodyInit | null, headers: HeadersInit = {}): Request {
  return new Request("http://service.test/", { method: "POST", body, headers });
}

async function refusal(promise: Promise<unknown>): Promise<MatrixError> {
  const error = await promise.then(() => null, (error: unknown) => error);
  assert.ok(error instanceof MatrixError);
  return error;
}

for (const chunks of [[], [10], [1, 2, 3, 4], [0, 10, 0]]) {
  Deno.test(`a body in chunks of ${JSON.stringify(chunks)} bytes is read whole`, async () => {
    const body = await readBody(request(play(chunks, "ends").stream), MAX_BYTES, UNHURRIED);
    assert.equal(body.length, chunks.reduce((sum, size) => sum + size, 0));
  });
}

Deno.test("a request without a body reads as an empty one", async () => {
  assert.equal((await readBody(request(null), MAX_BYTES, UNHURRIED)).length, 0);
});

Deno.test("a body that declares itself too long is refused unread", async () => {
  const body = play([5], "stays open");
  const error = await refusal(readBody(request(body.stream, { "content-length": "11" }), MAX_BYTES, UNHURRIED));
  assert.deepEqual([error.status, error.errcode], [413, "M_TOO_LARGE"]);
  assert.equal(body.pulled(), 0);
});

Deno.test("a body that turns out too long is refused as soon as that is known, and no more of it is read", async () => {
  const body = play([5, 5, 1, 1000], "stays open");
  const error = await refusal(readBody(request(body.stream), MAX_BYTES, UNHURRIED));
  assert.deepEqual([error.status, error.errcode, error.message], [
    413,
    "M_TOO_LARGE",
    "The request body is over 10 bytes",
  ]);
  assert.deepEqual([body.pulled(), body.cancelled()], [3, true]);
});

Deno.test("a body of exactly the cap, honestly declared, is read", async () => {
  const body = await readBody(request(play([10], "ends").stream, { "content-length": "10" }), MAX_BYTES, UNHURRIED);
  assert.equal(body.length, 10);
});

Deno.test("a body that does not arrive in time is 408, and is no longer waited for", async () => {
  const body = play([5], "stays open");
  const error = await refusal(readBody(request(body.stream), MAX_BYTES, AbortSignal.timeout(20)));
  assert.deepEqual([error.status, error.errcode], [408, "M_UNKNOWN"]);
  assert.equal(body.cancelled(), true);
});

Deno.test("a client that goes away in the middle gets 400, should it still listen", async () => {
  const error = await refusal(readBody(request(play([5], "breaks").stream), MAX_BYTES, UNHURRIED));
  assert.deepEqual([error.status, error.errcode, error.message], [400, "M_NOT_JSON", "Error reading request"]);
});
