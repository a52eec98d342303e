// Reads one HTTP/1.1 answer from the bytes of a connection: only what RFC 9112 allows of a server, everything else is
// an error. Each part has a bound on the wire, so that no answer costs more memory or time than its reader allows.

import { OutboundError } from "./outbound_error.ts";

/** Response headers by lower-case name; several of one name joined with ", " (RFC 9110, 5.2). */
export type ResponseHeaders = Readonly<Record<string, string>>;

/** One answer, complete. */
export interface Http1Answer {
  readonly status: number;
  readonly headers: ResponseHeaders;
  /** Shares no memory with what arrived. */
  readonly body: Uint8Array;
  /** Whether the connection may serve another request; false after anything odd. */
  readonly isReusable: boolean;
}

/** What a reader allows. */
export interface Http1Limits {
  /** A longer body is `too-large`. */
  readonly maxBodyBytes: number;
  /** True for the answer to CONNECT: no body follows a success (RFC 9112, 6.3), and nobody reads that of a refusal. */
  readonly isConnect?: boolean;
}

// Status line and headers of one answer, interim ones by themselves.
const MAX_HEAD_BYTES = 16 * 1024;
const MAX_INTERIM_ANSWERS = 3;
const MAX_CHUNK_EXTENSION_BYTES = 32;
const MAX_CHUNK_LINE_BYTES = 16 + MAX_CHUNK_EXTENSION_BYTES + "\r\n".length;
const MAX_TRAILER_BYTES = 1024;
// Pieces and chunks cost time, however small they are: so many are free, then one per so many bytes of the cap.
const FREE_PIECES = 1024;
const BYTES_PER_PIECE = 256;

const NO_BYTES: Buffer = Buffer.alloc(0);
const CR = 0x0d;
const LF = 0x0a;

const STATUS_LINE = /^HTTP\/1\.([01]) ([1-5][0-9]{2})(?: .*)?$/;
const FIELD_NAME = /^[!#$%&'*+.^_`|~\w-]+$/;
const FRAMING = /^(?:content-length|transfer-encoding)$/;
const CHUNK_LINE = /^([0-9A-Fa-f]{1,16})(?:;[!#$%&'*+.^_`|~\w-]+(?:=(?:[!#$%&'*+.^_`|~\w-]+|"[^"\\]*"))?)*$/;

/** What comes next: a line, or bytes of the body (`length`, `chunk`, and `close` for all until the connection ends). */
type State = "status" | "field" | "chunk-size" | "chunk-end" | "trailer" | "length" | "chunk" | "close" | "complete";

/** A reader of one answer. */
export class Http1Reader {
  readonly #maxPieces: number;
  #state: State = "status";
  /** What the lines of the current part may still take. */
  #lineBytes = MAX_HEAD_BYTES;
  /** What arrived and is not read yet: from `at` on. Up to `scanned` there is no end of a line. */
  #bytes = NO_BYTES;
  #at = 0;
  #scanned = 0;
  #pieces = 0;
  #chunks = 0;
  #interim = 0;
  #status = 0;
  #isHttp10 = false;
  #headers: Record<string, string> = Object.create(null);
  #body: Uint8Array = NO_BYTES;
  #bodyBytes = 0;
  /** Body bytes that are still to come, of a length or a chunk. */
  #left = 0;

  /** @param where Host and port, for the messages of errors. */
  constructor(private readonly limits: Http1Limits, private readonly where: string) {
    this.#maxPieces = FREE_PIECES + limits.maxBodyBytes / BYTES_PER_PIECE;
  }

  /**
   * Takes what arrived.
   *
   * @returns The answer once it is complete, null before.
   * @throws OutboundError `protocol` or `too-large`.
   */
  push(piece: Buffer): Http1Answer | null {
    if (++this.#pieces > this.#maxPieces) throw this.#broken("more pieces than its bytes are worth");
    this.#append(piece);
    while (this.#state !== "complete") {
      if (this.#state === "length" || this.#state === "chunk" || this.#state === "close") {
        if (!this.#takeBody()) return null;
      } else {
        const line = this.#nextLine();
        if (line === null) return null;
        this.#takeLine(line);
      }
    }
    return this.#answer(!this.#isHttp10 && this.#at === this.#bytes.length);
  }

  /**
   * Takes the end of the connection.
   *
   * @throws OutboundError `reset` unless the answer is one that ends so.
   */
  close(): Http1Answer {
    if (this.#state === "close") return this.#answer(false);
    throw new OutboundError("reset", `Connection broke to ${this.where}: closed before its answer was complete`);
  }

  #takeLine(line: string): void {
    switch (this.#state) {
      case "status": {
        const [, minor, status] = STATUS_LINE.exec(line) ?? [];
        if (status === undefined) throw this.#broken("no status line");
        this.#isHttp10 = minor === "0";
        this.#status = Number(status);
        this.#state = "field";
        return;
      }
      case "field":
        return line === "" ? this.#endHead() : this.#keepField(line);
      case "chunk-size": {
        const size = CHUNK_LINE.exec(line)?.[1];
        if (size === undefined) throw this.#broken("no chunk size");
        if (line.length - size.length > MAX_CHUNK_EXTENSION_BYTES) throw this.#broken("a long chunk extension");
        if (++this.#chunks > this.#maxPieces) throw this.#broken("more chunks than its bytes are worth");
        if (/^0+$/.test(size)) return this.#expectLine("trailer", MAX_TRAILER_BYTES);
        return this.#expectBody("chunk", parseInt(size, 16));
      }
      case "chunk-end":
        if (line !== "") throw this.#broken("a chunk that does not end");
        return this.#expectLine("chunk-size", MAX_CHUNK_LINE_BYTES);
      case "trailer":
        if (line === "") this.#state = "complete";
        else if (FRAMING.test(this.#splitField(line).name)) throw this.#broken("a length in its trailers");
    }
  }

  #keepField(line: string): void {
    const { name, value } = this.#splitField(line);
    const earlier = this.#headers[name];
    if (earlier !== undefined && name === "content-length") throw this.#broken("two lengths");
    this.#headers[name] = earlier === undefined ? value : `${earlier}, ${value}`;
  }

  #splitField(line: string): { name: string; value: string } {
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(colon, 0));
    if (!FIELD_NAME.test(name)) throw this.#broken("a header that is none");
    return { name: name.toLowerCase(), value: line.slice(colon + 1).trim() };
  }

  /** Source: RFC 9112, 6.3. What could be read in two ways is not read at all. */
  #endHead(): void {
    const { "transfer-encoding": coding, "content-length": length } = this.#headers;
    const isChunked = coding?.toLowerCase() === "chunked" && length === undefined && !this.#isHttp10;
    if (coding !== undefined && !isChunked) throw this.#broken("a transfer coding that cannot be used");
    if (length !== undefined && !/^[0-9]+$/.test(length)) throw this.#broken("a length that is no number");
    if (this.#status < 200) {
      if (this.#status === 101 || this.#isHttp10) throw this.#broken("another protocol, which nobody asked for");
      if (isChunked || length !== undefined) throw this.#broken("a body in an interim answer");
      if (++this.#interim > MAX_INTERIM_ANSWERS) throw this.#broken("too many interim answers");
      this.#headers = Object.create(null);
      return this.#expectLine("status", MAX_HEAD_BYTES);
    }
    const isBodiless = this.#status === 204 || this.#status === 304 || this.limits.isConnect === true;
    if (isBodiless) this.#state = "complete";
    else if (isChunked) this.#expectLine("chunk-size", MAX_CHUNK_LINE_BYTES);
    else if (length === undefined) this.#state = "close";
    else this.#expectBody("length", Number(length));
  }

  #expectLine(state: State, bytes: number): void {
    this.#state = state;
    this.#lineBytes = bytes;
  }

  #expectBody(state: State, bytes: number): void {
    this.#state = state;
    this.#left = bytes;
    this.#checkCap(this.#bodyBytes + bytes);
  }

  /** Copies what there is of the body, whose memory grows with what arrives, not with what is announced. */
  #takeBody(): boolean {
    const available = this.#bytes.length - this.#at;
    const count = this.#state === "close" ? available : Math.min(available, this.#left);
    const total = this.#bodyBytes + count;
    this.#checkCap(total);
    if (total > this.#body.length) {
      const isAll = this.#state === "length" && count === this.#left;
      const grown = new Uint8Array(isAll ? total : Math.min(2 * total, this.limits.maxBodyBytes));
      grown.set(this.#body.subarray(0, this.#bodyBytes));
      this.#body = grown;
    }
    this.#body.set(this.#bytes.subarray(this.#at, this.#at + count), this.#bodyBytes);
    this.#bodyBytes = total;
    this.#scanned = this.#at += count;
    this.#left -= count;
    if (this.#state === "close" || this.#left > 0) return false;
    if (this.#state === "length") this.#state = "complete";
    else this.#expectLine("chunk-end", 2);
    return true;
  }

  #answer(isReusable: boolean): Http1Answer {
    return {
      status: this.#status,
      headers: this.#headers,
      body: this.#body.subarray(0, this.#bodyBytes),
      isReusable: isReusable && !/\bclose\b/i.test(this.#headers["connection"] ?? ""),
    };
  }

  /** The next line without its CRLF, in Latin-1; null when it is not there yet. */
  #nextLine(): string | null {
    const { length } = this.#bytes;
    let at = this.#scanned;
    for (; at < length; at++) {
      const byte = this.#bytes[at] ?? 0;
      if (byte >= 0x20 && byte !== 0x7f || byte === 0x09) continue; // text, spaces and tabs
      if (byte !== CR || at + 1 < length && this.#bytes[at + 1] !== LF) {
        throw this.#broken("a control character in a line, or one that ends otherwise than with CRLF");
      }
      break;
    }
    if (at + 2 - this.#at > this.#lineBytes) throw this.#broken("lines that are too long");
    this.#scanned = at;
    if (at + 1 >= length) return null;
    const line = this.#bytes.toString("latin1", this.#at, at);
    this.#lineBytes -= at + 2 - this.#at;
    this.#at = this.#scanned = at + 2;
    return line;
  }

  /** What is left of earlier pieces is the beginning of a line, and thus short. */
  #append(piece: Buffer): void {
    const isRead = this.#at === this.#bytes.length;
    this.#bytes = isRead ? piece : Buffer.concat([this.#bytes.subarray(this.#at), piece]);
    this.#scanned = Math.max(this.#scanned - this.#at, 0);
    this.#at = 0;
  }

  #checkCap(bytes: number): void {
    if (bytes <= this.limits.maxBodyBytes) return;
    throw new OutboundError("too-large", `Answer of ${this.where} is over ${this.limits.maxBodyBytes} bytes`);
  }

  #broken(what: string): OutboundError {
    return new OutboundError("protocol", `No HTTP answer from ${this.where}: ${what}`);
  }
}
