// Homeservers and an SFU that are broken in every way that proxies, crashes and hostile peers have been seen to break
// them, beside ones that are well. What is asked decides what goes wrong, so that all of it can go wrong at once.

import http from "node:http";
import net from "node:net";
import tls from "node:tls";
import { CreateRoomRequest, Room } from "@livekit/protocol";
import { CertificateAuthority, type CertificateRequest, type ServerCertificate } from "./certificates.ts";
import { type Fault, type FaultScope, misbehave } from "./faults.ts";
import { DevelopmentHomeserver } from "./fake_homeserver.ts";
import { roomAlias } from "../lib/livekit/identity.ts";
import { ListeningServer } from "./listening_server.ts";

const DAY_MS = 86_400_000;
const FOR_LOCALHOST = { dnsNames: ["localhost"], addresses: ["127.0.0.1"] };

/** One thing that goes wrong, and what the client is told. */
export interface Mishap {
  readonly what: string;
  readonly status: number;
}

/** A homeserver with a mishap. */
export interface BrokenHomeserver extends Mishap {
  readonly token: { readonly access_token: string; readonly matrix_server_name: string };
}

const HOMESERVER_FAULTS: readonly (Mishap & { readonly fault: Fault; readonly scope?: FaultScope })[] = [
  { what: "hangs", fault: { kind: "hang" }, status: 401 },
  { what: "drips", fault: { kind: "drip", intervalMs: 700 }, status: 401 },
  { what: "is slow", fault: { kind: "delay", durationMs: 1500 }, status: 200 },
  { what: "breaks off in the middle", fault: { kind: "truncate" }, status: 401 },
  { what: "resets", fault: { kind: "reset" }, status: 401 },
  { what: "resets once", fault: { kind: "reset" }, scope: { times: 1 }, status: 200 },
  { what: "speaks no HTTP", fault: { kind: "not-http" }, status: 401 },
  { what: "fails", fault: { kind: "status", status: 502 }, status: 401 },
  { what: "fails once", fault: { kind: "status", status: 503 }, scope: { times: 1 }, status: 200 },
  { what: "forbids", fault: { kind: "status", status: 403 }, status: 401 },
  { what: "limits", fault: { kind: "status", status: 429, headers: { "retry-after": "3600" } }, status: 401 },
  { what: "redirects", fault: { kind: "redirect", location: "https://localhost:1/" }, status: 401 },
  { what: "answers a web page", fault: { kind: "html" }, status: 401 },
  { what: "answers garbage", fault: { kind: "garbage" }, status: 401 },
  { what: "answers without end", fault: { kind: "huge", bytes: 4_000_000 }, status: 401 },
  { what: "mislabels", fault: { kind: "wrong-type", contentType: "text/plain" }, status: 200 },
];

const BAD_CERTIFICATES: readonly (Mishap & { readonly request: CertificateRequest })[] = [
  {
    what: "has a certificate that has expired",
    request: {
      ...FOR_LOCALHOST,
      notBefore: new Date(Date.now() - 9 * DAY_MS),
      notAfter: new Date(Date.now() - DAY_MS),
    },
    status: 401,
  },
  {
    what: "has a certificate of tomorrow",
    request: {
      ...FOR_LOCALHOST,
      notBefore: new Date(Date.now() + DAY_MS),
      notAfter: new Date(Date.now() + 9 * DAY_MS),
    },
    status: 401,
  },
  { what: "has a certificate for another name", request: { dnsNames: ["other.example"] }, status: 401 },
];

const SFU_FAULTS: readonly (Mishap & { readonly fault: Fault })[] = [
  { what: "hangs", fault: { kind: "hang" }, status: 500 },
  { what: "drips", fault: { kind: "drip", intervalMs: 1500 }, status: 500 },
  { what: "is slow", fault: { kind: "delay", durationMs: 1500 }, status: 200 },
  { what: "breaks off in the middle", fault: { kind: "truncate" }, status: 500 },
  { what: "resets", fault: { kind: "reset" }, status: 500 },
  { what: "speaks no HTTP", fault: { kind: "not-http" }, status: 500 },
  { what: "fails", fault: { kind: "status", status: 503 }, status: 500 },
  { what: "refuses the key", fault: { kind: "status", status: 401 }, status: 500 },
  { what: "redirects", fault: { kind: "redirect", location: "https://localhost:1/" }, status: 500 },
  { what: "answers a web page", fault: { kind: "html" }, status: 500 },
  { what: "answers garbage", fault: { kind: "garbage" }, status: 500 },
  { what: "answers without end", fault: { kind: "huge", bytes: 4_000_000 }, status: 500 },
];

/** The servers; all end at the end of their scope. */
export class Chaos implements AsyncDisposable {
  readonly #parts: AsyncDisposableStack;
  /** Homeservers that are broken, each with a token. */
  readonly homeservers: readonly BrokenHomeserver[];
  /** Matrix rooms that the SFU creates in a broken way. */
  readonly rooms: readonly (Mishap & { readonly roomId: string })[];

  private constructor(
    parts: AsyncDisposableStack,
    homeservers: readonly BrokenHomeserver[],
    /** A homeserver that is well. */
    readonly homeserver: DevelopmentHomeserver,
    /** Of the SFU, to be called at plain HTTP. */
    readonly sfuUrl: string,
    /** Root of all good certificates, PEM. */
    readonly caCertificate: string,
  ) {
    this.#parts = parts;
    this.homeservers = homeservers;
    this.rooms = SFU_FAULTS.map(({ what, status }, index) => ({ what, status, roomId: roomIdOf(index) }));
  }

  /** Starts them. */
  static async start(): Promise<Chaos> {
    await using parts = new AsyncDisposableStack();
    const authority = await CertificateAuthority.create();
    const certificate = await authority.issue(FOR_LOCALHOST);
    const startHomeserver = async (certificate: ServerCertificate) =>
      parts.use(await DevelopmentHomeserver.start({ certificate }));
    const broken: BrokenHomeserver[] = [];
    for (const { what, status, fault, scope } of HOMESERVER_FAULTS) {
      const homeserver = await startHomeserver(certificate);
      homeserver.faults.inject(fault, scope);
      broken.push({ what, status, token: homeserver.mintOpenIdToken("bob") });
    }
    for (const { what, status, request } of BAD_CERTIFICATES) {
      const homeserver = await startHomeserver(await authority.issue(request));
      broken.push({ what, status, token: homeserver.mintOpenIdToken("bob") });
    }
    const stranger = await startHomeserver(await (await CertificateAuthority.create("Stranger")).issue(FOR_LOCALHOST));
    broken.push({ what: "has a stranger's certificate", status: 401, token: stranger.mintOpenIdToken("bob") });
    const silent: readonly (readonly [what: string, server: net.Server])[] = [
      ["stalls before its handshake", net.createServer()],
      ["stalls in the middle of a header", stallingServer(certificate)],
      ["hangs up in its handshake", net.createServer((socket) => socket.once("data", () => socket.destroy()))],
    ];
    for (const [what, server] of silent) {
      const { port } = parts.use(await ListeningServer.listen(server));
      broken.push({ what, status: 401, token: { access_token: "token", matrix_server_name: `localhost:${port}` } });
    }
    broken.push({
      what: "is not there",
      status: 401,
      token: { access_token: "token", matrix_server_name: `localhost:${await closedPort()}` },
    });
    const homeserver = await startHomeserver(certificate);
    const sfu = parts.use(await ListeningServer.listen(brokenSfu()));
    return new Chaos(parts.move(), broken, homeserver, `ws://127.0.0.1:${sfu.port}`, authority.certificate);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#parts.disposeAsync();
  }
}

function roomIdOf(index: number): string {
  return `!broken-${index}:example.com`;
}

function stallingServer({ certificate, privateKey }: ServerCertificate): net.Server {
  return tls.createServer({ cert: certificate, key: privateKey }, (socket) => {
    socket.on("error", () => {}); // the other side gives up
    socket.once("data", () => socket.write("HTTP/1.1 200 OK\r\nContent-Type: applic"));
  });
}

// The name of a room that is created says what goes wrong. Nobody is ever in one.
function brokenSfu(): http.Server {
  const faults = new Map(SFU_FAULTS.map(({ fault }, index) => [roomAlias(roomIdOf(index), "m.call#ROOM"), fault]));
  return http.createServer((request, response) => {
    const chunks: Uint8Array[] = [];
    request.on("error", () => {});
    request.on("data", (chunk: Uint8Array) => chunks.push(chunk));
    request.on("end", () => {
      if (!request.url?.endsWith("/CreateRoom")) return answerAbsent(response);
      const { name } = CreateRoomRequest.fromBinary(Buffer.concat(chunks));
      const body = new Room({ name, creationTime: BigInt(Math.floor(Date.now() / 1000)) }).toBinary();
      const answer = { status: 200, headers: { "content-type": "application/protobuf" }, body };
      const fault = faults.get(roomAliasOf(name)) ?? { kind: "delay", durationMs: 1 };
      void misbehave(fault, request, response, () => Promise.resolve(answer));
    });
  });

  function roomAliasOf(name: string) {
    return [...faults.keys()].find((alias) => alias === name) ?? roomAlias("", "");
  }
}

function answerAbsent(response: http.ServerResponse): void {
  response.writeHead(404, { "content-type": "application/json" });
  response.end(JSON.stringify({ code: "not_found", msg: "participant does not exist" }));
}

async function closedPort(): Promise<number> {
  await using server = await ListeningServer.listen(net.createServer());
  return server.port;
}
