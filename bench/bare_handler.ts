// The yardstick of the benchmarks: a handler that makes the two outbound calls of an exchange with `fetch`, signs a
// token, and does nothing else: no checks, no limits, no caches, no log. `GET /healthz` answers "ok".

import { createHmac } from "node:crypto";
import { CreateRoomRequest } from "@livekit/protocol";

const [port, fullAccess, sfuUrl, apiKey = "", apiSecret = ""] = [
  Number(Deno.env.get("BARE_PORT")),
  Deno.env.get("LIVEKIT_FULL_ACCESS_HOMESERVERS")?.split(",")[0],
  Deno.env.get("LIVEKIT_URL") ?? "",
  Deno.env.get("LIVEKIT_KEY"),
  Deno.env.get("LIVEKIT_SECRET"),
];
const apiUrl = sfuUrl.replace(/^ws/, "http");
const client = Deno.createHttpClient({
  caCerts: [Deno.readTextFileSync(Deno.env.get("LIVEKIT_EXTRA_CA_FILE") ?? "")],
  poolMaxIdlePerHost: 256,
});
const HEADER = base64Url(JSON.stringify({ alg: "HS256", typ: "JWT" }));

Deno.serve({ hostname: "127.0.0.1", port, onListen() {} }, async (request) => {
  if (request.method === "GET") return new Response("ok");
  const { room, openid_token: token, device_id } = await request.json();
  const server: string = token.matrix_server_name;
  const userinfo = await fetch(
    `https://${server}/_matrix/federation/v1/openid/userinfo?access_token=${encodeURIComponent(token.access_token)}`,
    { client },
  );
  const { sub } = await userinfo.json();
  if (server === fullAccess) {
    const created = await fetch(`${apiUrl}/twirp/livekit.RoomService/CreateRoom`, {
      client,
      method: "POST",
      headers: { "content-type": "application/protobuf", authorization: `Bearer ${sign({ roomCreate: true }, "")}` },
      body: new Uint8Array(new CreateRoomRequest({ name: room }).toBinary()),
    });
    await created.arrayBuffer();
  }
  const jwt = sign({ room, roomJoin: true, canPublish: true, canSubscribe: true }, `${sub}:${device_id}`);
  return Response.json({ url: sfuUrl, jwt });
});

function sign(video: Record<string, unknown>, sub: string): string {
  const now = Math.floor(Date.now() / 1000);
  const signed = `${HEADER}.${base64Url(JSON.stringify({ iss: apiKey, sub, nbf: now, exp: now + 3600, video }))}`;
  return `${signed}.${createHmac("sha256", apiSecret).update(signed).digest("base64url")}`;
}

function base64Url(text: string): string {
  return Buffer.from(text).toString("base64url");
}
