// Asks a proxy for a connection to a host whose name the proxy resolves: CONNECT of HTTP, or SOCKS5.
// Source: RFC 9110, 9.3.6; RFC 1928 and RFC 1929.

import ipaddr from "ipaddr.js";
import { isIP, type Socket } from "node:net";
import { formatHostAndPort } from "./endpoint.ts";
import { Http1Reader } from "./http1_reader.ts";
import { OutboundError } from "./outbound_error.ts";
import type { Proxy } from "./proxies.ts";
import { until } from "./socket_event.ts";

/**
 * Has the proxy at the other end of a connection connect to a host.
 *
 * @throws OutboundError `connect` when it refuses, and whatever goes wrong with the connection.
 */
export async function openTunnel(socket: Socket, proxy: Proxy, host: string, port: number): Promise<void> {
  const refusal =
    await (proxy.protocol === "socks5"
      ? connectBySocks(socket, proxy.login, host, port)
      : connectByHttp(socket, proxy, formatHostAndPort(host, port)));
  if (refusal === null) return;
  throw new OutboundError("connect", `Cannot connect to ${formatHostAndPort(host, port)} by the proxy: ${refusal}`);
}

/** The header that shows who asks a proxy; none without a user. */
export function proxyAuthorization({ login }: Proxy): string {
  if (login === null) return "";
  return `proxy-authorization: Basic ${Buffer.from(`${login.user}:${login.password}`).toString("base64")}\r\n`;
}

async function connectByHttp(socket: Socket, proxy: Proxy, authority: string): Promise<string | null> {
  socket.write(`CONNECT ${authority} HTTP/1.1\r\nhost: ${authority}\r\n${proxyAuthorization(proxy)}\r\n`);
  const reader = new Http1Reader({ maxBodyBytes: 0, isConnect: true }, authority);
  for (;;) {
    const bytes: Buffer | null = socket.read();
    if (bytes === null) {
      await until(socket, "readable");
      continue;
    }
    const answer = reader.push(bytes);
    if (answer !== null) return answer.status < 300 ? null : `status ${answer.status}`;
  }
}

const VERSION = 5;
const NO_LOGIN = 0;
const USER_AND_PASSWORD = 2;
const NONE_OF_THESE = 255;
const LOGIN_VERSION = 1;
const CONNECT = 1;
const IPV4 = 1;
const NAME = 3;
const IPV6 = 4;
const REFUSALS = [
  "general failure",
  "not allowed by its rules",
  "network unreachable",
  "host unreachable",
  "connection refused",
  "time to live expired",
  "command not supported",
  "address type not supported",
];

async function connectBySocks(
  socket: Socket,
  login: Proxy["login"],
  host: string,
  port: number,
): Promise<string | null> {
  // A proxy that lets everybody in may refuse whoever offers a login alone.
  const offered = login === null ? [NO_LOGIN] : [NO_LOGIN, USER_AND_PASSWORD];
  socket.write(Uint8Array.of(VERSION, offered.length, ...offered));
  const [version, method = NONE_OF_THESE] = await read(socket, 2);
  if (version !== VERSION) return "it does not speak SOCKS5";
  if (!offered.includes(method)) {
    return login === null ? "it wants a user and password" : "it takes no user and password";
  }
  if (login !== null && method === USER_AND_PASSWORD) {
    socket.write(Uint8Array.of(LOGIN_VERSION, ...sized(login.user), ...sized(login.password)));
    const [, status] = await read(socket, 2);
    if (status !== 0) return "user or password refused";
  }
  socket.write(Uint8Array.of(VERSION, CONNECT, 0, ...destination(host), port >> 8, port & 255));
  const [, reply = 1, , kind] = await read(socket, 4);
  if (reply !== 0) return REFUSALS[reply - 1] ?? `reply ${reply}`;
  // The address that the proxy took for itself: of no interest, but in front of what the other end says.
  const length = kind === IPV4 ? 4 : kind === IPV6 ? 16 : (await read(socket, 1))[0] ?? 0;
  await read(socket, length + 2);
  return null;
}

function destination(host: string): number[] {
  if (isIP(host) === 0) return [NAME, ...sized(host)];
  const address = ipaddr.parse(host);
  return [address.kind() === "ipv4" ? IPV4 : IPV6, ...address.toByteArray()];
}

/**
 * A text of at most 255 bytes, its length before it.
 *
 * @throws OutboundError for a longer one: cut, a name would be another one.
 */
function sized(text: string): number[] {
  const bytes = Buffer.from(text);
  if (bytes.length > 255) throw new OutboundError("protocol", "Cannot ask a SOCKS proxy: a text is over 255 bytes");
  return [bytes.length, ...bytes];
}

/** Exactly so many bytes. */
async function read(socket: Socket, count: number): Promise<Uint8Array> {
  for (;;) {
    const bytes: Uint8Array | null = socket.read(count);
    if (bytes?.length === count) return bytes;
    await until(socket, "readable");
  }
}
