// Set-ups with one mistake each, and what the doctor must say about it. Each one's healthy twin is the world without the
// change, in which no check says anything.

import type { Outcome } from "../../lib/doctor/check.ts";
import { respond } from "../../testing/fake_outbound.ts";
import {
  clientDocument,
  dated,
  json,
  matrixError,
  page,
  PUBLIC_URL,
  redirect,
  type Replies,
  type Reply,
  text,
} from "./healthy_world.ts";

/** A mistake. */
export interface BrokenSetup {
  readonly mistake: string;
  readonly replies?: Replies;
  readonly variables?: Readonly<Record<string, string>>;
  readonly publicUrl?: string;
  /** Server names of the command line. */
  readonly serverNames?: readonly string[];
  /** The check that finds it. */
  readonly id: string;
  readonly outcome: Outcome;
  readonly fix: RegExp;
}

const LIST_ROOMS = "sfu.example.com /twirp/livekit.RoomService/ListRooms";
const VALIDATE = "sfu.example.com /rtc/validate";
const USERINFO = "matrix.example.com /_matrix/federation/v1/openid/userinfo";
const KEY = "matrix.example.com /_matrix/key/v2/server";
const CLIENT_WELL_KNOWN = "example.com /.well-known/matrix/client";
const TRANSPORTS = "matrix.example.com /_matrix/client/unstable/org.matrix.msc4143/rtc/transports";
const VERSIONS = "matrix.example.com /_matrix/client/versions";
const DELAYED =
  "matrix.example.com /_matrix/client/unstable/org.matrix.msc4140/delayed_events/lk-jwt-service-check/restart";
const GET_TOKEN = "rtc.example.com /livekit/jwt/get_token";
const SFU_GET = "rtc.example.com /livekit/jwt/sfu/get";
const CHALLENGE = "<!doctype html><title>Just a moment...</title>";

const wrongKey = () => text(401, "invalid token: ey…, error: go-jose/go-jose: error in cryptographic primitive");
const preflight = (headers: Readonly<Record<string, string>>): Reply => ({ method }) =>
  method === "OPTIONS" ? respond(200, "", headers) : json(400, { errcode: "M_BAD_JSON", error: "" });

export const BROKEN_SETUPS: readonly BrokenSetup[] = [
  // LiveKit
  {
    mistake: "LiveKit is not running",
    replies: { [LIST_ROOMS]: () => "connect" },
    id: "sfu.api",
    outcome: "error",
    fix: /start LiveKit/,
  },
  {
    mistake: "the SFU's name does not resolve",
    replies: { [LIST_ROOMS]: () => "dns" },
    id: "sfu.api",
    outcome: "error",
    fix: /host in LIVEKIT_URL/,
  },
  {
    mistake: "the SFU's certificate is not trusted",
    replies: { [LIST_ROOMS]: () => "tls" },
    id: "sfu.api",
    outcome: "error",
    fix: /LIVEKIT_EXTRA_CA_FILE/,
  },
  {
    mistake: "hairpin NAT swallows calls to the SFU",
    replies: { [LIST_ROOMS]: () => "timeout" },
    id: "sfu.api",
    outcome: "error",
    fix: /LIVEKIT_INTERNAL_URL/,
  },
  {
    mistake: "the secret is another one",
    replies: { [LIST_ROOMS]: wrongKey },
    id: "sfu.api",
    outcome: "error",
    fix: /under `keys:` in livekit\.yaml/,
  },
  {
    mistake: "the SFU's clock is ten minutes behind",
    replies: { [LIST_ROOMS]: () => text(401, "invalid token", dated(-600)) },
    id: "sfu.api",
    outcome: "error",
    fix: /clocks .* NTP/,
  },
  {
    mistake: "the SFU's clock is ten minutes behind, and is told as such",
    replies: { [VALIDATE]: () => text(401, "invalid token", dated(-600)) },
    id: "sfu.clock",
    outcome: "error",
    fix: /NTP/,
  },
  {
    mistake: "the SFU's clock is 40 s ahead",
    replies: { [VALIDATE]: () => text(404, "requested room does not exist", dated(40)) },
    id: "sfu.clock",
    outcome: "warning",
    fix: /NTP/,
  },
  {
    mistake: "a proxy before the SFU refuses with 403",
    replies: { [LIST_ROOMS]: () => page(403) },
    id: "sfu.api",
    outcome: "error",
    fix: /proxy before LiveKit/,
  },
  {
    mistake: "the path prefix of the SFU is missing",
    replies: { [LIST_ROOMS]: () => page(404) },
    id: "sfu.api",
    outcome: "error",
    fix: /path prefix|proxy before LiveKit/,
  },
  {
    mistake: "a proxy redirects calls to the SFU",
    replies: { [LIST_ROOMS]: () => redirect(308, "https://www.sfu.example.com/") },
    id: "sfu.api",
    outcome: "error",
    fix: /proxy before LiveKit/,
  },
  {
    mistake: "a proxy allows only GET to the SFU",
    replies: { [LIST_ROOMS]: () => text(405, "Method Not Allowed") },
    id: "sfu.api",
    outcome: "error",
    fix: /proxy before LiveKit/,
  },
  {
    mistake: "the proxy before the SFU says 502",
    replies: { [LIST_ROOMS]: () => page(502) },
    id: "sfu.api",
    outcome: "error",
    fix: /log/,
  },
  {
    mistake: "LIVEKIT_URL is that of the service itself",
    variables: { LIVEKIT_URL: "wss://rtc.example.com/livekit/jwt" },
    replies: { "rtc.example.com *": () => matrixError(404, "M_UNRECOGNIZED") },
    id: "sfu.api",
    outcome: "error",
    fix: /LIVEKIT_URL to the URL of LiveKit/,
  },
  {
    mistake: "auto_create is on",
    replies: { [VALIDATE]: () => text(200, "success") },
    id: "sfu.auto_create",
    outcome: "error",
    fix: /auto_create: false/,
  },
  {
    mistake: "/rtc is not routed to LiveKit",
    replies: { [VALIDATE]: () => page(404) },
    id: "sfu.auto_create",
    outcome: "warning",
    fix: /pass \/rtc/,
  },
  {
    mistake: "the public URL is ws://",
    variables: { LIVEKIT_URL: "ws://sfu.example.com" },
    id: "sfu.public_url",
    outcome: "error",
    fix: /wss:\/\/sfu\.example\.com/,
  },
  {
    mistake: "the public URL is http://",
    variables: { LIVEKIT_URL: "http://sfu.example.com" },
    id: "sfu.public_url",
    outcome: "error",
    fix: /wss:\/\/sfu\.example\.com/,
  },
  {
    mistake: "the public URL has no scheme",
    variables: { LIVEKIT_URL: "sfu.example.com" },
    id: "sfu.public_url",
    outcome: "error",
    fix: /wss:\/\/sfu\.example\.com/,
  },
  {
    mistake: "the public URL leads nowhere, while the internal one works",
    variables: { LIVEKIT_URL: "wss://nowhere.example.com", LIVEKIT_INTERNAL_URL: "https://sfu.example.com" },
    id: "sfu.public_url",
    outcome: "warning",
    fix: /reach LiveKit at LIVEKIT_URL/,
  },
  // The homeserver
  {
    mistake: "the list has capital letters",
    serverNames: ["Example.com"],
    id: "homeserver.name",
    outcome: "error",
    fix: /"example\.com"/,
  },
  {
    mistake: "a URL stands in the place of a server name",
    serverNames: ["https://example.com"],
    id: "homeserver.name",
    outcome: "error",
    fix: /without scheme/,
  },
  {
    mistake: "a container's name stands in the place of a server name",
    serverNames: ["synapse"],
    id: "homeserver.name",
    outcome: "warning",
    fix: /users' IDs/,
  },
  {
    mistake: "the homeserver's host stands in the place of its name",
    replies: {
      "matrix.example.com /.well-known/matrix/server": () => json(200, { "m.server": "matrix.example.com:443" }),
    },
    serverNames: ["matrix.example.com"],
    id: "homeserver.server_name",
    outcome: "error",
    fix: /Write "example\.com" in place of "matrix\.example\.com"/,
  },
  {
    mistake: "another homeserver answers under the name",
    replies: { [KEY]: () => json(200, { server_name: "other.example" }) },
    id: "homeserver.server_name",
    outcome: "error",
    fix: /"other\.example"/,
  },
  {
    mistake: "the listener has no openid resource",
    replies: { [USERINFO]: () => matrixError(404, "M_UNRECOGNIZED") },
    id: "homeserver.userinfo",
    outcome: "error",
    fix: /"openid"/,
  },
  {
    mistake: "federation is off",
    replies: { [USERINFO]: () => matrixError(403, "M_FORBIDDEN") },
    id: "homeserver.userinfo",
    outcome: "error",
    fix: /allow federation/,
  },
  {
    mistake: "a challenge page stands before the homeserver",
    replies: { [USERINFO]: () => page(403, CHALLENGE) },
    id: "homeserver.userinfo",
    outcome: "error",
    fix: /without a challenge/,
  },
  {
    mistake: "the proxy redirects the federation API",
    replies: { [USERINFO]: () => redirect(301, "https://example.com/") },
    id: "homeserver.userinfo",
    outcome: "error",
    fix: /without a redirect/,
  },
  {
    mistake: "the homeserver is down behind its proxy",
    replies: { [USERINFO]: () => page(502) },
    id: "homeserver.userinfo",
    outcome: "error",
    fix: /start it/,
  },
  {
    mistake: "the federation port is closed",
    replies: { [USERINFO]: () => "connect" },
    id: "homeserver.userinfo",
    outcome: "error",
    fix: /LIVEKIT_FEDERATION_URL_OVERRIDES/,
  },
  {
    mistake: "the homeserver's certificate is from a private CA",
    replies: { [USERINFO]: () => "tls" },
    id: "homeserver.userinfo",
    outcome: "error",
    fix: /certificate/,
  },
  {
    mistake: "the homeserver hangs",
    replies: { [USERINFO]: () => "timeout" },
    id: "homeserver.userinfo",
    outcome: "error",
    fix: /hairpin NAT/,
  },
  {
    mistake: "another homeserver is inside, and not listed",
    replies: { [USERINFO]: () => "blocked" },
    id: "homeserver.userinfo",
    outcome: "error",
    fix: /LIVEKIT_FEDERATION_ALLOW_NETWORKS/,
  },
  {
    mistake: "the homeserver's clock is off",
    replies: { [USERINFO]: () => json(401, { errcode: "M_UNKNOWN_TOKEN", error: "" }, dated(300)) },
    id: "homeserver.clock",
    outcome: "warning",
    fix: /NTP/,
  },
  // What clients learn
  {
    mistake: "there is no well-known document for clients",
    replies: { [CLIENT_WELL_KNOWN]: () => page(404) },
    id: "homeserver.well_known",
    outcome: "error",
    fix: /Serve https:\/\/example\.com\/\.well-known\/matrix\/client/,
  },
  {
    mistake: "the well-known document is no JSON",
    replies: { [CLIENT_WELL_KNOWN]: () => page(200) },
    id: "homeserver.well_known",
    outcome: "error",
    fix: /as JSON/,
  },
  {
    mistake: "a challenge page stands before the document",
    replies: { [CLIENT_WELL_KNOWN]: () => page(403, CHALLENGE) },
    id: "homeserver.well_known",
    outcome: "error",
    fix: /without a challenge/,
  },
  {
    mistake: "base_url is plain http",
    replies: { [CLIENT_WELL_KNOWN]: clientDocument({ "m.homeserver": { base_url: "http://matrix.example.com" } }) },
    id: "homeserver.well_known",
    outcome: "error",
    fix: /as JSON/,
  },
  {
    mistake: "the document has no CORS header",
    replies: { [CLIENT_WELL_KNOWN]: () => json(200, { "m.homeserver": { base_url: "https://matrix.example.com" } }) },
    id: "homeserver.well_known_cors",
    outcome: "error",
    fix: /exactly one header/,
  },
  {
    mistake: "the document has two CORS headers",
    replies: {
      [CLIENT_WELL_KNOWN]: () =>
        json(200, { "m.homeserver": { base_url: "https://matrix.example.com" } }, {
          "access-control-allow-origin": "*, *",
        }),
    },
    id: "homeserver.well_known_cors",
    outcome: "error",
    fix: /exactly one header/,
  },
  {
    mistake: "the document names no focus",
    replies: { [CLIENT_WELL_KNOWN]: clientDocument({ "org.matrix.msc4143.rtc_foci": [] }) },
    id: "homeserver.rtc_foci",
    outcome: "error",
    fix: /MISSING_MATRIX_RTC_FOCUS/,
  },
  {
    mistake: "the document names another service",
    replies: {
      [CLIENT_WELL_KNOWN]: clientDocument({
        "org.matrix.msc4143.rtc_foci": [{ type: "livekit", livekit_service_url: "https://old.example.com" }],
      }),
    },
    publicUrl: PUBLIC_URL,
    id: "homeserver.rtc_foci",
    outcome: "error",
    fix: /public URL of this service/,
  },
  {
    mistake: "the focus has a double slash",
    replies: {
      [CLIENT_WELL_KNOWN]: clientDocument({
        "org.matrix.msc4143.rtc_foci": [{
          type: "livekit",
          livekit_service_url: "https://rtc.example.com//livekit/jwt",
        }],
      }),
    },
    publicUrl: PUBLIC_URL,
    id: "homeserver.rtc_foci",
    outcome: "error",
    fix: /https URL/,
  },
  {
    mistake: "the list of transports is empty",
    replies: { [TRANSPORTS]: () => json(200, {}) },
    id: "homeserver.rtc_transports",
    outcome: "error",
    fix: /matrix_rtc/,
  },
  {
    mistake: "delayed events are not switched on",
    replies: { [VERSIONS]: () => json(200, { unstable_features: {} }) },
    id: "homeserver.delayed_events",
    outcome: "warning",
    fix: /max_event_delay_duration/,
  },
  {
    mistake: "the client-server API can't be reached from here",
    replies: { [VERSIONS]: () => "timeout" },
    id: "homeserver.delayed_events",
    outcome: "warning",
    fix: /LIVEKIT_CS_API_URL_OVERRIDES/,
  },
  {
    mistake: "the route of delayed events leads to no worker",
    replies: { [DELAYED]: () => matrixError(404, "M_UNRECOGNIZED") },
    id: "homeserver.delayed_events_managed",
    outcome: "warning",
    fix: /right worker/,
  },
  {
    mistake: "the homeserver wants a login for delayed events",
    replies: { [DELAYED]: () => matrixError(401, "M_MISSING_TOKEN") },
    id: "homeserver.delayed_events_managed",
    outcome: "warning",
    fix: /1\.143/,
  },
  // Through the proxy
  {
    mistake: "the proxy does not strip the prefix, or routes elsewhere",
    replies: { [SFU_GET]: () => page(404) },
    id: "public.route",
    outcome: "error",
    fix: /Route \/sfu\/get/,
  },
  {
    mistake: "the proxy redirects",
    replies: { [SFU_GET]: () => redirect(301, "https://rtc.example.com/livekit/jwt/sfu/get/") },
    id: "public.route",
    outcome: "error",
    fix: /POST into GET/,
  },
  {
    mistake: "the service is down behind the proxy",
    replies: { [SFU_GET]: () => page(502) },
    id: "public.route",
    outcome: "error",
    fix: /LIVEKIT_JWT_BIND/,
  },
  {
    mistake: "a new route is not passed",
    replies: { [GET_TOKEN]: () => page(404) },
    id: "public.post",
    outcome: "error",
    fix: /\/get_token/,
  },
  {
    mistake: "the proxy adds its own CORS header",
    replies: { [GET_TOKEN]: preflight({ "access-control-allow-origin": "*, *" }) },
    id: "public.cors",
    outcome: "error",
    fix: /out of the proxy/,
  },
  {
    mistake: "the proxy takes the CORS header away",
    replies: { [GET_TOKEN]: preflight({}) },
    id: "public.cors",
    outcome: "error",
    fix: /keep this service's CORS/,
  },
  {
    mistake: "the public URL is plain http",
    publicUrl: "http://rtc.example.com/livekit/jwt",
    id: "public.url",
    outcome: "error",
    fix: /by https/,
  },
];
