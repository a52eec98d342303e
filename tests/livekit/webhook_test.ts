// Webhooks: LiveKit's own signing is believed, each event once, and everything else is told apart for the log.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { AccessToken } from "livekit-server-sdk";
import { Inbox } from "../../lib/leave/inbox.ts";
import { type SfuEvent, Webhooks } from "../../lib/livekit/webhook.ts";
import { Secret } from "../../lib/secret.ts";
import { RecordingLog } from "../http/recording_log.ts";

const SECRETS = { first: "a".repeat(32), second: "b".repeat(32) };

function build() {
  const log = new RecordingLog();
  const apiKeys = Object.entries(SECRETS).map(([name, secret]) => ({ name, secret: new Secret(secret) }));
  return { log, webhooks: new Webhooks({ apiKeys, monotonicNow: () => 0, log }) };
}

async function sign(body: string, key = "first", secret = SECRETS.first): Promise<string> {
  const token = new AccessToken(key, secret, { ttl: "5m" });
  token.sha256 = createHash("sha256").update(body).digest("base64");
  return await token.toJwt();
}

function event(changes: object = {}): string {
  return JSON.stringify({
    event: "participant_left",
    room: { name: "room", creationTime: "1795490736", numParticipants: 1 },
    participant: { sid: "PA_1", identity: "@alice:localhost:8448:DEV", disconnectReason: "CLIENT_INITIATED" },
    id: "EV_1",
    createdAt: "1795490750",
    somethingNew: { nested: true },
    ...changes,
  });
}

const receive = async (webhooks: Webhooks, body: string, authorization?: string) =>
  await webhooks.receive(new TextEncoder().encode(body), authorization ?? await sign(body));

Deno.test("a leave is read with its session and reason", async () => {
  const { webhooks } = build();
  assert.deepEqual(await receive(webhooks, event()), {
    type: "left",
    room: "room",
    identity: "@alice:localhost:8448:DEV",
    sid: "PA_1",
    reason: "CLIENT_INITIATED",
  });
});

Deno.test("reasons are read by number too, and a join has none", async () => {
  const { webhooks } = build();
  const byNumber = event({ participant: { sid: "PA_1", identity: "i", disconnectReason: 2 }, id: "EV_2" });
  assert.partialDeepStrictEqual(await receive(webhooks, byNumber), { reason: "DUPLICATE_IDENTITY" });
  const joined = event({ event: "participant_joined", participant: { sid: "PA_2", identity: "i" }, id: "EV_3" });
  assert.partialDeepStrictEqual(await receive(webhooks, joined), { type: "joined", reason: "" });
});

Deno.test("an event that came before is not taken twice", async () => {
  const { webhooks } = build();
  assert.notEqual(await receive(webhooks, event()), null);
  assert.equal(await receive(webhooks, event()), null);
});

Deno.test("any of the keys may sign", async () => {
  const { webhooks } = build();
  const body = event();
  assert.notEqual(await receive(webhooks, body, await sign(body, "second", SECRETS.second)), null);
});

Deno.test("events without a room are genuine and of no interest; the end of a room is told", async () => {
  const { webhooks } = build();
  const egress = JSON.stringify({ event: "egress_started", id: "EV_9", egressInfo: { egressId: "EG_1" } });
  assert.deepEqual(await receive(webhooks, egress), { type: "other" });
  const finished = event({ event: "room_finished", participant: undefined, id: "EV_10" });
  assert.deepEqual(await receive(webhooks, finished), { type: "room-finished", room: "room" });
});

const forgeries: readonly (readonly [string, () => Promise<string>])[] = [
  ["no signature", () => Promise.resolve("")],
  ["junk", () => Promise.resolve("junk")],
  ["another key", () => sign(event(), "other", "c".repeat(32))],
  ["another secret", () => sign(event(), "first", "c".repeat(32))],
  ["another body", () => sign(event({ id: "EV_other" }))],
];

for (const [what, authorization] of forgeries) {
  Deno.test(`a webhook with ${what} is ignored, counted, and does not use its event ID up`, async () => {
    const { webhooks, log } = build();
    assert.equal(await receive(webhooks, event(), await authorization()), null);
    assert.equal(webhooks.rejected, 1);
    assert.equal(log.of("warning").length, 1);
    assert.notEqual(await receive(webhooks, event()), null);
  });
}

Deno.test("the inbox hands webhooks on in the order in which they came", async () => {
  const { webhooks, log } = build();
  const told: SfuEvent[] = [];
  const inbox = new Inbox({ webhooks, log, listeners: [(heard) => void told.push(heard)] });
  const bodies = [1, 2, 3, 4].map((n) => event({ id: `EV_${n}`, participant: { sid: `PA_${n}`, identity: "i" } }));
  const signatures = await Promise.all(bodies.map((body) => sign(body)));
  bodies.forEach((body, index) => inbox.put(new TextEncoder().encode(body), signatures[index] ?? ""));
  await inbox.settle();
  assert.deepEqual(told.map((heard) => "sid" in heard ? heard.sid : ""), ["PA_1", "PA_2", "PA_3", "PA_4"]);
});
