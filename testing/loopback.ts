// Real servers on loopback for the outbound client: an authority that this test process trusts, servers that count
// their connections, and a client that closes itself.

import http from "node:http";
import https from "node:https";
import net from "node:net";
import { CertificateAuthority, type CertificateRequest, type ServerCertificate } from "./certificates.ts";
import { AddressGuard } from "../lib/net/address_guard.ts";
import { OutboundClient, type OutboundClientOptions, type OutboundRequest } from "../lib/net/client.ts";
import { systemClock } from "../lib/platform.ts";
import { OutboundError } from "../lib/net/outbound_error.ts";
import { setTrust } from "../lib/net/trust.ts";
import { ListeningServer } from "./listening_server.ts";

/** An authority that this test process trusts. */
export const authority: CertificateAuthority = await CertificateAuthority.create();
setTrust({ certificateDirs: undefined, extraCertificates: authority.certificate });

const issued = new Map<string, Promise<ServerCertificate>>();

/** A certificate of {@link authority}; the same for the same request: each costs a key pair and a signature. */
function certificateFor(request: CertificateRequest): Promise<ServerCertificate> {
  const key = JSON.stringify(request);
  const certificate = issued.get(key) ?? authority.issue(request);
  issued.set(key, certificate);
  return certificate;
}

/** An HTTP server. */
export function serveHttp(handler: http.RequestListener, host?: string, port?: number): Promise<ListeningServer> {
  return ListeningServer.listen(http.createServer(handler), host, port);
}

/** An HTTPS server with a certificate of {@link authority}. */
export async function serveHttps(
  request: CertificateRequest,
  handler: http.RequestListener,
  host?: string,
  port?: number,
): Promise<ListeningServer> {
  const { certificate, privateKey } = await certificateFor(request);
  return await ListeningServer.listen(https.createServer({ cert: certificate, key: privateKey }, handler), host, port);
}

/** A TCP server that does with each connection what the test says, once the client has sent its first bytes. */
export function serveBytes(onRequest: (socket: net.Socket) => void): Promise<ListeningServer> {
  return ListeningServer.listen(net.createServer((socket) => socket.once("data", () => onRequest(socket))));
}

/** A client that closes itself at the end of its scope. */
export class DisposableClient extends OutboundClient implements Disposable {
  [Symbol.dispose](): void {
    this.close();
  }
}

/** A verifying client that finds every name at 127.0.0.1, unless told otherwise. */
export function openClient(options: Partial<OutboundClientOptions> = {}): DisposableClient {
  return new DisposableClient({
    guard: new AddressGuard([]),
    verifyTls: true,
    clock: systemClock,
    userAgent: "lk-jwt-service/test",
    resolveHost: () => Promise.resolve(["127.0.0.1"]),
    ...options,
  });
}

/** What must never be seen in an error. */
export const SECRET_QUERY = "access_token=query-secret";

/** A request of `https://server.example:PORT`, unless told otherwise. */
export function request(port: number, options: Partial<OutboundRequest> = {}): OutboundRequest {
  return {
    method: "GET",
    secure: true,
    host: "server.example",
    port,
    path: `/secret-path?${SECRET_QUERY}`,
    hostHeader: "server.example",
    tlsName: "server.example",
    rule: "operator",
    maxResponseBytes: 1024,
    signal: new AbortController().signal,
    ...options,
  };
}

/** What a request comes to: its status, or the error. Fails for an error of any other class. */
export async function outcomeOf(client: OutboundClient, request: OutboundRequest): Promise<number | OutboundError> {
  try {
    return (await client.send(request)).status;
  } catch (error) {
    if (error instanceof OutboundError) return error;
    throw error;
  }
}

/** Why a request failed; its status as text when it did not. */
export async function failureOf(client: OutboundClient, request: OutboundRequest): Promise<string> {
  const outcome = await outcomeOf(client, request);
  return typeof outcome === "number" ? `status ${outcome}` : outcome.failure;
}

/** Waits until a condition holds, for at most two seconds. */
export async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 200 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  if (!condition()) throw new Error(`Waited in vain for ${condition}`);
}
