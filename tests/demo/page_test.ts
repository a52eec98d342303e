// What the demo's page asks the demo over HTTP; how it looks in a browser is tested in tests/e2e.

import assert from "node:assert/strict";
import * as v from "valibot";
import { createPage, servePage } from "../../demo/page.ts";
import { buildStage, type Stage } from "../../demo/stage.ts";

const JSON_TYPE = { "content-type": "application/json" };
const PLAYED = v.object({
  scene: v.looseObject({
    status: v.number(),
    room: v.string(),
    answer: v.null(),
    verdict: v.looseObject({ kind: v.string() }),
    steps: v.array(v.object({ title: v.string(), kind: v.string(), state: v.string(), lines: v.array(v.string()) })),
  }),
  stage: v.object({
    serviceUrl: v.string(),
    cast: v.array(v.object({ role: v.string(), user: v.string(), homeserver: v.string() })),
    sfu: v.object({
      kind: v.literal("stand-in"),
      url: v.string(),
      createRoomCalls: v.number(),
      rooms: v.array(
        v.object({ alias: v.string(), roomId: v.nullable(v.string()), identities: v.array(v.string()) }),
      ),
    }),
  }),
});

type Get = (path: string, init?: RequestInit, origin?: string) => Promise<Response>;

// A test with a page of its own, and with what browsers do to it.
function pageTest(name: string, body: (get: Get, stage: Stage) => Promise<void>): void {
  Deno.test(name, async () => {
    await using stage = await buildStage();
    const page = createPage(stage);
    await body((path, init = {}, origin = "http://127.0.0.1:1") => page(new Request(`${origin}${path}`, init)), stage);
  });
}

function post(get: Get, body: string, headers: Record<string, string> = JSON_TYPE): Promise<Response> {
  return get("/play", { method: "POST", body, headers });
}

async function playOnPage(get: Get, role: string, room: string): Promise<v.InferOutput<typeof PLAYED>> {
  const response = await post(get, JSON.stringify({ role, room }));
  assert.equal(response.status, 200);
  return v.parse(PLAYED, await response.json());
}

const FILES = [["/", "text/html"], ["/page.css", "text/css"], ["/page_told.css", "text/css"], [
  "/page.js",
  "text/javascript",
], ["/page_call.js", "text/javascript"]] as const;

pageTest("each file is served as what it is, with a policy that lets nothing else in", async (get) => {
  for (const [path, type] of FILES) {
    const response = await get(path);
    assert.equal(response.status, 200, path);
    assert.equal(response.headers.get("content-type")?.split(";")[0], type);
    assert.match(response.headers.get("content-security-policy") ?? "", /^default-src 'none'; script-src 'self';/);
    const text = await response.text();
    assert.doesNotMatch(
      text.replaceAll("http://www.w3.org/2000/svg", ""),
      /https?:\/\//,
      `${path}: an address elsewhere`,
    );
  }
});

pageTest("a local user's scene shows the room that the SFU stand-in made, and who is in it", async (get) => {
  const { scene, stage } = await playOnPage(get, "local", "!page:localhost");
  assert.equal(scene.status, 200);
  assert.equal(scene.verdict.kind, "joins");
  const room = stage.sfu.rooms.find(({ roomId }) => roomId === "!page:localhost");
  assert.equal(room?.identities.length, 1);
  assert.ok(stage.sfu.createRoomCalls >= 1);
});

pageTest("a phone that dies is played in the room that is asked for, and only in one that can be", async (get) => {
  const leave = (room: string) => get("/leave", { method: "POST", headers: JSON_TYPE, body: JSON.stringify({ room }) });
  const { scene } = v.parse(PLAYED, await (await leave("!phone:localhost")).json());
  assert.deepEqual([scene.room, scene.verdict.kind], ["!phone:localhost", "left"]);
  assert.equal((await leave("nonsense")).status, 400);
});

pageTest("a federated user alone and an impostor are told apart", async (get) => {
  assert.equal((await playOnPage(get, "federated", "!quiet:localhost")).scene.verdict.kind, "waits");
  assert.equal((await playOnPage(get, "impostor", "!quiet:localhost")).scene.verdict.kind, "refused");
});

pageTest("scenes that are asked for at once are played in turn, each with its own log", async (get) => {
  const rooms = Array.from({ length: 6 }, (_, i) => `!turn${i}:localhost`);
  const played = await Promise.all(rooms.map((room) => playOnPage(get, "local", room)));
  for (const [i, { scene }] of played.entries()) {
    const log = scene.steps.find(({ kind }) => kind === "log")?.lines ?? [];
    assert.equal(log.length, 1);
    assert.ok(log[0]?.includes(`room_id=!turn${i}:localhost`), log[0]);
  }
});

pageTest('a room\'s ID may be any text after the "!", and spaces around it do not count', async (get) => {
  const { scene } = await playOnPage(get, "federated", "  !<script>alert(1)</script> & ü\u{1F600}:localhost ");
  assert.equal(scene.room, "!<script>alert(1)</script> & ü\u{1F600}:localhost");
});

const BAD: readonly (readonly [what: string, body: string, complaint: RegExp])[] = [
  ["no JSON", "role=local", /^Send JSON/],
  ["no object", "[]", /^Send a JSON object|role/],
  ["no role", '{"room":"!a"}', /"role"/],
  [
    "another role",
    '{"role":"admin","room":"!a"}',
    /^Choose a "role": expected one of "local", "federated", "impostor"$/,
  ],
  ["no room", '{"role":"local"}', /"room"/],
  ["a room that is no text", '{"role":"local","room":7}', /^Choose a "room": expected a text$/],
  ["an empty room", '{"role":"local","room":" "}', /^Enter a room/],
  ["an alias", '{"role":"local","room":"#a:localhost"}', /^Cannot ask for the room "#a:localhost": expected .* "!"$/],
  ["a bare mark", '{"role":"local","room":"!"}', /^Cannot ask for the room "!"/],
  ["a control character", '{"role":"local","room":"!a\\u0000b"}', /control characters/],
  ["a lone surrogate", '{"role":"local","room":"!a\\ud800"}', /^Cannot ask for the room/],
  ["a room over 255 bytes", JSON.stringify({ role: "local", room: `!${"ü".repeat(128)}` }), /at most 255 bytes$/],
  ["an odd device", '{"role":"local","room":"!a","device":"a b"}', /"device"/],
];

pageTest("a scene that cannot be played is refused with 400, and says why", async (get) => {
  for (const [what, body, complaint] of BAD) {
    const response = await post(get, body);
    assert.equal(response.status, 400, what);
    const { error } = v.parse(v.object({ error: v.string() }), await response.json());
    assert.match(error, complaint, what);
  }
});

const ELSEWHERE: readonly (readonly [what: string, status: number, ask: (get: Get) => Promise<Response>])[] = [
  ["a form of another page", 415, (get) => post(get, '{"role":"local","room":"!a"}', { "content-type": "text/plain" })],
  ["another name that leads to loopback", 421, (get) => get("/stage", {}, "http://evil.example:1")],
  ["a body over the cap", 413, (get) => post(get, JSON.stringify({ role: "local", room: `!${"a".repeat(5000)}` }))],
  ["another path", 404, (get) => get("/demo/main.ts")],
  ["a path out of the folder", 404, (get) => get("/../deno.json")],
  ["LiveKit's client, which only a real SFU needs", 404, (get) => get("/livekit-client.mjs")],
  ["GET where a scene is played", 405, (get) => get("/play")],
];

pageTest("what is no request of the page's own is refused, each with its status", async (get) => {
  for (const [what, status, ask] of ELSEWHERE) {
    const response = await ask(get);
    assert.equal(response.status, status, what);
    assert.equal(typeof v.parse(v.object({ error: v.string() }), await response.json()).error, "string");
  }
});

pageTest("with a real SFU the page has LiveKit's client, and may talk to the SFU", async (_, stage) => {
  const real = createPage({ ...stage, sfu: null, sfuUrl: "wss://sfu.example" });
  assert.equal((await real(new Request("http://localhost/leave", { method: "POST" }))).status, 404);
  const client = await real(new Request("http://localhost/livekit-client.mjs"));
  assert.equal(client.status, 200);
  assert.equal(client.headers.get("content-type"), "text/javascript");
  assert.match(client.headers.get("content-security-policy") ?? "", /connect-src 'self' http: https: ws: wss:/);
  assert.ok((await client.bytes()).length > 100_000);
  const view = await (await real(new Request("http://localhost/stage"))).json();
  assert.deepEqual(view.sfu, { kind: "real", url: "wss://sfu.example" });
});

pageTest("the page is served on loopback, at the URL it says", async (_, stage) => {
  await using served = servePage(stage);
  assert.match(served.url, /^http:\/\/127\.0\.0\.1:\d+\/$/);
  const response = await fetch(served.url);
  assert.match(await response.text(), /<title>MatrixRTC Authorization Service/);
});

Deno.test("the first line of the demo is the address of its page, which answers at once", async () => {
  const args = ["run", "-A", "--no-prompt", new URL("../../demo/main.ts", import.meta.url).pathname];
  await using demo = new Deno.Command(Deno.execPath(), {
    args,
    env: { NO_COLOR: "1" },
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const [line = ""] = await Array.fromAsync(firstLine(demo.stdout));
  const [, url = ""] = /^The page: (http:\/\/127\.0\.0\.1:\d+\/)$/.exec(line) ?? [];
  const response = await fetch(url);
  await response.body?.cancel();
  assert.equal(response.status, 200);
});

async function* firstLine(output: ReadableStream<BufferSource>): AsyncGenerator<string> {
  let text = "";
  for await (const part of output.pipeThrough(new TextDecoderStream())) {
    text += part;
    if (text.includes("\n")) return yield text.slice(0, text.indexOf("\n"));
  }
}
