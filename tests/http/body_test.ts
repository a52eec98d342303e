// Reading a body: its cap, its deadline, clients that go away in the middle, and how many may come in pieces at once.

import assert from "node:assert/strict";
import { BodyReader, MAX_LARGE_BODIES } from "../../lib/http/body.ts";
import { MatrixError } from "../../lib/matrix_error.ts";
import { createFront, LEGACY_BODY, post } from "../../testing/front.ts";

const MAX_BYTES = 10;
const MAX_JSON_BYTES = 65_536;
const UNHURRIED = new AbortController().signal;

interface PlayedBody {
  readonly stream: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** How many chunks were asked for. */
  readonly pulled: () => number;
  readonly canceled: () => boolean;
}

// A body in chunks, after which it ends, breaks, or stays open.
function play(chunks: readonly number[], end: "ends" | "breaks" | "stays open"): PlayedBody {
  let pulled = 0;
  let canceled = false;
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      const size = chunks[pulled++];
      if (size !== undefined) controller.enqueue(new Uint8Array(size).fill(pulled));
      else if (end === "ends") controller.close();
      else if (end === "breaks") controller.error(new Error("connection reset"));
      else return new Promise(() => {});
    },
    cancel() {
      canceled = true;
    },
  }, { highWaterMark: 0 });
  return { stream, pulled: () => pulled, canceled: () => canceled };
}

function request(body: BodyInit | null, headers: HeadersInit = {}): Request {
  return new Request("http://service.test/", { method: "POST", body, headers });
}

function read(request: Request, signal = UNHURRIED): Promise<Uint8Array> {
  return new BodyReader().read(request, MAX_BYTES, signal);
}

async function refusal(promise: Promise<unknown>): Promise<MatrixError> {
  const error = await promise.then(() => null, (error: unknown) => error);
  assert.ok(error instanceof MatrixError);
  return error;
}

for (const chunks of [[], [10], [1, 2, 3, 4], [0, 10, 0]]) {
  Deno.test(`a body in chunks of ${JSON.stringify(chunks)} bytes is read whole`, async () => {
    const body = await read(request(play(chunks, "ends").stream));
    assert.deepEqual([...body], chunks.flatMap((size, at) => Array.from({ length: size }, () => at + 1)));
  });
}

Deno.test("a long body in chunks of any size is put together as it was, in a buffer of its own length", async () => {
  const chunks = [1, 4095, 1, 30_000, 8000, 7, 23_432];
  const body = await new BodyReader().read(request(play(chunks, "ends").stream), MAX_JSON_BYTES, UNHURRIED);
  assert.deepEqual([body.length, body.buffer.byteLength], [65_536, 65_536]);
  let from = 0;
  for (const [at, size] of chunks.entries()) {
    assert.ok(body.subarray(from, from + size).every((byte) => byte === at + 1), `chunk ${at}`);
    from += size;
  }
});

Deno.test("a request without a body reads as an empty one", async () => {
  assert.equal((await read(request(null))).length, 0);
});

Deno.test("a body that declares itself too long is refused unread", async () => {
  const body = play([5], "stays open");
  const error = await refusal(read(request(body.stream, { "content-length": "11" })));
  assert.deepEqual([error.status, error.errcode], [413, "M_TOO_LARGE"]);
  assert.equal(body.pulled(), 0);
});

Deno.test("a body that turns out too long is refused as soon as that is known, and no more of it is read", async () => {
  const body = play([5, 5, 1, 1000], "stays open");
  const error = await refusal(read(request(body.stream)));
  assert.deepEqual([error.status, error.errcode, error.message], [
    413,
    "M_TOO_LARGE",
    "The request body is over 10 bytes",
  ]);
  assert.deepEqual([body.pulled(), body.canceled()], [3, true]);
});

for (const length of [10, 8192, 8193, MAX_JSON_BYTES]) {
  Deno.test(`a body of ${length} bytes, honestly declared, is read`, async () => {
    const declaring = request(play([length], "ends").stream, { "content-length": String(length) });
    assert.equal((await new BodyReader().read(declaring, MAX_JSON_BYTES, UNHURRIED)).length, length);
  });
}

Deno.test("a body that does not arrive in time is 408, and is no longer waited for", async () => {
  const body = play([5], "stays open");
  const error = await refusal(read(request(body.stream), AbortSignal.timeout(20)));
  assert.deepEqual([error.status, error.errcode], [408, "M_UNKNOWN"]);
  assert.equal(body.canceled(), true);
});

Deno.test("a client that goes away in the middle gets 400, should it still listen", async () => {
  const error = await refusal(read(request(play([5], "breaks").stream)));
  assert.deepEqual([error.status, error.errcode, error.message], [400, "M_NOT_JSON", "Error reading request"]);
});

Deno.test("past so many bodies in pieces the one that has been coming for longest is 408, and lets go of its bytes", async () => {
  const reader = new BodyReader(2);
  const slow = [play([5], "stays open"), play([5], "stays open"), play([5], "stays open")] as const;
  const [first, second, third] = slow.map(({ stream }) => reader.read(request(stream), MAX_BYTES, UNHURRIED));
  assert.ok(first !== undefined && second !== undefined && third !== undefined);
  const error = await refusal(first);
  assert.deepEqual([error.status, error.errcode], [408, "M_UNKNOWN"]);
  assert.deepEqual([reader.size, ...slow.map(({ canceled }) => canceled())], [2, true, false, false]);

  // Whose body is there at once is served all the same.
  assert.equal((await reader.read(request(play([5, 5], "ends").stream), MAX_BYTES, UNHURRIED)).length, 10);
  assert.equal((await refusal(second)).status, 408);
  assert.deepEqual([reader.size, slow[2].canceled()], [1, false]);
});

Deno.test("large bodies count, be they declared; small ones that are declared do not", async () => {
  const reader = new BodyReader(1);
  const declared = (length: number) =>
    reader.read(
      request(play([5], "stays open").stream, { "content-length": String(length) }),
      MAX_JSON_BYTES,
      AbortSignal.timeout(50),
    );
  const small = [refusal(declared(8192)), refusal(declared(100))];
  assert.equal(reader.size, 0);
  const large = refusal(declared(8193));
  assert.equal(reader.size, 1);
  const larger = refusal(declared(65_536));
  assert.equal((await large).status, 408);
  assert.equal(reader.size, 1);
  assert.deepEqual((await Promise.all([...small, larger])).map(({ status }) => status), [408, 408, 408]);
});

Deno.test("a body counts only for as long as it comes, however it ends", async () => {
  const reader = new BodyReader();
  await reader.read(request(play([5], "ends").stream), MAX_BYTES, UNHURRIED);
  await refusal(reader.read(request(play([5], "breaks").stream), MAX_BYTES, UNHURRIED));
  await refusal(reader.read(request(play([11], "ends").stream), MAX_BYTES, UNHURRIED));
  await refusal(reader.read(request(play([5], "stays open").stream), MAX_BYTES, AbortSignal.timeout(20)));
  assert.equal(reader.size, 0);
});

const PEER: Deno.NetAddr = { transport: "tcp", hostname: "192.0.2.1", port: 1024 };

Deno.test("a connection has one body read at a time, whatever became of the first, until the server lets go of it", async () => {
  const reader = new BodyReader();
  const length = { "content-length": "5" };
  const body = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>();
  const first = refusal(reader.read(request(body.readable, length), MAX_BYTES, AbortSignal.timeout(20), PEER));
  const second = () => reader.read(request("12345", length), MAX_BYTES, UNHURRIED, PEER);
  const refused = await refusal(second());
  assert.deepEqual([refused.status, refused.retryAfterSeconds], [503, 1]);
  assert.equal((await first).status, 408);
  assert.equal((await refusal(second())).status, 503);
  assert.equal((await reader.read(request("12345", length), MAX_BYTES, UNHURRIED, { ...PEER, port: 1025 })).length, 5);
  const writer = body.writable.getWriter();
  void writer.write(new Uint8Array(5));
  await writer.close();
  for (let turn = 0; turn < 10; turn++) await null;
  assert.equal((await second()).length, 5);
  assert.equal((await second()).length, 5);
});

Deno.test("without a length and chunks there is no body: HTTP/2's is left unread", async () => {
  const body = play([5], "stays open");
  const read = await new BodyReader().read(request(body.stream), MAX_BYTES, UNHURRIED, PEER);
  assert.deepEqual([read.length, body.pulled()], [0, 0]);
  const chunked = request(play([5], "ends").stream, { "transfer-encoding": "chunked" });
  assert.equal((await new BodyReader().read(chunked, MAX_BYTES, UNHURRIED, PEER)).length, 5);
});

Deno.test("of large bodies that nobody sends to the end no more are held than twice the limit", async () => {
  const reader = new BodyReader(2);
  const length = { "content-length": "65536" };
  const large = () => reader.read(request(play([5], "stays open").stream, length), MAX_JSON_BYTES, UNHURRIED);
  const dropped = [large(), large()].map(refusal);
  void [large(), large()].map((body) => body.catch(() => {}));
  assert.deepEqual((await Promise.all(dropped)).map(({ status }) => status), [408, 408]);
  const refused = await refusal(large());
  assert.deepEqual([refused.status, refused.retryAfterSeconds], [503, 1]);
  assert.equal((await reader.read(request("12345", { "content-length": "5" }), MAX_BYTES, UNHURRIED)).length, 5);
});

Deno.test("a front has so many bodies come in pieces at once, and serves others meanwhile", async () => {
  const { app } = createFront();
  const gate = Promise.withResolvers<void>();
  const slow = () =>
    app(post("/sfu/get", new ReadableStream({ pull: (controller) => gate.promise.then(() => controller.close()) })));
  const first = slow();
  const others = Array.from({ length: MAX_LARGE_BODIES - 1 }, slow);
  assert.equal((await app(post("/sfu/get", LEGACY_BODY))).status, 200);
  assert.equal((await first).status, 408);
  gate.resolve();
  const answers = await Promise.all(others);
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([400]));
});
