// What a hostile server answers to one HTTP request: each row writes to the connection what no client may pay for
// with more than its bound. The tests of the outbound client drive all of them, and so does the suite of the memory.

import type { Duplex } from "node:stream";

/** What a client that keeps its bounds makes of an answer: an answer that is usable, or why it is none. */
export type Verdict = "answer" | "protocol" | "too-large" | "reset" | "timeout";

/** One way to answer badly. */
export interface HostileAnswer {
  /** Continues "a server that …". */
  readonly what: string;
  /** `timeout`: goes on slowly, until the client's deadline ends it. */
  readonly verdict: Verdict;
  /** Answers on a TCP or TLS connection, from the first bytes of a request on, and ends with the connection. */
  readonly answer: (socket: Duplex) => void;
}

const OK = "HTTP/1.1 200 OK\r\n";
const CHUNKED = `${OK}transfer-encoding: chunked\r\n\r\n`;
const PIECE_BYTES = 16 * 1024;
const DRIP_MS = 20;

/** At least two of every kind that is known to have hurt somebody. */
export const HOSTILE_ANSWERS: readonly HostileAnswer[] = [
  // Without end, and as fast as the client reads.
  endless("never ends a status line", "protocol", "HTTP/1.1 200 ", "O"),
  endless("never begins an answer: empty lines only", "protocol", "", "\r\n"),
  endless("never ends a header's value", "protocol", `${OK}x: `, "a"),
  endless("never ends a header's name", "protocol", OK, "a"),
  endless("never ends its headers", "protocol", OK, "x: y\r\n"),
  endless("never ends its headers, each empty", "protocol", OK, "a:\r\n"),
  endless("never ends its interim answers", "protocol", "", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
  endless("never ends its 100 Continue", "protocol", "", "HTTP/1.1 100 Continue\r\n\r\n"),
  endless("never ends a chunk's extension", "protocol", `${CHUNKED}5;x=`, "a"),
  endless("never ends a chunk's extensions", "protocol", `${CHUNKED}5`, ";a=b"),
  endless("never ends a chunk's size", "protocol", CHUNKED, "0"),
  endless("never ends its trailers", "protocol", `${CHUNKED}0\r\n`, "x: y\r\n"),
  endless("never ends a trailer", "protocol", `${CHUNKED}0\r\nx: `, "a"),
  endless("sends chunks of one byte without end", "protocol", CHUNKED, "1\r\na\r\n"),
  endless("sends chunks of one byte with extensions without end", "protocol", CHUNKED, "1;name=value\r\na\r\n"),
  endless("never ends its body", "too-large", `${OK}\r\n`, "a"),
  endless("never ends its chunks", "too-large", CHUNKED, `1000\r\n${"a".repeat(4096)}\r\n`),
  endless("never ends a chunk", "too-large", `${CHUNKED}ffffffff\r\n`, "a"),
  endless("sends all of an immense length", "too-large", `${OK}content-length: 9007199254740991\r\n\r\n`, "a"),
  endless("sends gzip without end", "too-large", `${OK}content-encoding: gzip\r\n\r\n`, "\0"),

  // A little, and slowly.
  dripping("drips its status line", "HTTP/1.1 200 ", "O"),
  dripping("drips its headers", OK, "x: y\r\n"),
  dripping("drips its body", `${OK}\r\n`, "."),
  dripping("drips chunks of one byte", CHUNKED, "1\r\na\r\n"),
  dripping("says nothing", "", ""),

  // Two ways to read it.
  once("announces two lengths", "protocol", `${OK}content-length: 1\r\ncontent-length: 2\r\n\r\nab`),
  once("announces two lengths in one line", "protocol", `${OK}content-length: 1, 2\r\n\r\nab`),
  once(
    "announces a length and chunks",
    "protocol",
    `${OK}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
  ),
  once("announces a negative length", "protocol", `${OK}content-length: -1\r\n\r\na`),
  once("announces a length with a sign", "protocol", `${OK}content-length: +2\r\n\r\n{}`),
  once("announces a length in hexadecimal", "protocol", `${OK}content-length: 0x2\r\n\r\n{}`),
  once("announces an empty length", "protocol", `${OK}content-length: \r\n\r\n{}`),
  once("announces a length past all numbers", "too-large", `${OK}content-length: ${"9".repeat(300)}\r\n\r\na`),
  once("chunks inside another coding", "protocol", `${OK}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n`),
  once("chunks twice", "protocol", `${OK}transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n`),
  once("has another coding after chunks", "protocol", `${OK}transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n`),
  once("chunks in HTTP/1.0", "protocol", "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
  once("folds a header", "protocol", `${OK}x: a\r\n b\r\ncontent-length: 2\r\n\r\n{}`),
  once("ends lines with LF alone", "protocol", "HTTP/1.1 200 OK\ncontent-length: 2\n\n{}"),
  once("ends a line with CR alone", "protocol", `${OK}x: a\rcontent-length: 2\r\n\r\n{}`),
  once("has a space before a colon", "protocol", `${OK}content-length : 2\r\n\r\n{}`),
  once("has a zero byte in a header", "protocol", `${OK}x: a\0b\r\ncontent-length: 2\r\n\r\n{}`),
  once("has a header without a colon", "protocol", `${OK}x\r\ncontent-length: 2\r\n\r\n{}`),
  once("has a header without a name", "protocol", `${OK}: x\r\ncontent-length: 2\r\n\r\n{}`),
  once("ends a chunk elsewhere", "protocol", `${CHUNKED}2\r\n{}}\r\n0\r\n\r\n`),
  once("sends a chunk of a negative size", "protocol", `${CHUNKED}-1\r\na\r\n0\r\n\r\n`),
  once("sends a chunk size that is no number", "protocol", `${CHUNKED}zz\r\nabc`),
  once("sends a chunk size past all numbers", "protocol", `${CHUNKED}${"f".repeat(17)}\r\na`),

  // Not what was asked for.
  once("speaks HTTP/0.9", "protocol", "<html>Welcome</html>\n"),
  once("speaks HTTP/2", "protocol", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0"),
  once("speaks another protocol", "protocol", "220 mail.example ESMTP\r\n"),
  once("switches protocols", "protocol", "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"),
  once("sends a status of two digits", "protocol", "HTTP/1.1 99 Low\r\n\r\n"),
  once("sends a status that there is not", "protocol", "HTTP/1.1 999 High\r\ncontent-length: 0\r\n\r\n"),
  once("sends bytes of no text", "protocol", "\xff\xfe\0\x80"),

  // More than was asked for: the answer counts, its connection does not.
  once("answers twice", "answer", `${OK}content-length: 2\r\n\r\n{}${OK}content-length: 2\r\n\r\n{}`),
  once("sends bytes that nobody asked for after its answer", "answer", `${OK}content-length: 2\r\n\r\n{}surplus`),
  once("sends a body with 204", "answer", "HTTP/1.1 204 No Content\r\n\r\nsurplus"),
  once("sends a body with 304", "answer", "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\nsurplus"),
  once(
    "sends gzip that nobody asked for",
    "answer",
    `${OK}content-encoding: gzip\r\ncontent-length: 2\r\n\r\n\x1f\x8b`,
  ),

  // Less.
  closing("closes before it answers", ""),
  closing("closes in the status line", "HTTP/1.1 20"),
  closing("closes in the headers", `${OK}content-length: 2\r\n`),
  closing("closes after an interim answer", "HTTP/1.1 100 Continue\r\n\r\n"),
  closing("closes in the body", `${OK}content-length: 50\r\n\r\nabc`),
  closing("closes in a chunk's size", `${CHUNKED}f`),
  closing("closes in a chunk", `${CHUNKED}ff\r\nabc`),
  closing("closes in the trailers", `${CHUNKED}0\r\nx: y\r\n`),
];

/** Goes on as fast as it is read. */
function endless(what: string, verdict: Verdict, head: string, again: string): HostileAnswer {
  const piece = Buffer.from(again.repeat(Math.ceil(PIECE_BYTES / again.length)), "latin1");
  const answer = (socket: Duplex) => {
    const pour = () => {
      while (!socket.destroyed && socket.write(piece));
    };
    socket.on("drain", pour);
    socket.write(head, "latin1");
    pour();
  };
  return { what, verdict, answer };
}

/** Goes on a little every few milliseconds. */
function dripping(what: string, head: string, again: string): HostileAnswer {
  const answer = (socket: Duplex) => {
    if (head !== "") socket.write(head, "latin1");
    if (again === "") return;
    const timer = setInterval(() => socket.write(again, "latin1"), DRIP_MS);
    socket.once("close", () => clearInterval(timer));
  };
  return { what, verdict: "timeout", answer };
}

/** Sends this, and waits for what comes next. */
function once(what: string, verdict: Verdict, bytes: string): HostileAnswer {
  return { what, verdict, answer: (socket) => void socket.write(bytes, "latin1") };
}

/** Sends this, and closes. */
function closing(what: string, bytes: string): HostileAnswer {
  return { what, verdict: "reset", answer: (socket) => void socket.end(bytes, "latin1") };
}
