// Hostile answers against the outbound client: none costs more than its bound, and no connection is used again after
// one.

import assert from "node:assert/strict";
import { mock } from "node:test";
import net from "node:net";
import { Http1Reader } from "../../lib/net/http1_reader.ts";
import { HOSTILE_ANSWERS } from "../../testing/hostile_answers.ts";
import { ListeningServer } from "../../testing/listening_server.ts";
import { failureOf, openClient, request, until } from "../../testing/loopback.ts";

const CAP = 64 * 1024;
// The cap, a head, and the piece of the stream in which either was passed.
const MAX_BYTES_READ = CAP + 16 * 1024 + 64 * 1024;
const DRIP_DEADLINE_MS = 150;
const GOOD_ANSWER = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ngood";

/** A server whose first answer is made by the test, and whose others are good. */
function serveFirst(answer: (socket: net.Socket) => void): Promise<ListeningServer> {
  let requests = 0;
  return ListeningServer.listen(net.createServer((socket) => {
    socket.on("data", () => {
      if (++requests === 1) answer(socket);
      else socket.write(GOOD_ANSWER);
    });
  }));
}

/** Bytes that a client has read of answers, counted while the test runs. */
function countBytesRead(): { readonly total: () => number } & Disposable {
  const push = mock.method(Http1Reader.prototype, "push");
  return {
    total: () => push.mock.calls.reduce((sum, call) => sum + (call.arguments[0]?.length ?? 0), 0),
    [Symbol.dispose]: () => push.mock.restore(),
  };
}

Deno.test("there are more than sixty hostile answers, no two the same", () => {
  assert.ok(HOSTILE_ANSWERS.length > 60);
  assert.equal(new Set(HOSTILE_ANSWERS.map(({ what }) => what)).size, HOSTILE_ANSWERS.length);
});

for (const { what, verdict, answer } of HOSTILE_ANSWERS) {
  Deno.test(`a server that ${what}: ${verdict}, within bounds, and another connection for the next request`, async () => {
    await using server = await serveFirst(answer);
    using client = openClient();
    using bytesRead = countBytesRead();
    const signal = verdict === "timeout" ? AbortSignal.timeout(DRIP_DEADLINE_MS) : new AbortController().signal;
    const ask = () => request(server.port, { secure: false, maxResponseBytes: CAP, signal });

    const outcome = await failureOf(client, ask());
    assert.equal(/^status [23]/.test(outcome) ? "answer" : outcome, verdict);
    assert.ok(bytesRead.total() <= MAX_BYTES_READ, `${bytesRead.total()} bytes were read`);
    if (!what.startsWith("sends gzip that")) await until(() => server.open === 0); // that one is odd, but complete

    const next = await client.send(request(server.port, { secure: false }));
    assert.equal(new TextDecoder().decode(next.body), "good");
  });
}

const LATER: [what: string, bytes: string][] = [
  ["a second answer", GOOD_ANSWER],
  ["one byte", "x"],
  ["an interim answer", "HTTP/1.1 100 Continue\r\n\r\n"],
];

for (const [what, bytes] of LATER) {
  Deno.test(`${what} that comes while a connection is idle ends it, and is no answer to the next request`, async () => {
    await using server = await serveFirst((socket) => {
      socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", () => setTimeout(() => socket.write(bytes), 20));
    });
    using client = openClient();
    assert.equal(await failureOf(client, request(server.port, { secure: false })), "status 200");
    await until(() => server.open === 0);
    const next = await client.send(request(server.port, { secure: false }));
    assert.equal(new TextDecoder().decode(next.body), "good");
    assert.equal(server.connections, 2);
  });
}

Deno.test("three interim answers are passed over, a fourth is not", async () => {
  for (const [count, outcome] of [[3, "status 200"], [4, "protocol"]] as const) {
    const interim = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(count);
    await using server = await serveFirst((socket) => socket.write(interim + GOOD_ANSWER));
    using client = openClient();
    assert.equal(await failureOf(client, request(server.port, { secure: false })), outcome);
  }
});
