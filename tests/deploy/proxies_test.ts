// What the examples for nginx, Caddy and Traefik make of a request, seen from the services behind them.

import assert from "node:assert/strict";
import { CertificateAuthority } from "../../testing/certificates.ts";
import { startCaddy } from "../../testing/proxies/caddy.ts";
import { startNginx } from "../../testing/proxies/nginx.ts";
import { startTraefik } from "../../testing/proxies/traefik.ts";

const EXAMPLES = [
  { start: startNginx, example: "nginx/prefix_stripped.conf", servicePath: "/sfu/get" },
  { start: startNginx, example: "nginx/prefix_kept.conf", servicePath: "/livekit/jwt/sfu/get" },
  { start: startCaddy, example: "caddy/prefix_stripped.caddyfile", servicePath: "/sfu/get" },
  { start: startCaddy, example: "caddy/prefix_kept.caddyfile", servicePath: "/livekit/jwt/sfu/get" },
  { start: startCaddy, example: "compose/Caddyfile", servicePath: "/sfu/get" },
  { start: startTraefik, example: "traefik/dynamic.yaml", servicePath: "/livekit/jwt/sfu/get" },
] as const;
type Example = Pick<typeof EXAMPLES[number], "start" | "example">;

// Two of these headers in an answer read as "a, a".
const ORIGIN = "https://only.once";

/** What arrived behind the proxy. */
interface Seen {
  readonly behind: string;
  readonly method: string;
  readonly path: string;
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
}

for (const { start, example, servicePath } of EXAMPLES) {
  Deno.test(`${example} hands a token request to the service, unchanged but for the path`, async () => {
    await using site = await startSite({ start, example });
    const body = `{"room":"!r:example.com"}${" ".repeat(100_000)}`;
    const { seen, response } = await site.ask("POST", "/livekit/jwt/sfu/get", body);
    assert.equal(response.status, 200);
    assert.deepEqual([seen.behind, seen.method, seen.path], ["service", "POST", servicePath]);
    assert.equal(seen.body, body);
    assert.equal(seen.headers["x-forwarded-for"], "127.0.0.1");
    assert.equal(seen.headers["x-forwarded-proto"], "https");
  });

  Deno.test(`${example} passes on preflight requests and adds no CORS header of its own`, async () => {
    await using site = await startSite({ start, example });
    const { seen, response } = await site.ask("OPTIONS", "/livekit/jwt/sfu/get");
    assert.deepEqual([seen.behind, seen.method], ["service", "OPTIONS"]);
    assert.equal(response.headers.get("access-control-allow-origin"), ORIGIN);
  });

  Deno.test(`${example} hands API calls to the SFU without the prefix`, async () => {
    await using site = await startSite({ start, example });
    const { seen } = await site.ask("POST", "/livekit/sfu/twirp/livekit.RoomService/CreateRoom", "{}");
    assert.deepEqual([seen.behind, seen.path], ["sfu", "/twirp/livekit.RoomService/CreateRoom"]);
  });

  Deno.test(`${example} lets a WebSocket through to the SFU`, async () => {
    await using site = await startSite({ start, example });
    assert.equal(await site.firstMessage("/livekit/sfu/rtc/v1?access_token=x"), "/rtc/v1?access_token=x");
  });
}

Deno.test("compose/Caddyfile tells other servers and clients where everything is", async () => {
  await using site = await startSite({ start: startCaddy, example: "compose/Caddyfile" });
  const server = await site.fetch("https://127.0.0.1", "/.well-known/matrix/server");
  assert.deepEqual(await server.json(), { "m.server": "example.com:443" });
  const client = await site.fetch("https://127.0.0.1", "/.well-known/matrix/client");
  assert.equal(client.headers.get("access-control-allow-origin"), "*");
  assert.deepEqual(await client.json(), {
    "m.homeserver": { base_url: "https://example.com" },
    "org.matrix.msc4143.rtc_foci": [
      { type: "livekit", livekit_service_url: "https://matrix-rtc.example.com/livekit/jwt" },
    ],
  });
});

Deno.test("compose/Caddyfile tells Element Call which homeserver is its own", async () => {
  await using site = await startSite({ start: startCaddy, example: "compose/Caddyfile" });
  const config = await site.fetch("https://localhost", "/config.json", { headers: { host: "call.localhost" } });
  assert.deepEqual(await config.json(), {
    default_server_config: { "m.homeserver": { base_url: "https://example.com", server_name: "example.com" } },
  });
});

interface Site extends AsyncDisposable {
  /** Sends a request to the proxy. */
  fetch(origin: string, path: string, init?: RequestInit): Promise<Response>;
  /** Sends a request through the proxy; every backend answers with what it has seen. */
  ask(method: string, path: string, body?: string): Promise<{ seen: Seen; response: Response }>;
  /** Opens a WebSocket through the proxy and gives the first message. */
  firstMessage(path: string): Promise<unknown>;
}

async function startSite({ start, example }: Example): Promise<Site> {
  await using started = new AsyncDisposableStack();
  const service = started.use(startBackend("service"));
  const sfu = started.use(startBackend("sfu"));
  const authority = await CertificateAuthority.create();
  const proxy = started.use(
    await start({
      example,
      serviceAddress: `127.0.0.1:${service.addr.port}`,
      sfuAddress: `127.0.0.1:${sfu.addr.port}`,
      certificate: await authority.issue({ dnsNames: ["localhost"], addresses: ["127.0.0.1"] }),
      caCertificate: authority.certificate,
    }),
  );
  const client = started.use(Deno.createHttpClient({ caCerts: [authority.certificate] }));
  // HTTP/2 has no Host header that could name another site than the connection.
  const byHost = started.use(
    Deno.createHttpClient({ caCerts: [authority.certificate], allowHost: true, http2: false }),
  );
  const parts = started.move();
  const fetchFrom = (origin: string, path: string, init: RequestInit = {}) => {
    const chosen = new Headers(init.headers).has("host") ? byHost : client;
    return fetch(`${origin}:${proxy.port}${path}`, { ...init, client: chosen });
  };
  return {
    fetch: fetchFrom,
    async ask(method, path, body) {
      const response = await fetchFrom("https://localhost", path, body === undefined ? { method } : { method, body });
      return { seen: await response.json(), response };
    },
    firstMessage: (path) => firstMessage(`wss://localhost:${proxy.port}${path}`, client),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

function startBackend(behind: string): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const { pathname, search } = new URL(request.url);
    const path = pathname + search;
    if (request.headers.has("upgrade")) {
      const { socket, response } = Deno.upgradeWebSocket(request);
      socket.onopen = () => socket.send(path);
      return response;
    }
    const headers = Object.fromEntries(request.headers);
    const seen: Seen = { behind, method: request.method, path, headers, body: await request.text() };
    return Response.json(seen, { headers: { "access-control-allow-origin": ORIGIN } });
  });
}

function firstMessage(url: string, client: Deno.HttpClient): Promise<unknown> {
  const socket = new WebSocket(url, { client });
  return new Promise((resolve, reject) => {
    socket.onerror = (event) => reject(event instanceof ErrorEvent ? new Error(event.message) : event);
    socket.onmessage = ({ data }) => {
      socket.onclose = () => resolve(data);
      socket.close();
    };
  });
}
