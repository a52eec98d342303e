// A set-up in which everything is right, as a table of answers: one homeserver behind a delegation, one SFU, one proxy.
// A test breaks one of them.

import { OutboundError, type OutboundFailure } from "../../lib/net/outbound_error.ts";
import type { OutboundRequest, OutboundResponse } from "../../lib/net/client.ts";
import { respond } from "../../testing/fake_outbound.ts";

/** Answers one request, or says why there is no answer. */
export type Reply = (request: OutboundRequest) => OutboundResponse | OutboundFailure;

/** Replies by `host path`, the path without its query; `*` in front matches any method, `POST ` and `OPTIONS ` one. */
export type Replies = Readonly<Record<string, Reply>>;

/** The variables of the healthy set-up. */
export const VARIABLES = {
  LIVEKIT_URL: "wss://sfu.example.com",
  LIVEKIT_KEY: "devkey",
  LIVEKIT_SECRET: "secret-secret-secret-secret-secret-1",
  LIVEKIT_FULL_ACCESS_HOMESERVERS: "example.com",
  LIVEKIT_STATE_DIR: "/var/lib/lk-jwt-service",
} as const;

/** Where clients reach the service of the healthy set-up. */
export const PUBLIC_URL = "https://rtc.example.com/livekit/jwt";

/** Wall clock of the healthy world, ms. */
export const NOW = Date.parse("2026-11-24T12:00:00Z");

/** An answer of JSON. */
export function json(status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): OutboundResponse {
  return respond(status, JSON.stringify(body), { "content-type": "application/json", ...dated(), ...headers });
}

/** A Matrix error. */
export function matrixError(status: number, errcode: string): OutboundResponse {
  return json(status, { errcode, error: "told" });
}

/** A page that some proxy has. */
export function page(status: number, text = "<!doctype html><title>Welcome</title>"): OutboundResponse {
  return respond(status, text, { "content-type": "text/html", ...dated() });
}

/** Plain text, as LiveKit answers outside its API. */
export function text(status: number, body: string, headers: Readonly<Record<string, string>> = {}): OutboundResponse {
  return respond(status, body, { "content-type": "text/plain; charset=utf-8", ...dated(), ...headers });
}

/** A redirect. */
export function redirect(status: number, location: string): OutboundResponse {
  return respond(status, "", { location, ...dated() });
}

/** The header of an answer's time, off by so many seconds. */
export function dated(offSeconds = 0): Record<string, string> {
  return { date: new Date(NOW + offSeconds * 1000).toUTCString() };
}

const CORS = { "access-control-allow-origin": "*" };
const SERVICE_ROUTES = ["/sfu/get", "/get_token", "/delegate_delayed_leave"];
const DELAYED = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/lk-jwt-service-check/restart";

/** The well-known document for clients, with changes. */
export function clientDocument(changes: Readonly<Record<string, unknown>> = {}): Reply {
  return () =>
    json(200, {
      "m.homeserver": { base_url: "https://matrix.example.com" },
      "org.matrix.msc4143.rtc_foci": [{ type: "livekit", livekit_service_url: PUBLIC_URL }],
      ...changes,
    }, CORS);
}

/** Every answer of the healthy world. */
export const HEALTHY: Replies = {
  "example.com /.well-known/matrix/server": () => json(200, { "m.server": "matrix.example.com:443" }),
  "example.com /.well-known/matrix/client": clientDocument(),
  "matrix.example.com /_matrix/federation/v1/openid/userinfo": () => matrixError(401, "M_UNKNOWN_TOKEN"),
  "matrix.example.com /_matrix/key/v2/server": () => json(200, { server_name: "example.com" }),
  "matrix.example.com /_matrix/client/unstable/org.matrix.msc4143/rtc/transports": () =>
    matrixError(404, "M_UNRECOGNIZED"),
  "matrix.example.com /_matrix/client/versions": () =>
    json(200, { versions: ["v1.12"], unstable_features: { "org.matrix.msc4140": true } }),
  [`matrix.example.com ${DELAYED}`]: () => matrixError(404, "M_NOT_FOUND"),
  "sfu.example.com /twirp/livekit.RoomService/ListRooms": () =>
    respond(200, new Uint8Array(), { "content-type": "application/protobuf", ...dated() }),
  "sfu.example.com /rtc/validate": ({ path }) =>
    path.includes("access_token=")
      ? text(404, "requested room does not exist")
      : text(401, "invalid authorization token"),
  "rtc.example.com /livekit/jwt/healthz": () => respond(200, "", { ...CORS, ...dated() }),
  ...Object.fromEntries(SERVICE_ROUTES.map((route) => [
    `rtc.example.com /livekit/jwt${route}`,
    ({ method }: OutboundRequest) => {
      if (method === "GET") return json(405, { errcode: "M_UNRECOGNIZED", error: "Method not allowed" }, CORS);
      if (method === "POST") return json(400, { errcode: "M_BAD_JSON", error: "Missing" }, CORS);
      return respond(200, "", { ...CORS, ...dated() });
    },
  ])),
};

/** Answers from replies; what is in none is a connection that is refused. */
export function answerFrom(replies: Replies): (request: OutboundRequest) => OutboundResponse {
  return (request) => {
    const bare = request.path.replace(/\?.*$/s, "");
    const reply = replies[`${request.host} ${bare}`] ?? replies[`${request.host} *`];
    const answer = reply?.(request) ?? "connect";
    if (typeof answer !== "string") return answer;
    throw new OutboundError(answer, `Cannot connect to ${request.host}:${request.port}: ${answer}`);
  };
}
