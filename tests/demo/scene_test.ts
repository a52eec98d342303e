// The scenes of the demo, played on a whole stage: what is told of them is what happened.

import assert from "node:assert/strict";
import { canLeave, playLeave } from "../../demo/leave_scene.ts";
import { play, type Scene } from "../../demo/scene.ts";
import { ROLES, type SceneFacts, stepsOf, verdictOf } from "../../demo/scene_steps.ts";
import { buildStage, realSfuOf } from "../../demo/stage.ts";

function step({ steps }: Scene, title: string): string {
  const found = steps.find((step) => step.title.startsWith(title));
  assert.ok(found, `no step "${title}"`);
  return `${found.state}: ${found.lines[0]}`;
}

Deno.test("a local user has the room created, and is in it afterwards", async () => {
  await using stage = await buildStage();
  const scene = await play("local", "!begun:localhost", stage);
  assert.equal(scene.status, 200);
  assert.deepEqual(scene.verdict, { kind: "joins", text: `${scene.user} joins, with full access` });
  assert.equal(step(scene, "The room on the SFU"), "done: Created by CreateRoom");
  const alias = scene.grant?.video.room ?? "";
  const identities = stage.sfu?.rooms.participants(alias).map(({ identity }) => identity);
  assert.deepEqual(identities, [`${scene.user}:DEMODEVICE`]);
  assert.equal(stage.roomIds.get(alias), "!begun:localhost");
});

Deno.test("a local user in a call that goes on is told whether CreateRoom was called again", async () => {
  await using stage = await buildStage();
  await play("local", "!twice:localhost", stage);
  const calls = stage.sfu?.callCount("CreateRoom");
  const again = await play("local", "!twice:localhost", stage);
  const wasCalled = stage.sfu?.callCount("CreateRoom") !== calls;
  assert.match(step(again, "The room on the SFU"), wasCalled ? /Found by CreateRoom/ : /without CreateRoom/);
});

Deno.test("a federated user joins the room of a local one, without CreateRoom", async () => {
  await using stage = await buildStage();
  await play("local", "!shared:localhost", stage, "ALICEDEVICE");
  const calls = stage.sfu?.callCount("CreateRoom");
  const scene = await play("federated", "!shared:localhost", stage, "BOBDEVICE");
  assert.deepEqual(scene.verdict, { kind: "joins", text: `${scene.user} joins, with restricted access` });
  assert.match(step(scene, "The room on the SFU"), /without CreateRoom/);
  assert.equal(stage.sfu?.callCount("CreateRoom"), calls);
  assert.equal(stage.sfu?.rooms.participants(scene.grant?.video.room ?? "").length, 2);
});

Deno.test("a federated user in a room of their own has a token and waits", async () => {
  await using stage = await buildStage();
  const scene = await play("federated", "!alone:localhost", stage);
  assert.equal(scene.status, 200);
  assert.equal(scene.canJoin, false);
  assert.equal(scene.verdict.kind, "waits");
  assert.match(step(scene, "The room on the SFU"), /^skipped: Does not exist/);
  assert.match(step(scene, "May it join"), /^refused: No/);
  assert.equal(stage.sfu?.rooms.get(scene.grant?.video.room ?? ""), null);
});

Deno.test("an impostor gets no token, and the SFU is left alone", async () => {
  await using stage = await buildStage();
  const calls = stage.sfu?.callCount("CreateRoom");
  const scene = await play("impostor", "!stolen:localhost", stage);
  assert.deepEqual([scene.status, scene.grant, scene.canJoin, scene.verdict.kind], [401, null, null, "refused"]);
  assert.match(step(scene, "The service asks the homeserver"), /^done: GET .* at 127\.0\.0\.1:/);
  assert.match(step(scene, "It decides"), /^refused: Not authorised/);
  assert.equal(step(scene, "The room on the SFU"), "skipped: Not touched");
  assert.equal(stage.sfu?.callCount("CreateRoom"), calls);
});

Deno.test("a phone that dies in a call leaves it: its event is kept back while it is there, and sent when it has gone", async () => {
  await using stage = await buildStage();
  assert.ok(canLeave(stage));
  const scene = await playLeave("!left:localhost", stage);
  assert.equal(scene.verdict.kind, "left");
  assert.match(scene.verdict.text, /is out of the call, \d+ ms after/);
  assert.ok(scene.steps.every(({ state }) => state === "done"), JSON.stringify(scene.steps));
  const [event] = stage.local.delayedEvents.events.values();
  assert.equal(event?.end?.how, "sent");
  assert.deepEqual(event?.calls.map(({ action }) => action), ["restart", "send"]);
  assert.deepEqual(stage.sfu.rooms.participants(scene.grant?.video.room ?? ""), []);
});

Deno.test("the grant is told in words, and no scene tells a token", async () => {
  await using stage = await buildStage();
  for (const role of ROLES) {
    const scene = await play(role, "!words:localhost", stage);
    if (scene.grant !== null) {
      const facts = Object.fromEntries(scene.grantFacts);
      assert.equal(facts["Identity"], `${scene.user}:DEMODEVICE`);
      assert.equal(facts["May"], "join, publish, subscribe, update own metadata");
      assert.match(facts["Valid"] ?? "", /^60 min, until \d\d:\d\d:\d\d UTC$/);
    }
    const told = JSON.stringify(scene);
    assert.doesNotMatch(told, /eyJ/, "a JWT");
    assert.doesNotMatch(told, /access_token/);
  }
});

const REFUSED: SceneFacts = {
  role: "local",
  user: "@alice:a.example",
  room: "!r:a.example",
  alias: "alias",
  deviceId: "D",
  homeserver: { name: "a.example", wasAsked: true },
  status: 502,
  error: "M_UNKNOWN: Unable to create room on SFU",
  grant: null,
  roomFate: "failed",
  join: null,
  log: [],
};

Deno.test("an SFU that fails is not told as a matter of authorisation", () => {
  assert.deepEqual(verdictOf(REFUSED), {
    kind: "refused",
    text: "No token for @alice:a.example: the service answered 502",
  });
  const told = stepsOf(REFUSED).map(({ state, lines }) => `${state}: ${lines[0]}`);
  assert.ok(!told.some((line) => /authorised/.test(line)), told.join("\n"));
  assert.ok(told.some((line) => line.startsWith("done: Full access")));
  assert.ok(told.includes("refused: Not created: the SFU did not do as asked"));
});

Deno.test("a homeserver that was not asked is told so", () => {
  const facts = { ...REFUSED, homeserver: { name: "a.example", wasAsked: false } };
  assert.deepEqual(stepsOf(facts)[1]?.lines, ["a.example was not asked"]);
});

Deno.test("an SFU that could not be asked leaves the verdict open", () => {
  const grant = { sub: "i", iss: "k", nbf: 0, exp: 60, video: { room: "alias" } };
  const facts: SceneFacts = { ...REFUSED, status: 200, error: null, grant, join: { isLetIn: null, text: "no answer" } };
  assert.equal(verdictOf(facts).kind, "unclear");
});

Deno.test("the environment names a real SFU, or none, or half of one", () => {
  const all = { LIVEKIT_URL: "wss://sfu.example", LIVEKIT_KEY: "key", LIVEKIT_SECRET: "secret" };
  const read = (variables: Record<string, string>) => realSfuOf((name) => variables[name]);
  assert.deepEqual(read(all), { url: "wss://sfu.example", apiKey: "key", apiSecret: "secret" });
  assert.equal(read({}), null);
  assert.equal(read({ LIVEKIT_URL: "", LIVEKIT_KEY: "", LIVEKIT_SECRET: "" }), null);
  assert.throws(() => read({ ...all, LIVEKIT_SECRET: "" }), /^Error: Set LIVEKIT_SECRET too /);
  assert.throws(() => read({ LIVEKIT_URL: all.LIVEKIT_URL }), /^Error: Set LIVEKIT_KEY and LIVEKIT_SECRET too /);
});
