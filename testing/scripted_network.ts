// A made-up internet on loopback: scripted DNS, real TLS servers behind virtual hosts and ports, and a record of what
// was dialed and asked. No connection leaves the machine, whatever address the script names.

import dns from "node:dns/promises";
import type http from "node:http";
import net from "node:net";
import type { CertificateRequest } from "./certificates.ts";
import type { Connectors, HostResolver } from "../lib/net/dialer.ts";
import type { SrvRecord, SrvResolver } from "../lib/net/srv.ts";
import type { ListeningServer } from "./listening_server.ts";
import { serveHttp, serveHttps } from "./loopback.ts";

/** A connection that was tried, with the addresses it was tried to: the last point before the kernel. */
export interface DialRecord {
  readonly host: string;
  readonly port: number;
  readonly addresses: readonly string[];
}

/** A request that arrived. */
export interface ArrivedRequest {
  /** Virtual `host:port` of the server. */
  readonly at: string;
  /** Server name of the TLS handshake; null without one. */
  readonly sni: string | null;
  readonly hostHeader: string | undefined;
  readonly path: string;
}

/** What a server answers; "hang up" breaks the connection, "silence" keeps it and says nothing. */
export type Reply =
  | { readonly status?: number; readonly headers?: Record<string, string>; readonly body?: string | Uint8Array }
  | "hang up"
  | "silence";

/** The address of every served name that the script gives none. Public, and never dialed. */
export const PUBLIC_ADDRESS = "11.0.0.1";

// tcpmux: nobody has listened there for decades.
const CLOSED_PORT = 1;
const NUMERIC_NAME = /^(?:0x[0-9a-f]+|[0-9]+)(?:\.(?:0x[0-9a-f]+|[0-9]+))*$/i;

/** The network; its fields are the script, to be changed at any time. */
export class ScriptedNetwork implements AsyncDisposable {
  /** A and AAAA answers by name, one after the other; the last one stays. */
  readonly addresses = new Map<string, readonly (readonly string[])[]>();
  /** SRV answers by name, in the resolver's form; an error is thrown, and a name that is missing does not exist. */
  readonly srv = new Map<string, readonly SrvRecord[] | Error>();
  readonly dials: DialRecord[] = [];
  readonly requests: ArrivedRequest[] = [];
  /** Names that were looked up, in order. */
  readonly lookups: string[] = [];
  readonly srvLookups: string[] = [];
  readonly #servers = new Map<string, ListeningServer>();

  /** Puts an HTTPS server with a certificate for these names at a virtual host and port. */
  async serve(at: string, certificate: CertificateRequest, reply: (path: string) => Reply): Promise<void> {
    const server = await serveHttps(certificate, this.#handler(at, reply));
    await this.#put(at, server);
  }

  /** Puts a plain HTTP server at a virtual host and port. */
  async servePlain(at: string, reply: (path: string) => Reply): Promise<void> {
    await this.#put(at, await serveHttp(this.#handler(at, reply)));
  }

  readonly resolveHost: HostResolver = async (name) => {
    this.lookups.push(name);
    const [first, ...later] = this.addresses.get(name) ?? [];
    if (first !== undefined) {
      if (later.length > 0) this.addresses.set(name, later);
      return first;
    }
    if ([...this.#servers.keys()].some((at) => at.startsWith(`${name}:`))) return [PUBLIC_ADDRESS];
    // What the system makes of numbers and of its hosts file is part of what is tested; no name server sees these.
    if (NUMERIC_NAME.test(name) || name.toLowerCase() === "localhost") {
      return (await dns.lookup(name, { all: true })).map(({ address }) => address);
    }
    throw Object.assign(new Error(`getaddrinfo ENOTFOUND ${name}`), { code: "ENOTFOUND" });
  };

  readonly resolveSrv: SrvResolver = (name) => {
    this.srvLookups.push(name);
    const answer = this.srv.get(name) ?? [];
    return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
  };

  readonly connectors: Connectors = {
    tcp: ({ host, port, addresses }) => {
      this.dials.push({ host, port, addresses });
      return net.connect({ host: "127.0.0.1", port: this.#servers.get(`${host}:${port}`)?.port ?? CLOSED_PORT });
    },
  };

  /** Requests for userinfo that arrived. */
  get userinfoRequests(): ArrivedRequest[] {
    return this.requests.filter(({ path }) => path.includes("/openid/userinfo"));
  }

  /** Takes a server down, as after a crash. */
  async stop(at: string): Promise<void> {
    await this.#servers.get(at)?.[Symbol.asyncDispose]();
    this.#servers.delete(at);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const at of [...this.#servers.keys()]) await this.stop(at);
  }

  #handler(at: string, reply: (path: string) => Reply): http.RequestListener {
    return (request, response) => {
      const { socket } = request;
      const path = request.url ?? "";
      const sni = "servername" in socket && typeof socket.servername === "string" ? socket.servername : null;
      this.requests.push({ at, sni, hostHeader: request.headers.host, path });
      const answer = reply(path);
      if (answer === "silence") return;
      if (answer === "hang up") return void socket.destroy();
      response.writeHead(answer.status ?? 200, answer.headers ?? {});
      response.end(answer.body ?? "{}");
    };
  }

  async #put(at: string, server: ListeningServer): Promise<void> {
    await this.stop(at);
    this.#servers.set(at, server);
  }
}

/** Everything a homeserver's federation port has to say: whose token it is. */
export function userinfo(sub: string): (path: string) => Reply {
  return (path) =>
    path.startsWith("/_matrix/federation/v1/openid/userinfo?access_token=")
      ? { body: JSON.stringify({ sub }) }
      : { status: 404, body: '{"errcode":"M_UNRECOGNIZED"}' };
}

/** A web server with a well-known document that delegates. */
export function wellKnown(delegate: string, headers: Record<string, string> = {}): (path: string) => Reply {
  return (path) =>
    path === "/.well-known/matrix/server"
      ? { headers, body: JSON.stringify({ "m.server": delegate }) }
      : { status: 404, body: "not found" };
}
