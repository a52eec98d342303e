// The demo's page, over HTTP on loopback: a few files, what the stage looks like, and one route that plays a scene.

import * as v from "valibot";
import { BodyReader } from "../lib/http/body.ts";
import { MatrixError } from "../lib/matrix_error.ts";
import { canLeave, playLeave } from "./leave_scene.ts";
import { homeserverOf, play, type Scene, userOf } from "./scene.ts";
import { type Role, ROLES } from "./scene_steps.ts";
import type { Stage } from "./stage.ts";

/** What the page shows before anybody asks, and beside every scene. */
export interface StageView {
  readonly serviceUrl: string;
  readonly cast: readonly { readonly role: Role; readonly user: string; readonly homeserver: string }[];
  readonly sfu: SfuView;
}

/** The SFU: what the stand-in holds, or where the real one is. */
export type SfuView =
  | { readonly kind: "real"; readonly url: string }
  | {
    readonly kind: "stand-in";
    readonly url: string;
    readonly createRoomCalls: number;
    /** Newest first. */
    readonly rooms: readonly RoomView[];
  };

/** A room of the stand-in. */
export interface RoomView {
  readonly alias: string;
  /** Null when nobody on this stage asked for it. */
  readonly roomId: string | null;
  readonly identities: readonly string[];
}

/** The answer to `POST /play` and `POST /leave`. */
export interface Played {
  readonly scene: Scene;
  readonly stage: StageView;
}

/** A page that is served. */
export interface ServedPage extends AsyncDisposable {
  readonly url: string;
}

type Route = (request: Request) => Promise<Response> | Response;

class BadRequest extends Error {
  constructor(readonly status: number, message: string) {
    super(message);
  }
}

const MAX_BODY_BYTES = 4096;
const BODY_TIMEOUT_MS = 5000;
const MAX_ROOM_ID_BYTES = 255;
const LIVEKIT_CLIENT_PATH = "/livekit-client.mjs";

// Matrix spec, appendices, "Room IDs": opaque after the "!". Control characters are nobody's, and hard to show.
const RoomId = v.pipe(
  v.string('Choose a "room": expected a text'),
  v.trim(),
  v.regex(/^!.|^$/u, ({ input }) => `Cannot ask for the room ${quoted(input)}: expected an ID that begins with "!"`),
  v.nonEmpty('Enter a room: expected an ID such as "!demo:localhost"'),
  v.maxBytes(MAX_ROOM_ID_BYTES, `Shorten the room's ID: expected at most ${MAX_ROOM_ID_BYTES} bytes`),
  v.check(
    (text) => text.isWellFormed() && !/\p{Cc}/u.test(text),
    ({ input }) => `Cannot ask for the room ${quoted(input)}: expected an ID without control characters`,
  ),
);
const PlayRequest = v.object(
  {
    role: v.picklist(ROLES, `Choose a "role": expected one of ${ROLES.map(quoted).join(", ")}`),
    room: RoomId,
    device: v.optional(
      v.pipe(v.string(), v.regex(/^[A-Z0-9]{1,16}$/, 'Choose another "device": expected 1 to 16 of A-Z and 0-9')),
    ),
  },
  'Send a JSON object: expected {"role": …, "room": …}',
);

const LeaveRequest = v.object({ room: RoomId }, 'Send a JSON object: expected {"room": …}');

/** The page of a stage, as a function from requests to answers. */
export function createPage(stage: Stage): (request: Request) => Promise<Response> {
  const routes = new Map<string, { readonly method: string; readonly answer: Route }>([
    ["/", { method: "GET", answer: file("page.html", "text/html; charset=utf-8") }],
    ["/page.css", { method: "GET", answer: file("page.css", "text/css; charset=utf-8") }],
    ["/page_told.css", { method: "GET", answer: file("page_told.css", "text/css; charset=utf-8") }],
    ["/page.js", { method: "GET", answer: file("page.js", "text/javascript; charset=utf-8") }],
    ["/page_call.js", { method: "GET", answer: file("page_call.js", "text/javascript; charset=utf-8") }],
    ["/stage", { method: "GET", answer: () => Response.json(viewOf(stage)) }],
    ["/play", { method: "POST", answer: playRoute(stage) }],
  ]);
  if (canLeave(stage)) {
    const leave: Route = async (request) => {
      const { room } = await parseBody(request, LeaveRequest);
      return played(await playLeave(room, stage), stage);
    };
    routes.set("/leave", { method: "POST", answer: leave });
  }
  if (stage.sfu === null) {
    // Resolved no earlier than it is needed; npm packages of deno.json are at hand once any of them is.
    const answer: Route = (request) => file(import.meta.resolve("livekit-client"), "text/javascript")(request);
    routes.set(LIVEKIT_CLIENT_PATH, { method: "GET", answer });
  }
  const policy = contentPolicy(stage);

  return async (request) => {
    const response = await answer(request, routes);
    response.headers.set("content-security-policy", policy);
    response.headers.set("x-content-type-options", "nosniff");
    response.headers.set("cache-control", "no-store");
    return response;
  };
}

/** Serves the page on loopback; by default on any free port. */
export function servePage(stage: Stage, port = 0): ServedPage {
  const server = Deno.serve({ hostname: "127.0.0.1", port, onListen() {} }, createPage(stage));
  return {
    url: `http://127.0.0.1:${server.addr.port}/`,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

async function answer(
  request: Request,
  routes: ReadonlyMap<string, { readonly method: string; readonly answer: Route }>,
): Promise<Response> {
  try {
    const { hostname, pathname } = new URL(request.url);
    // A page of another origin that has its name resolved to loopback is not ours to serve.
    if (hostname !== "127.0.0.1" && hostname !== "localhost") throw new BadRequest(421, "Ask for 127.0.0.1");
    const route = routes.get(pathname);
    if (route === undefined) throw new BadRequest(404, "There is no such page");
    if (request.method !== route.method) throw new BadRequest(405, `Use ${route.method}`);
    return await route.answer(request);
  } catch (error) {
    if (error instanceof BadRequest || error instanceof MatrixError) {
      return Response.json({ error: error.message }, { status: error.status });
    }
    console.error("The demo's page failed:", error);
    return Response.json({ error: "The demo failed: see its terminal" }, { status: 500 });
  }
}

function playRoute(stage: Stage): Route {
  return async (request) => {
    const { role, room, device } = await parseBody(request, PlayRequest);
    return played(await play(role, room, stage, device), stage);
  };
}

function played(scene: Scene, stage: Stage): Response {
  return Response.json({ scene, stage: viewOf(stage) } satisfies Played);
}

async function parseBody<Body>(request: Request, schema: v.GenericSchema<unknown, Body>): Promise<Body> {
  // A form of another origin can send no such type, so no other page can play.
  if (request.headers.get("content-type")?.split(";")[0]?.trim() !== "application/json") {
    throw new BadRequest(415, 'Send JSON: expected the Content-Type "application/json"');
  }
  const body = await new BodyReader().read(request, MAX_BODY_BYTES, AbortSignal.timeout(BODY_TIMEOUT_MS));
  const { success, output, issues } = v.safeParse(schema, parseJson(body), { abortPipeEarly: true });
  if (!success) throw new BadRequest(400, issues[0].message);
  return output;
}

function parseJson(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch {
    throw new BadRequest(400, 'Send JSON: expected {"role": …, "room": …}');
  }
}

function viewOf(stage: Stage): StageView {
  return {
    serviceUrl: stage.serviceUrl,
    cast: ROLES.map((role) => ({
      role,
      user: userOf(role, stage),
      homeserver: homeserverOf(role, stage).serverName,
    })),
    sfu: sfuView(stage),
  };
}

function sfuView({ sfu, sfuUrl: url, roomIds }: Stage): SfuView {
  if (sfu === null) return { kind: "real", url };
  const rooms = sfu.rooms.list().reverse().map(({ name }) => ({
    alias: name,
    roomId: roomIds.get(name) ?? null,
    identities: sfu.rooms.participants(name).map(({ identity }) => identity),
  }));
  return { kind: "stand-in", url, createRoomCalls: sfu.callCount("CreateRoom"), rooms };
}

// Nothing but the page's own files; LiveKit's client also talks to the SFU, and to the region that a cloud sends it to.
function contentPolicy({ sfu }: Stage): string {
  const connect = sfu === null ? "'self' http: https: ws: wss:" : "'self'";
  return `default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src ${connect}; ` +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
}

function file(name: string, contentType: string): Route {
  const url = new URL(name, import.meta.url);
  return async () => new Response(await Deno.readFile(url), { headers: { "content-type": contentType } });
}

function quoted(text: string): string {
  return `"${text}"`;
}
