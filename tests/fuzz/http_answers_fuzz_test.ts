// 100,000 answers of servers, half of them with one thing wrong, through our reader of HTTP and through node:http as
// oracle: what ours takes, the oracle takes for the same; what ours refuses although the oracle does not, it refuses for
// a reason that is known; and however an answer is cut into pieces, it stays the same.

import assert from "node:assert/strict";
import http from "node:http";
import { Duplex } from "node:stream";
import fc from "fast-check";
import { type Http1Answer, Http1Reader } from "../../lib/net/http1_reader.ts";
import { OutboundError } from "../../lib/net/outbound_error.ts";
import { type Case, run } from "./campaign.ts";

const CASES = 100_000;
const LIMITS = { maxBodyBytes: 100 };

/** What a reader made of an answer. */
type Reading = { readonly status: number; readonly headers: Record<string, string>; readonly body: string } | string;

// Refused by ours alone: bounds on the wire, what a server may not send, and what nobody asked for.
const STRICTER = [
  /is over 100 bytes/,
  /too many interim answers/,
  /lines that are too long/,
  /no chunk size|a long chunk extension/,
  /another protocol/,
  /a body in an interim answer/,
  /a length in its trailers/,
  /a transfer coding that cannot be used/, // codings before chunked, and chunks in HTTP/1.0
  /no status line/, // of HTTP before 1.0 or past 1.1, or with a status that there is not
  /a control character in a line/,
];

// White space is spaces and tabs (RFC 9110, 5.6.3); after these two headers the oracle knows spaces only.
const TAB_AFTER_FRAMING = /^(?:content-length|transfer-encoding):[^\r\n]*\t\r$/im;

Deno.test("100,000 answers are read as node:http reads them, cut at every byte or whole", async () => {
  await run({
    name: "answers of servers",
    cases: CASES,
    arbitrary: answers(),
    mustReach: ["the same answer", "both refuse: protocol", "both refuse: reset", "ours alone refuses"],
    async run(bytes) {
      const { reading: whole } = readWith(bytes, bytes.length || 1);
      const { reading: cut, taken } = readWith(bytes, 1);
      // Of two things that are wrong either may be told.
      assert.deepEqual(failureOf(cut) ?? cut, failureOf(whole) ?? whole);
      const oracle = await readByNode(bytes.subarray(0, taken)); // what follows an answer is nobody's
      if (typeof whole !== "string") {
        if (TAB_AFTER_FRAMING.test(Buffer.from(bytes).toString("latin1"))) return "not the oracle's matter";
        assert.deepEqual(whole, oracle);
        return "the same answer";
      }
      if (typeof oracle === "string") return `both refuse: ${failureOf(whole)}`;
      assert.ok(
        STRICTER.some((reason) => reason.test(whole)),
        `${whole}, but the oracle reads ${JSON.stringify(oracle)}`,
      );
      return "ours alone refuses";
    },
  });
});

/** Hands an answer over in pieces of so many bytes, then ends the connection. */
function readWith(bytes: Uint8Array, pieceBytes: number): { reading: Reading; taken: number } {
  const reader = new Http1Reader(LIMITS, "server.example:443");
  try {
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      const answer = reader.push(Buffer.from(bytes.slice(at, at + pieceBytes)));
      if (answer !== null) return { reading: show(answer), taken: at + pieceBytes };
    }
    return { reading: show(reader.close()), taken: bytes.length };
  } catch (error) {
    assert.ok(error instanceof OutboundError);
    return { reading: `${error.failure} ${error.message}`, taken: bytes.length };
  }
}

function failureOf(reading: Reading): string | null {
  return typeof reading === "string" ? reading.slice(0, reading.indexOf(" ")) : null;
}

function show({ status, headers, body }: Http1Answer): Reading {
  return { status, headers: { ...headers }, body: Buffer.from(body).toString("latin1") };
}

/** A connection without a network, with one answer in it. */
class AnsweringSocket extends Duplex {
  #answer: Uint8Array | null;

  constructor(answer: Uint8Array) {
    super();
    this.#answer = answer;
  }

  override _read(): void {}

  override _write(_chunk: unknown, _encoding: BufferEncoding, done: () => void): void {
    done();
    if (this.#answer === null) return;
    this.push(this.#answer);
    this.push(null);
    this.#answer = null;
  }

  setNoDelay(): void {}
  setKeepAlive(): void {}
  setTimeout(): void {}
  ref(): void {}
  unref(): void {}
}

function readByNode(bytes: Uint8Array): Promise<Reading> {
  return new Promise((resolve) => {
    const outgoing = http.request({ createConnection: () => new AnsweringSocket(bytes), maxHeaderSize: 64 * 1024 });
    outgoing.on("error", (error) => resolve(`error ${error.message}`));
    outgoing.on("upgrade", (_, socket) => {
      socket.destroy();
      resolve("upgrade");
    });
    outgoing.on("response", (incoming) => {
      const chunks: Uint8Array[] = [];
      incoming.on("data", (chunk) => chunks.push(chunk));
      incoming.on("error", (error) => resolve(`error ${error.message}`));
      incoming.on("end", () => {
        const body = Buffer.concat(chunks).toString("latin1");
        resolve({ status: incoming.statusCode ?? 0, headers: joined(incoming.rawHeaders), body });
      });
    });
    outgoing.end();
  });
}

function joined(rawHeaders: readonly string[]): Record<string, string> {
  const headers: Record<string, string> = {};
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]?.toLowerCase() ?? "";
    const value = rawHeaders[at + 1] ?? "";
    headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
  }
  return headers;
}

function answers(): fc.Arbitrary<Case<Uint8Array>> {
  const mutations = fc.option(mutation());
  return fc.tuple(goodAnswer(), mutations).map(([text, mutate]) => ({
    input: Buffer.from(mutate === null ? text : mutate(text), "latin1"),
    isMutated: mutate !== null,
  }));
}

function goodAnswer(): fc.Arbitrary<string> {
  const reason = fc.constantFrom("", " ", " OK", " Not Found", " \xe9\t!");
  const interim = fc.constantFrom("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
  const field = fc.constantFrom(
    "date: Tue, 24 Nov 2026 20:00:00 GMT",
    "Content-Type:application/json",
    "x-empty:",
    "set-cookie: a=b",
    "Set-Cookie: c=d",
    "cache-control:  max-age=60\t",
    "connection: close",
    "connection: Keep-Alive",
    "x!#$%&'*+.^_`|~-: \xe9:;,\t \"",
    "keep-alive: timeout=5",
  );
  const body = fc.string({ unit: fc.constantFrom("{", "}", "a", "\r", "\n", "\0", "\xff", "0", ":"), maxLength: 40 });
  const framed = fc.oneof(
    body.map((body) => ({ field: `content-length: ${body.length}`, body })),
    fc.tuple(fc.array(body, { maxLength: 4 }), fc.constantFrom("", ";a", ';a="b"'), fc.constantFrom("", "x: y\r\n"))
      .map(([chunks, extension, trailer]) => ({
        field: "Transfer-Encoding: chunked",
        body: chunks.filter((chunk) => chunk !== "")
          .map((chunk) => `${chunk.length.toString(16)}${extension}\r\n${chunk}\r\n`).join("") + `00\r\n${trailer}\r\n`,
      })),
    body.map((body) => ({ field: "x-until: the end", body })),
  );
  return fc.record({
    interims: fc.array(interim, { maxLength: 3 }),
    version: fc.constantFrom("1.1", "1.1", "1.1", "1.0"),
    status: fc.constantFrom(200, 200, 204, 301, 304, 404, 500, 599),
    reason,
    before: fc.array(field, { maxLength: 3 }),
    framed,
    after: fc.array(field, { maxLength: 2 }),
  }).map(({ interims, version, status, reason, before, framed, after }) => {
    const fields = [...before, framed.field, ...after].map((line) => `${line}\r\n`).join("");
    return `${interims.join("")}HTTP/${version} ${status}${reason}\r\n${fields}\r\n${framed.body}`;
  });
}

function mutation(): fc.Arbitrary<(text: string) => string> {
  const junk = fc.constantFrom(
    ..."\r\n\t\0 :;,=-+aF0\x7f\xff",
    "\r\n",
    "\r\n\r\n",
    "content-length: 1\r\n",
    "content-length: 1, 1\r\n",
    "transfer-encoding: gzip, chunked\r\n",
    "\r\n ",
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "5;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "ffffffffffffffffff",
  );
  // Most faults that matter sit where a line begins or ends.
  const place = fc.tuple(fc.nat(300), fc.boolean());
  return fc.record({ place, length: fc.nat(6), junk, kind: fc.nat(3) }).map(
    ({ place: [nth, isAtLine], length, junk, kind }) => (text) => {
      const lines = [...text.matchAll(/\r\n/g)].map(({ index }) => index + (nth % 3));
      const at = isAtLine && lines.length > 0 ? lines[nth % lines.length] ?? 0 : nth % (text.length + 1);
      switch (kind) {
        case 0:
          return text.slice(0, at) + junk + text.slice(at);
        case 1:
          return text.slice(0, at) + text.slice(at + length + 1);
        case 2:
          return text.slice(0, at) + junk + text.slice(at + junk.length);
        default:
          return text.slice(0, at);
      }
    },
  );
}
