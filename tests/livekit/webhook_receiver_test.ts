// LiveKit's webhooks: what is genuine, what it says, and why something else is not believed.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { TokenVerifier } from "livekit-server-sdk";
import { AccessTokenSigner } from "../../lib/livekit/access_token.ts";
import type { SfuEvent } from "../../lib/livekit/sfu_event.ts";
import { WebhookReceiver } from "../../lib/livekit/webhook_receiver.ts";
import { Secret } from "../../lib/secret.ts";
import { RecordingLog } from "../../testing/recording_log.ts";
import { ManualClock } from "../../testing/manual_clock.ts";
import { signJwt, signWebhook } from "../../testing/signed_webhook.ts";

const SECRET = "secret-secret-secret-secret-secret-1";
const KEY = { name: "devkey", secret: SECRET };
const OTHER_SECRET = "another secret of thirty-two characters";
const ROOM = "krj2dgxw2K6EOm9he4GfQJ6JsSVWfJ8a7BkyjZcSmxs";
const IDENTITY = "vYVt8NUMTb0rAawkFqilcAtxKgY26U3Ab7R9INviNnU";

// The contract's test vector.
const VECTOR = `{"event":"participant_left","room":{"name":"${ROOM}"},"participant":{"identity":"${IDENTITY}",` +
  `"disconnectReason":"CLIENT_INITIATED"},"id":"EV_1","createdAt":"1700000000"}`;
const VECTOR_SHA256 = "1wqsoHNI4fU6gQdKbp1Q6ti2cXJEsRcbRtfG+V94f/g=";

function receiver(keys: Readonly<Record<string, string>> = { devkey: SECRET }, now = Date.now()) {
  const log = new RecordingLog();
  const clock = new ManualClock(now);
  const apiKeys = Object.entries(keys).map(([name, secret]) => ({ name, secret: new Secret(secret) }));
  const webhooks = new WebhookReceiver({ apiKeys, clock, log });
  const receive = (body: Uint8Array, authorization: string): SfuEvent | null => {
    const claims = webhooks.judge(authorization);
    return claims === null ? null : webhooks.read(body, claims);
  };
  const refusals = () => log.of("warning");
  return { log, refusals, clock, webhooks, receive };
}

interface Signing {
  readonly key?: string;
  readonly secret?: string;
  /** Signed then, s since the epoch. */
  readonly at?: number;
  /** What the hash is of, when not of the body. */
  readonly hashed?: string;
}

function sign(body: string | Uint8Array, { key = "devkey", secret = SECRET, at, hashed }: Signing = {}): string {
  return signWebhook({ name: key, secret }, hashed ?? body, at === undefined ? {} : { nbf: at, exp: at + 300 });
}

const encode = (text: string) => new TextEncoder().encode(text);

function bodyOf(event: Readonly<Record<string, unknown>>): string {
  const participant = { sid: "PA_1", identity: IDENTITY };
  return JSON.stringify({
    ...{ event: "participant_left", room: { name: ROOM }, participant, id: "EV_1", createdAt: "1700000000" },
    ...event,
  });
}

function received(body: string, keys?: Readonly<Record<string, string>>, signing?: Signing) {
  const { receive, refusals } = receiver(keys);
  return { event: receive(encode(body), sign(body, signing)), refusals };
}

Deno.test("the contract's vector hashes as it says, and is received", () => {
  assert.equal(createHash("sha256").update(VECTOR).digest("base64"), VECTOR_SHA256);
  const { receive, webhooks, clock } = receiver();
  assert.deepEqual(webhooks.counts, { accepted: 0, rejected: 0, lastAcceptedAt: null });
  assert.deepEqual(receive(encode(VECTOR), sign(VECTOR)), {
    ...{ type: "left", room: ROOM, identity: IDENTITY, sid: "", reason: "CLIENT_INITIATED" },
    createdAt: 1_700_000_000_999,
  });
  assert.deepEqual(webhooks.counts, { accepted: 1, rejected: 0, lastAcceptedAt: clock.now() });
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
const told = (type: string, reason = "") => ({
  ...{ type, room: ROOM, identity: IDENTITY, sid: "PA_1", reason },
  createdAt: 1_700_000_000_999,
});
const OTHER = { type: "other" };

const READ: readonly (readonly [name: string, body: string, event: unknown])[] = [
  ["a real participant_joined", REAL_JOINED, {
    type: "joined",
    room: "r1",
    identity: "@alice:localhost:8448:ALICEDEV",
    sid: "PA_33cHUkozWCP6",
    reason: "",
    createdAt: 1_795_490_747_999,
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
  ["an event of a room without a name", bodyOf({ room: { name: "" } }), OTHER],
  ["an event of a room with a longer name than there is", bodyOf({ room: { name: "ä".repeat(129) } }), OTHER],
  ["an event of somebody without an identity", withParticipant({ identity: "" }), OTHER],
  ["an event of a longer identity than there is", withParticipant({ identity: "x".repeat(257) }), OTHER],
  ["an event of a longer session ID than there is", withParticipant({ sid: "P".repeat(65) }), OTHER],
];
for (const [name, body, expected] of READ) {
  Deno.test(`${name} is read`, () => {
    const { event, refusals } = received(body);
    assert.deepEqual(event, expected);
    assert.deepEqual(refusals(), []);
  });
}

const NOW = Math.floor(Date.now() / 1000);
const CREATED: readonly (readonly [what: string, createdAt: unknown, signing: Signing, createdAt: number])[] = [
  ["by the end of the second that it says", NOW - 100, {}, (NOW - 100) * 1000 + 999],
  ["when it was signed, where it does not say", undefined, { at: NOW - 200 }, (NOW - 200) * 1000 + 999],
  ["when it was signed, where it says 0", "0", { at: NOW - 200 }, (NOW - 200) * 1000 + 999],
  ["when it came, where it says a time to come", NOW + 50, {}, NOW * 1000],
  ["when it came, where it does not say and was signed in the future", undefined, { at: NOW + 50 }, NOW * 1000],
];
for (const [what, createdAt, signing, expected] of CREATED) {
  Deno.test(`an event has happened ${what}`, () => {
    const { receive } = receiver(undefined, NOW * 1000);
    const body = bodyOf({ createdAt });
    const event = receive(encode(body), sign(body, signing));
    assert.ok(event?.type === "left");
    assert.equal(event.createdAt, expected);
  });
}

Deno.test("the same event with the same body is a repeat; another body under its ID is news, and so is one without an ID", () => {
  const { receive } = receiver();
  const isNew = (body: string) => receive(encode(body), sign(body)) !== null;
  const first = bodyOf({});
  assert.deepEqual([isNew(first), isNew(first), isNew(bodyOf({ id: "EV_2" }))], [true, false, true]);
  const other = bodyOf({ event: "participant_joined" });
  assert.deepEqual([isNew(other), isNew(other), isNew(first)], [true, false, false]);
  assert.deepEqual([isNew(bodyOf({ id: "" })), isNew(bodyOf({ id: "" }))], [true, true]);
});

Deno.test("an event that does not verify is not remembered", () => {
  const { receive } = receiver();
  const body = encode(VECTOR);
  assert.equal(receive(body, sign(VECTOR, { secret: OTHER_SECRET })), null);
  assert.equal(receive(encode(`${VECTOR} `), sign(VECTOR)), null);
  assert.notEqual(receive(body, sign(VECTOR)), null);
});

Deno.test("of many events the oldest are forgotten", () => {
  const { webhooks } = receiver();
  const claims = webhooks.judge(sign(VECTOR));
  assert.ok(claims !== null);
  const isNew = (id: string) => {
    const body = bodyOf({ id });
    const sha256 = createHash("sha256").update(body).digest("base64");
    return webhooks.read(encode(body), { ...claims, sha256 }) !== null;
  };
  assert.equal(isNew("EV_first"), true);
  for (let count = 0; count < 10_000; count++) isNew(`EV_${count}`);
  assert.deepEqual([isNew("EV_first"), isNew("EV_9999")], [true, false]);
});

Deno.test("any of several keys may have signed, each with its own secret", () => {
  const keys = { old: OTHER_SECRET, devkey: SECRET };
  for (const [key, secret] of Object.entries(keys)) {
    assert.notEqual(received(VECTOR, keys, { key, secret }).event, null);
  }
  assert.equal(received(VECTOR, keys, { key: "old", secret: SECRET }).event, null);
});

Deno.test("keys that are exchanged count from then on", () => {
  const { webhooks } = receiver({ old: OTHER_SECRET });
  webhooks.use([{ name: "devkey", secret: new Secret(SECRET) }]);
  assert.notEqual(webhooks.judge(sign(VECTOR)), null);
  assert.equal(webhooks.judge(sign(VECTOR, { key: "old", secret: OTHER_SECRET })), null);
});

Deno.test("the token of a participant, signed with the same key, is no webhook's", async () => {
  const { webhooks, refusals } = receiver();
  const issuedAt = Math.floor(Date.now() / 1000);
  const jwt = new AccessTokenSigner({ name: "devkey", secret: new Secret(SECRET) })
    .sign({ identity: "alice", video: { roomJoin: true, room: ROOM }, issuedAt, ttlSeconds: 3600 });
  assert.notEqual(await new TokenVerifier("devkey", SECRET).verify(jwt), null);
  assert.equal(webhooks.judge(jwt), null);
  assert.match(String(refusals()[0]?.fields.cause), /the token of a participant/);
});

Deno.test("what a webhook says is in the log at debug", () => {
  const { receive, log } = receiver();
  const body = bodyOf({});
  receive(encode(body), sign(body));
  receive(encode(body), sign(body));
  const fields = { event: "participant_left", id: "EV_1", ...told("left") };
  assert.deepEqual(log.entries, [
    { level: "debug", message: "Received a webhook", fields: { ...fields, repeat: false } },
    { level: "debug", message: "Received a webhook", fields: { ...fields, repeat: true } },
  ]);
});

const inSeconds = (seconds: number) => Math.floor(Date.now() / 1000) + seconds;

const REFUSED: readonly (readonly [name: string, authorization: () => string, cause: RegExp])[] = [
  ["no signature at all", () => "", /no Authorization header/],
  ["a signature that is no JWT", () => "Basic Zm9v", /no JWT/],
  ["a JWT of dots", () => "..", /no JWT/],
  ["a JWT of many dots", () => ".".repeat(60_000), /no JWT/],
  ["a JWT behind `Bearer`", () => `Bearer ${sign(VECTOR)}`, /no JWT/],
  ["a JWT with a part too many", () => `${sign(VECTOR)}.x`, /no JWT/],
  ["a JWT over 8 KiB", () => signWebhook(KEY, VECTOR, { padding: "x".repeat(8192) }), /no JWT/],
  ["another API key", () => sign(VECTOR, { key: "APIxyz" }), /another API key.*webhook\.api_key/],
  ["another secret", () => sign(VECTOR, { secret: OTHER_SECRET }), /wrong signature/],
  ["another body", () => sign(VECTOR, { hashed: `${VECTOR} ` }), /wrong body hash: a proxy/],
  ["no hash", () => signWebhook(KEY, VECTOR, { sha256: undefined }), /the token of a participant/],
  ["no expiry", () => signWebhook(KEY, VECTOR, { exp: undefined }), /the token of a participant/],
  ["an expiry that is no number", () => signWebhook(KEY, VECTOR, { exp: "never" }), /the token of a participant/],
  ["an expiry of 61 s ago", () => signWebhook(KEY, VECTOR, { exp: inSeconds(-61) }), /expired: the clocks/],
  ["a beginning in 65 s", () => signWebhook(KEY, VECTOR, { nbf: inSeconds(65) }), /expired: the clocks/],
  ["a signature that was tampered with", () => tamper(sign(VECTOR)), /wrong signature/],
  ["a token that says it needs no signature", () => withHeader({ alg: "none" }), /not signed with HS256/],
  ["a token without a signature", () => withHeader({ alg: "none" }).replace(/[^.]*$/, ""), /no JWT/],
  ["another algorithm", () => withHeader({ alg: "HS512" }), /not signed with HS256/],
  ["a critical extension", () => withHeader({ alg: "HS256", crit: ["exp"], exp: 1 }), /not signed with HS256/],
];
for (const [name, authorization, cause] of REFUSED) {
  Deno.test(`${name} is refused, counted and explained`, () => {
    const { receive, log } = receiver();
    assert.equal(receive(encode(VECTOR), authorization()), null);
    assert.equal(log.entries.length, 1);
    assert.equal(log.entries[0]?.level, "warning");
    assert.match(String(log.entries[0]?.fields.cause), cause);
    assert.equal(log.entries[0]?.fields.rejected, 1);
    assert.ok(!log.text.includes(SECRET) && !log.text.includes("eyJ"));
  });
}

Deno.test("bytes that are no UTF-8, and no JSON, are refused", () => {
  for (const body of [Uint8Array.of(0x7b, 0xff, 0x7d), encode("not JSON"), encode("[]"), encode("null")]) {
    const { receive, refusals } = receiver();
    assert.equal(receive(body, sign(body)), null);
    assert.match(String(refusals()[0]?.fields.cause), /not a LiveKit webhook/);
  }
});

Deno.test("a minute that the clocks differ is allowed for, on either side", () => {
  for (const claims of [{ exp: inSeconds(-55) }, { nbf: inSeconds(55) }]) {
    assert.notEqual(receiver().webhooks.judge(signWebhook(KEY, VECTOR, claims)), null);
  }
});

Deno.test("refusals are said once a minute per cause, with their number", () => {
  const { webhooks, log } = receiver();
  for (let count = 0; count < 100; count++) webhooks.judge("");
  webhooks.judge(sign(VECTOR, { key: "APIxyz" }));
  assert.deepEqual(log.written.map(({ fields }) => fields.rejected), [1, 101]);
});

function tamper(jwt: string): string {
  // The last character of a base64url text may hold unused bits: change one before it.
  const at = jwt.length - 5;
  return `${jwt.slice(0, at)}${jwt[at] === "A" ? "B" : "A"}${jwt.slice(at + 1)}`;
}

function withHeader(header: object): string {
  return signJwt(SECRET, { iss: "devkey", exp: inSeconds(300), sha256: VECTOR_SHA256 }, header);
}
