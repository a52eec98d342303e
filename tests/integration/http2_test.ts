// HTTP/2 in cleartext, which the server underneath speaks unasked: a connection gets no more than it would by HTTP/1.1.

import assert from "node:assert/strict";
import http2 from "node:http2";
import { ServiceProcess } from "../../testing/service_process.ts";

const LEAST = {
  LIVEKIT_URL: "wss://sfu.example.com",
  LIVEKIT_KEY: "devkey",
  LIVEKIT_SECRET: "a secret of at least 32 characters",
  LIVEKIT_FULL_ACCESS_HOMESERVERS: "example.com",
  LIVEKIT_JWT_BIND: "127.0.0.1:0",
};

type Headers = Readonly<Record<string, string>>;

/** One connection. */
class Connection implements Disposable {
  readonly #session: http2.ClientHttp2Session;

  constructor(url: string) {
    this.#session = http2.connect(url);
    this.#session.on("error", () => {}); // it is destroyed at the end
  }

  /** The status of one request; a body that is null is never sent. */
  ask(headers: Headers, body: string | null): Promise<number> {
    return new Promise((resolve, reject) => {
      const stream = this.#session.request({ ":method": "POST", ":path": "/sfu/get", ...headers });
      stream.on("response", (head) => resolve(Number(head[":status"])));
      stream.on("error", reject);
      stream.resume();
      if (body !== null) stream.end(body);
    });
  }

  [Symbol.dispose](): void {
    this.#session.destroy();
  }
}

Deno.test("a probe by HTTP/1.1 without a body needs no length, and is M_NOT_JSON", async () => {
  await using service = await ServiceProcess.start(LEAST);
  using connection = await Deno.connect({ hostname: "127.0.0.1", port: Number(new URL(service.url).port) });
  const probe = "POST /delegate_delayed_leave HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
  await connection.write(new TextEncoder().encode(probe));
  const answer = await new Response(connection.readable).text();
  assert.match(answer, /^HTTP\/1\.1 400 [^]*M_NOT_JSON/);
});

Deno.test("a connection of HTTP/2 has one body read at a time, and none without a length", async () => {
  await using service = await ServiceProcess.start(LEAST);
  using connection = new Connection(service.url);
  assert.equal(await connection.ask({ "content-length": "2" }, "{}"), 400);
  assert.equal(await connection.ask({}, "{}"), 400);
  assert.equal(await connection.ask({ "content-length": "70000" }, null), 413);
  assert.equal(await connection.ask({ ":path": `/${"x".repeat(9000)}` }, "{}"), 414);

  // What never comes takes its turn until the connection ends, be it answered meanwhile.
  void connection.ask({ "content-length": "100" }, null).catch(() => {});
  const others = Array.from({ length: 100 }, () => connection.ask({ "content-length": "100" }, null));
  assert.deepEqual(new Set(await Promise.all(others)), new Set([503]));
  using another = new Connection(service.url);
  assert.equal(await another.ask({ "content-length": "2" }, "{}"), 400);
});
