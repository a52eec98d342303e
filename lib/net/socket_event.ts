// Waiting for what happens to a socket.

import type { Socket } from "node:net";

/**
 * Waits for an event of a socket.
 *
 * @throws The socket's own error, or ECONNRESET, when it ends first.
 */
export function until(socket: Socket, event: "connect" | "secureConnect" | "readable"): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = () => socket.off(event, happened).off("error", failed).off("close", closed);
    const happened = () => {
      settle();
      resolve();
    };
    const failed = (error: Error) => {
      settle();
      reject(error);
    };
    const closed = () => failed(Object.assign(new Error("closed by the other end"), { code: "ECONNRESET" }));
    socket.once(event, happened).once("error", failed).once("close", closed);
  });
}
