// The description of the service as OpenAPI 3.1, put together from its routes, its bodies and its answers.

import manifest from "../../deno.json" with { type: "json" };
import { corsHeaders, errorResponse, HEADERS } from "./answers.ts";
import { DELEGATION_BODY, HASHED_BODY, LEGACY_BODY, SCHEMAS, WEBHOOK_BODY } from "./bodies.ts";
import type { Data } from "./yaml.ts";

const ONLY_LEGACY = ["noRoom", "noToken", "longIdentity"];
// 400 at a token route, so that clients ask again without the delay fields; 403 where there is nothing else to ask for.
const REFUSED_DELEGATION = ["restrictedDelegation", "tooManyJobs"];

type Tree = { readonly [key: string]: Data };

// Answers that are the same at every route that reads a request.
const COMMON = {
  "401": response("Unauthorized"),
  "405": response("MethodNotAllowed"),
  "408": response("BodyTooSlow"),
  "413": response("BodyTooLarge"),
  "414": response("UrlTooLong"),
  "429": response("LimitExceeded"),
  "503": response("Unavailable"),
};

/** The whole document. */
export const DOCUMENT: Tree & { readonly paths: Readonly<Record<string, Tree>> } = {
  openapi: "3.1.0",
  info: {
    title: "MatrixRTC Authorization Service",
    version: manifest.version,
    license: { name: manifest.license, identifier: manifest.license },
    description:
      "Exchanges Matrix OpenID tokens for LiveKit tokens, and takes charge of delayed leave events (MSC4140). Clients " +
      "find its base URL as `livekit_service_url` in a homeserver's well-known document.\n" +
      "Any prefix may stand before a path, repeated slashes count as one, and no answer is a redirect. Bodies are read as " +
      "JSON whatever their content type; unknown fields are ignored at every level, and null counts as absent. Every " +
      "answer carries the CORS headers, those of unknown paths (404) included, and OPTIONS is answered with 200 and an " +
      "empty body on any path. The order of the checks: method, size, JSON, shape, rate limit, lists of homeservers, OpenID " +
      "token, access, delegation, room, token. Nothing leaves the service before a body was found good.\n" +
      "What is no HTTP/1.1 request, or has more than some 100 KiB of headers, is answered by the server underneath (400 " +
      "or 431, without a body).",
  },
  servers: [
    { url: "https://matrix-rtc.example.com/livekit/jwt", description: "Behind a proxy, as clients see it." },
    { url: "http://127.0.0.1:8080", description: "The service itself, by default." },
  ],
  paths: {
    "/sfu/get": {
      post: {
        operationId: "sfuGet",
        summary: "Token exchange; the participant's identity is readable.",
        description: "The identity in the LiveKit token is `user:device`. Takes the body of `/get_token` as well.",
        requestBody: body({ anyOf: [ref("LegacyRequest"), ref("HashedRequest")] }, {
          legacy: LEGACY_BODY,
          legacyWithDelegation: { ...LEGACY_BODY, delay_id: "syd_abcdefghij", delay_timeout: 10_000 },
          hashed: HASHED_BODY,
        }),
        responses: { ...granted(), ...tokenErrors([]) },
      },
    },
    "/get_token": {
      post: {
        operationId: "getToken",
        summary: "Token exchange; the participant's identity is a hash.",
        description:
          "The identity in the LiveKit token is the unpadded base64 SHA-256 of the canonical JSON array of user " +
          "ID, device ID and member ID. The user of the OpenID token must be `claimed_user_id`.",
        requestBody: body(ref("HashedRequest"), {
          plain: HASHED_BODY,
          withDelegation: { ...HASHED_BODY, delay_id: "syd_abcdefghij", delay_timeout: "10000" },
        }),
        responses: { ...granted(), ...tokenErrors(ONLY_LEGACY) },
      },
    },
    "/delegate_delayed_leave": {
      post: {
        operationId: "delegateDelayedLeave",
        summary: "Hands over a delayed leave event, without a LiveKit token.",
        description: "No room is created. Clients probe the route without a body: any status but 404 tells them that " +
          "delegation is on, and they then schedule the event an hour ahead.",
        requestBody: body(ref("DelegationRequest"), { delegation: DELEGATION_BODY }),
        responses: {
          "200": {
            description: "Taken charge of.",
            headers: corsHeaders(),
            content: {
              "application/json": { schema: { type: "object", additionalProperties: false }, example: {} },
            },
          },
          "400": errorResponse(400, [...ONLY_LEGACY, ...REFUSED_DELEGATION, "delegationOff"]),
          "403": errorResponse(403),
          "404": errorResponse(404),

          ...COMMON,
        },
      },
    },
    "/sfu_webhook": {
      post: {
        operationId: "sfuWebhook",
        summary: "LiveKit's webhooks.",
        description:
          "Always answered with 200 and an empty body, at once, whatever the method and the body are; what does " +
          "not verify is counted, logged and ignored. A body over 1 MiB is ignored too.",
        security: [{ livekitWebhook: [] }, {}],
        requestBody: {
          description: "A `WebhookEvent` of LiveKit in protobuf's JSON form.",
          content: { "application/webhook+json": { schema: { type: "object" }, example: WEBHOOK_BODY } },
        },
        responses: {
          "200": { description: "Received.", headers: corsHeaders() },
          "414": response("UrlTooLong"),
        },
      },
    },
    "/healthz": {
      get: health("healthz"),
      head: health("healthzHead"),
    },
  },
  components: {
    schemas: SCHEMAS,
    headers: HEADERS,
    responses: {
      Unauthorized: errorResponse(401),
      MethodNotAllowed: errorResponse(405),
      BodyTooSlow: errorResponse(408),
      BodyTooLarge: errorResponse(413),
      UrlTooLong: errorResponse(414),
      LimitExceeded: errorResponse(429),
      RoomNotCreated: errorResponse(500),
      Unavailable: errorResponse(503),
    },
    securitySchemes: {
      livekitWebhook: {
        type: "apiKey",
        in: "header",
        name: "Authorization",
        description:
          "A JWT of LiveKit without `Bearer`: HS256 with the API secret, `iss` the API key, `sha256` the padded " +
          "base64 SHA-256 of the body.",
      },
    },
  },
};

function ref(name: string): Tree {
  return { $ref: `#/components/schemas/${name}` };
}

function response(name: string): Tree {
  return { $ref: `#/components/responses/${name}` };
}

function body(schema: Tree, examples: Readonly<Record<string, Data>>): Tree {
  const named = Object.entries(examples).map(([name, value]) => [name, { value }]);
  return { required: true, content: { "application/json": { schema, examples: Object.fromEntries(named) } } };
}

// A function, so that it may stand below its use.
function granted(): Tree {
  return {
    "200": {
      description: "A LiveKit token for one room and one participant.",
      headers: corsHeaders(),
      content: {
        "application/json": {
          schema: ref("Grant"),
          example: {
            url: "wss://matrix-rtc.example.com/livekit/sfu",
            jwt: "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.AAAA",
          },
        },
      },
    },
  };
}

function tokenErrors(cannotHappen: readonly string[]): Tree {
  return {
    "400": errorResponse(400, cannotHappen),
    "403": errorResponse(403, REFUSED_DELEGATION),
    "500": response("RoomNotCreated"),
    ...COMMON,
  };
}

function health(operationId: string): Tree {
  return {
    operationId,
    summary: "Liveness: 200 as long as the process lives, whatever else is down.",
    responses: {
      "200": { description: "Alive.", headers: corsHeaders("AllowGet") },
      "414": errorResponse(414, [], "AllowGet"),
    },
  };
}
