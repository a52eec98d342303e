// A small HTTP proxy on loopback: CONNECT tunnels and absolute-form requests, both led to ports that the test gives.

import net from "node:net";
import tls from "node:tls";
import type { CertificateRequest } from "../../testing/certificates.ts";
import { ListeningServer } from "../../testing/listening_server.ts";
import { authority } from "../../testing/loopback.ts";

/** What the proxy was asked, in order. */
export interface ProxyRequest {
  readonly method: string;
  /** `host:port` of a CONNECT, an absolute URL otherwise. */
  readonly target: string;
  readonly authorization: string | undefined;
}

/** A proxy in front of a made-up network. */
export interface LoopbackProxy extends AsyncDisposable {
  readonly server: ListeningServer;
  readonly seen: ProxyRequest[];
}

/**
 * Starts a proxy.
 *
 * @param route The loopback port behind a `host:port`; undefined = refused with 403.
 * @param answer What plain requests get.
 * @param tlsNames With them the proxy speaks TLS.
 * @param established Its answer to a CONNECT that it takes.
 */
export async function openProxy(
  route: (target: string) => number | undefined,
  answer = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nby proxy",
  tlsNames: CertificateRequest | null = null,
  established = "HTTP/1.1 200 Connection established\r\n\r\n",
): Promise<LoopbackProxy> {
  const seen: ProxyRequest[] = [];
  const upstreams = new Set<net.Socket>();
  const serve = (socket: net.Socket) => {
    socket.on("error", () => {}); // clients of these tests break connections on purpose
    socket.on("data", function onData(bytes: Uint8Array) {
      const head = new TextDecoder().decode(bytes);
      const [method = "", target = ""] = head.split(" ");
      seen.push({ method, target, authorization: /^proxy-authorization: (.*)$/im.exec(head)?.[1]?.trim() });
      if (method !== "CONNECT") return void socket.write(answer);
      const port = route(target);
      if (port === undefined) return void socket.end("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
      socket.off("data", onData);
      const upstream = net.connect(port, "127.0.0.1");
      upstreams.add(upstream);
      upstream.on("error", () => socket.destroy());
      upstream.on("close", () => socket.destroy());
      socket.on("close", () => upstream.destroy());
      upstream.on("connect", () => {
        socket.write(established);
        socket.pipe(upstream).pipe(socket);
      });
    });
  };
  const server = await ListeningServer.listen(
    tlsNames === null ? net.createServer(serve) : await tlsServer(tlsNames, serve),
  );
  return {
    server,
    seen,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      const closed = [...upstreams].map((socket) =>
        socket.closed ? undefined : new Promise((resolve) => socket.once("close", resolve))
      );
      for (const socket of upstreams) socket.destroy();
      await Promise.all(closed);
    },
  };
}

async function tlsServer(names: CertificateRequest, serve: (socket: net.Socket) => void): Promise<net.Server> {
  const { certificate, privateKey } = await authority.issue(names);
  return tls.createServer({ cert: certificate, key: privateKey }, serve);
}
