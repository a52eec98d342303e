// A name server for one service: it knows every name, all at one address of this machine, and gives the largest SRV
// answers that there are.

import { createSocket } from "node:dgram";
import { once } from "node:events";
import net from "node:net";

const TYPE_A = 1;
const TYPE_SRV = 33;
const SRV_RECORDS = 16;
const PORT = 53;
const TTL_SECONDS = 60;
const HEADER_BYTES = 12;
const MAX_UDP_BYTES = 512;
const MAX_TCP_BYTES = 65_535;

/**
 * Starts one.
 *
 * @param address Of this machine, with nobody at its port 53.
 * @param isService Whether there are SRV records for a name.
 */
export async function startNameServer(
  parts: AsyncDisposableStack,
  address: string,
  isService: (name: string) => boolean,
) {
  const socket = createSocket("udp4");
  socket.on("message", (query, { port, address: from }) => {
    const answer = answerTo(query, address, isService, MAX_UDP_BYTES);
    if (answer !== null) socket.send(answer, port, from);
  });
  socket.bind(PORT, address);
  await once(socket, "listening");
  parts.defer(() => new Promise<void>((resolve) => socket.close(() => resolve())));
  // RFC 7766: what does not fit a datagram is asked for again by TCP, with its length before it.
  const server = net.createServer((connection) => {
    let received: Uint8Array = new Uint8Array();
    connection.on("error", () => {});
    connection.on("data", (bytes) => {
      received = Buffer.concat([received, bytes]);
      for (let length = lengthOf(received); received.length >= 2 + length; length = lengthOf(received)) {
        const answer = answerTo(Buffer.from(received.subarray(2, 2 + length)), address, isService, MAX_TCP_BYTES);
        received = received.subarray(2 + length);
        if (answer !== null) {
          connection.write(Buffer.concat([Buffer.from([answer.length >> 8, answer.length]), answer]));
        }
      }
    });
  });
  server.listen(PORT, address);
  await once(server, "listening");
  parts.defer(() => void server.close());
}

function lengthOf(bytes: Uint8Array): number {
  const [high, low] = bytes;
  return high === undefined || low === undefined ? Infinity : high << 8 | low;
}

/** RFC 1035, 4: header, question, answers. */
function answerTo(
  query: Buffer,
  address: string,
  isService: (name: string) => boolean,
  maxBytes: number,
): Buffer | null {
  const end = query.indexOf(0, HEADER_BYTES);
  if (end === -1 || query.length < end + 5) return null;
  const labels: string[] = [];
  for (let at = HEADER_BYTES; at < end; at += 1 + (query[at] ?? 0)) {
    labels.push(query.toString("latin1", at + 1, at + 1 + (query[at] ?? 0)));
  }
  const type = query.readUInt16BE(end + 1);
  const name = labels.join(".").toLowerCase();
  const records: Buffer[] = [];
  if (type === TYPE_A && !name.startsWith("_")) records.push(Buffer.from(address.split(".").map(Number)));
  if (type === TYPE_SRV && isService(name)) {
    for (let n = 0; n < SRV_RECORDS; n++) records.push(srvRecord(n, labels.slice(2)));
  }
  const header = Buffer.alloc(HEADER_BYTES);
  query.copy(header, 0, 0, 2);
  header.writeUInt16BE(0x8580, 2); // an answer, authoritative, without error
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(records.length, 6);
  const answers = records.map((data) => {
    const head = Buffer.alloc(HEADER_BYTES);
    head.writeUInt16BE(0xc000 | HEADER_BYTES, 0); // the name of the question
    head.writeUInt16BE(type, 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt32BE(TTL_SECONDS, 6);
    head.writeUInt16BE(data.length, 10);
    return Buffer.concat([head, data]);
  });
  const question = query.subarray(HEADER_BYTES, end + 5);
  const whole = Buffer.concat([header, question, ...answers]);
  if (whole.length <= maxBytes) return whole;
  header.writeUInt16BE(0x8780, 2); // cut off
  header.writeUInt16BE(0, 6);
  return Buffer.concat([header, question]);
}

/** A target as long as the name that was asked for, at a port where nobody listens. */
function srvRecord(n: number, labels: readonly string[]): Buffer {
  const first = labels[0] ?? "";
  const target = [`t${n}${first.slice(3)}`, ...labels.slice(1)];
  const fixed = Buffer.alloc(6);
  fixed.writeUInt16BE(n, 0);
  fixed.writeUInt16BE(1, 4);
  return Buffer.concat([
    fixed,
    ...target.flatMap((label) => [Buffer.from([label.length]), Buffer.from(label, "latin1")]),
    Buffer.from([0]),
  ]);
}
