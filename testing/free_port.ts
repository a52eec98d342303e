// Ports on loopback for servers that must be told theirs before they start.

import { createSocket } from "node:dgram";
import { once } from "node:events";

// Below the range from which outgoing connections take theirs: a port found free stays free until its server starts.
const FIRST_PORT = 20_000;
const PORT_COUNT = 12_000;
const ATTEMPTS = 100;

const given = new Set<number>();

/** Loopback addresses of this host: IPv4, and IPv6 where there is one. */
export function loopbackAddresses(): string[] {
  return isTcpFree("::1", 0) ? ["127.0.0.1", "::1"] : ["127.0.0.1"];
}

/** A port that is free for TCP and UDP on every loopback address, and not given before. */
export async function freePort(): Promise<number> {
  const addresses = loopbackAddresses();
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORT_COUNT);
    if (given.has(port) || !addresses.every((address) => isTcpFree(address, port)) || !await isUdpFree(port)) continue;
    given.add(port);
    return port;
  }
  throw new Error(`Cannot find a free port from ${FIRST_PORT} in ${ATTEMPTS} attempts`);
}

function isTcpFree(hostname: string, port: number): boolean {
  try {
    Deno.listen({ hostname, port }).close();
    return true;
  } catch {
    return false;
  }
}

async function isUdpFree(port: number): Promise<boolean> {
  const socket = createSocket("udp4");
  try {
    socket.bind(port, "127.0.0.1");
    await once(socket, "listening"); // rejects on "error"
    return true;
  } catch {
    return false;
  } finally {
    socket.close();
  }
}
