// LiveKit's webhooks as LiveKit's own library signs them: what is genuine, what it says, and why something else is not
// believed.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { AccessToken } from "livekit-server-sdk";
import { Webhooks } from "../../lib/livekit/webhook_receiver.ts";
import { Secret } from "../../lib/secret.ts";
import { RecordingLog } from "../../testing/recording_log.ts";
import { ManualClock } from "../../testing/manual_clock.ts";

const SECRET = "secret-secret-secret-secret-secret-1";
const OTHER_SECRET = "another secret of thirty-two characters";
const ROOM = "krj2dgxw2K6EOm9he4GfQJ6JsSVWfJ8a7BkyjZcSmxs";
const IDENTITY = "vYVt8NUMTb0rAawkFqilcAtxKgY26U3Ab7R9INviNnU";

// The contract's test vector.
const VECTOR = `{"event":"participant_left","room":{"name":"${ROOM}"},"participant":{"identity":"${IDENTITY}",` +
  `"disconnectReason":"CLIENT_INITIATED"},"id":"EV_1","createdAt":"1700000000"}`;
const VECTOR_SHA256 = "1wqsoHNI4fU6gQdKbp1Q6ti2cXJEsRcbRtfG+V94f/g=";

function receiver(keys: Readonly<Record<string, string>> = { devkey: SECRET }) {
  const log = new RecordingLog();
  const clock = new ManualClock();
  const apiKeys = Object.entries(keys).map(([name, secret]) => ({ name, secret: new Secret(secret) }));
  return { log, clock, webhooks: new Webhooks({ apiKeys, monotonicNow: clock.monotonicNow, log }) };
}

interface Signing {
  readonly key?: string;
  readonly secret?: string;
  readonly ttl?: number;
  /** What the hash is of, when not of the body. */
  readonly hashed?: string;
}

async function sign(body: string | Uint8Array, { key = "devkey", secret = SECRET, ttl = 300, hashed }: Signing = {}) {
  const token = new AccessToken(key, secret, { ttl });
  token.sha256 = createHash("sha256").update(hashed ?? body).digest("base64");
  return await token.toJwt();
}

const encode = (text: string) => new TextEncoder().encode(text);

function bodyOf(event: Readonly<Record<string, unknown>>): string {
  const participant = { sid: "PA_1", identity: IDENTITY };
  return JSON.stringify({ event: "participant_left", room: { name: ROOM }, participant, id: "EV_1", ...event });
}

async function receive(body: string, keys?: Readonly<Record<string, string>>, signing?: Signing) {
  const { webhooks, log } = receiver(keys);
  const event = await webhooks.receive(encode(body), await sign(body, signing));
  return { event, log, webhooks };
}

Deno.test("the contract's vector hashes as it says, and is received", async () => {
  assert.equal(createHash("sha256").update(VECTOR).digest("base64"), VECTOR_SHA256);
  const { event, webhooks } = await receive(VECTOR);
  assert.deepEqual(event, { type: "left", room: ROOM, identity: IDENTITY, sid: "", reason: "CLIENT_INITIATED" });
  assert.deepEqual([webhooks.accepted, webhooks.rejected], [1, 0]);
});

// As a real SFU sends them, shortened.
const REAL_JOINED =
  `{"event":"participant_joined", "room":{"sid":"RM_ee5RVChaYipu", "name":"r1", "emptyTimeout":300, ` +
  `"creationTime":"1795490736", "creationTimeMs":"1795490736822", "turnPassword":"G2Zon", ` +
  `"enabledCodecs":[{"mime":"audio/opus"}], "numParticipants":1}, "participant":{"sid":"PA_33cHUkozWCP6", ` +
  `"identity":"@alice:localhost:8448:ALICEDEV", "state":"ACTIVE", "metadata":"md1", "joinedAt":"1795490747", ` +
  `"joinedAtMs":"1795490747133", "version":2, "permission":{"canSubscribe":true, "canPublish":true}, ` +
  `"clientProtocol":2, "capabilities":["CAP_PACKET_TRAILER", "CAP_OF_THE_FUTURE"]}, "id":"EV_VFSC5M5w69y6", ` +
  `"createdAt":"1795490747"}`;

const withParticipant = (fields: Readonly<Record<string, unknown>>, event = "participant_left") =>
  bodyOf({ event, participant: { sid: "PA_1", identity: IDENTITY, ...fields } });
const told = (type: string, reason = "") => ({ type, room: ROOM, identity: IDENTITY, sid: "PA_1", reason });
const OTHER = { type: "other" };

const READ: readonly (readonly [name: string, body: string, event: unknown])[] = [
  ["a real participant_joined", REAL_JOINED, {
    type: "joined",
    room: "r1",
    identity: "@alice:localhost:8448:ALICEDEV",
    sid: "PA_33cHUkozWCP6",
    reason: "",
  }],
  ["a reason by name", withParticipant({ disconnectReason: "DUPLICATE_IDENTITY" }), told("left", "DUPLICATE_IDENTITY")],
  ["a reason by number", withParticipant({ disconnectReason: 2 }), told("left", "DUPLICATE_IDENTITY")],
  ["the reason MIGRATION by number", withParticipant({ disconnectReason: 8 }), told("left", "MIGRATION")],
  ["a reason of the future by name", withParticipant({ disconnectReason: "BORED" }), told("left")],
  ["a reason of the future by number", withParticipant({ disconnectReason: 999 }), told("left")],
  ["the reason that there is none", withParticipant({ disconnectReason: "UNKNOWN_REASON" }), told("left")],
  ["no reason", bodyOf({}), told("left")],
  [
    "an aborted connection",
    withParticipant({ disconnectReason: "SIGNAL_CLOSE" }, "participant_connection_aborted"),
    told("aborted", "SIGNAL_CLOSE"),
  ],
  ["a state by number", withParticipant({ state: 2 }, "participant_joined"), told("joined")],
  ["a time as text", bodyOf({ createdAt: "1700000000" }), told("left")],
  ["a time as number", bodyOf({ createdAt: 1700000000 }), told("left")],
  ["fields of the future", bodyOf({ future: { a: [1] }, room: { name: ROOM, future: 1 } }), told("left")],
  ["room_finished", bodyOf({ event: "room_finished", participant: null }), { type: "room-finished", room: ROOM }],
  ["room_started", bodyOf({ event: "room_started", participant: undefined }), OTHER],
  ["track_published", bodyOf({ event: "track_published", track: { sid: "TR_1", type: "VIDEO" } }), OTHER],
  ["an event of the future", bodyOf({ event: "participant_sneezed" }), OTHER],
  ["an egress event", bodyOf({ event: "egress_started", room: null, egressInfo: { status: "EGRESS_ACTIVE" } }), OTHER],
  ["an ingress event", bodyOf({ event: "ingress_started", room: undefined, ingressInfo: { ingressId: "IN" } }), OTHER],
  ["an event without its participant", bodyOf({ participant: null }), OTHER],
];
for (const [name, body, expected] of READ) {
  Deno.test(`${name} is read`, async () => {
    const { event, log } = await receive(body);
    assert.deepEqual(event, expected);
    assert.deepEqual(log.entries, []);
  });
}

Deno.test("an event that comes again is ignored; one without an ID never is", async () => {
  const { webhooks } = receiver();
  const isNew = async (body: string) => await webhooks.receive(encode(body), await sign(body)) !== null;
  const first = bodyOf({});
  assert.deepEqual([await isNew(first), await isNew(first), await isNew(bodyOf({ id: "EV_2" }))], [true, false, true]);
  assert.deepEqual([await isNew(bodyOf({ id: "" })), await isNew(bodyOf({ id: "" }))], [true, true]);
  assert.equal(webhooks.accepted, 5);
});

Deno.test("the ID of an event that does not verify is not remembered", async () => {
  const { webhooks } = receiver();
  const body = encode(VECTOR);
  assert.equal(await webhooks.receive(body, await sign(VECTOR, { secret: OTHER_SECRET })), null);
  assert.notEqual(await webhooks.receive(body, await sign(VECTOR)), null);
});

Deno.test("of many events the oldest IDs are forgotten", async () => {
  const { webhooks } = receiver();
  const isNew = async (id: string) =>
    await webhooks.receive(encode(bodyOf({ id })), await sign(bodyOf({ id }))) !== null;
  assert.equal(await isNew("EV_first"), true);
  for (let count = 0; count < 10_000; count++) await isNew(`EV_${count}`);
  assert.deepEqual([await isNew("EV_first"), await isNew("EV_9999")], [true, false]);
});

Deno.test("any of several keys may have signed, each with its own secret", async () => {
  const keys = { old: OTHER_SECRET, devkey: SECRET };
  for (const [key, secret] of Object.entries(keys)) {
    assert.notEqual((await receive(VECTOR, keys, { key, secret })).event, null);
  }
  assert.equal((await receive(VECTOR, keys, { key: "old", secret: SECRET })).event, null);
});

Deno.test("keys that are exchanged count from then on", async () => {
  const { webhooks } = receiver({ old: OTHER_SECRET });
  webhooks.use([{ name: "devkey", secret: new Secret(SECRET) }]);
  assert.notEqual(await webhooks.receive(encode(VECTOR), await sign(VECTOR)), null);
  const old = await sign(bodyOf({ id: "EV_2" }), { key: "old", secret: OTHER_SECRET });
  assert.equal(await webhooks.receive(encode(bodyOf({ id: "EV_2" })), old), null);
});

const REFUSED: readonly (readonly [name: string, authorization: () => Promise<string> | string, cause: RegExp])[] = [
  ["no signature at all", () => "", /no Authorization header/],
  ["a signature that is no JWT", () => "Basic Zm9v", /no JWT/],
  ["a JWT of dots", () => "..", /no JWT/],
  ["another API key", () => sign(VECTOR, { key: "APIxyz" }), /another API key.*webhook\.api_key/],
  ["another secret", () => sign(VECTOR, { secret: OTHER_SECRET }), /wrong signature/],
  ["another body", () => sign(VECTOR, { hashed: `${VECTOR} ` }), /wrong body hash: a proxy/],
  ["a signature of ten minutes ago", () => sign(VECTOR, { ttl: -600 }), /expired: the clocks/],
  ["a signature that was tampered with", async () => tamper(await sign(VECTOR)), /wrong signature/],
  ["a token without a signature (alg none)", async () => unsigned(await sign(VECTOR)), /not a LiveKit webhook/],
];
for (const [name, authorization, cause] of REFUSED) {
  Deno.test(`${name} is refused, counted and explained`, async () => {
    const { webhooks, log } = receiver();
    assert.equal(await webhooks.receive(encode(VECTOR), await authorization()), null);
    assert.deepEqual([webhooks.accepted, webhooks.rejected], [0, 1]);
    assert.equal(log.entries.length, 1);
    assert.equal(log.entries[0]?.level, "warning");
    assert.match(String(log.entries[0]?.fields.cause), cause);
    assert.ok(!log.text.includes(SECRET) && !log.text.includes("eyJ"));
  });
}

Deno.test("an expiry within the leeway of a minute is accepted", async () => {
  assert.notEqual((await receive(VECTOR, undefined, { ttl: -40 })).event, null);
});

Deno.test("bytes that are no UTF-8, and no JSON, are refused", async () => {
  for (const body of [Uint8Array.of(0x7b, 0xff, 0x7d), encode("not JSON"), encode("[]"), encode("null")]) {
    const { webhooks } = receiver();
    assert.equal(await webhooks.receive(body, await sign(body)), null);
    assert.equal(webhooks.rejected, 1);
  }
});

Deno.test("refusals are said once a minute per cause, with their number", async () => {
  const { webhooks, log } = receiver();
  for (let count = 0; count < 100; count++) await webhooks.receive(encode(VECTOR), "");
  await webhooks.receive(encode(VECTOR), await sign(VECTOR, { key: "APIxyz" }));
  assert.deepEqual(log.written.map(({ fields }) => fields.rejected), [1, 101]);
});

function tamper(jwt: string): string {
  // The last character of a base64url text may hold unused bits: change one before it.
  const at = jwt.length - 5;
  return `${jwt.slice(0, at)}${jwt[at] === "A" ? "B" : "A"}${jwt.slice(at + 1)}`;
}

function unsigned(jwt: string): string {
  return `${Buffer.from('{"alg":"none"}').toString("base64url")}.${jwt.split(".")[1]}.`;
}
