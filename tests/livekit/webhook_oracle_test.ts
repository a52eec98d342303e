// LiveKit's own receiver as an oracle: what it takes is taken here, what it refuses is refused, and both read the same.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { WebhookReceiver as LiveKitReceiver } from "livekit-server-sdk";
import { parseWebhook } from "../../lib/livekit/sfu_event.ts";
import { WebhookReceiver } from "../../lib/livekit/webhook_receiver.ts";
import { Secret } from "../../lib/secret.ts";
import { byteMutation } from "../../testing/mutations.ts";
import { RecordingLog } from "../../testing/recording_log.ts";
import { signJwt } from "../../testing/signed_webhook.ts";

const RUNS = 600;
const KEY = "devkey";
const SECRET = "a secret of at least 32 characters";

const oracle = new LiveKitReceiver(KEY, SECRET);

/** The oracle's event; null where it refuses. A leeway of 60 s is LiveKit's own. */
function read(body: string, authorization: string): Promise<unknown> {
  return oracle.receive(body, authorization, false, 60).then((event) => event.toJson(), () => null);
}

function readHere(body: string, authorization: string): unknown {
  const apiKeys = [{ name: KEY, secret: new Secret(SECRET) }];
  const receiver = new WebhookReceiver({ apiKeys, clock: { now: Date.now }, log });
  const bytes = new TextEncoder().encode(body);
  const claims = receiver.judge(authorization);
  if (claims === null || receiver.read(bytes, claims) === null) return null;
  return parseWebhook(bytes)?.toJson() ?? null;
}

const log = new RecordingLog();

const oddValue = fc.constantFrom<unknown[]>(undefined, null, "", "1", 1, -1, 1.5, true, [], {}, [1], "x".repeat(300));

const often = <T>(good: fc.Arbitrary<T>, other: fc.Arbitrary<unknown>) =>
  fc.oneof({ weight: 9, arbitrary: good as fc.Arbitrary<unknown> }, { weight: 1, arbitrary: other });

const bodies = fc.record({
  event: often(fc.constantFrom("participant_joined", "participant_left", "room_finished", "egress_ended"), oddValue),
  id: often(fc.uuid(), oddValue),
  createdAt: often(fc.constantFrom("1700000000", 1_700_000_000, "-1"), oddValue),
  room: often(fc.record({ name: fc.constant("room"), future: oddValue }), oddValue),
  participant: often(
    fc.record({
      identity: fc.constantFrom("@jürgen:example.org:Ä", "alice"),
      disconnectReason: often(fc.constantFrom("CLIENT_INITIATED", 2, 999, "OF_THE_FUTURE"), oddValue),
      state: often(fc.constantFrom("ACTIVE", 3), oddValue),
    }),
    oddValue,
  ),
}, { requiredKeys: ["event"] }).map((event) => JSON.stringify(event));

// The oracle takes text: bytes that are none reach it as something else.
const texts = often(
  bodies,
  fc.tuple(bodies, byteMutation()).map(([body, mutate]) =>
    new TextDecoder().decode(mutate(new TextEncoder().encode(body)))
  ),
).map(String);

const mostly = (good: unknown, ...others: unknown[]) =>
  often(fc.constant(good), fc.oneof(fc.constantFrom<unknown[]>(undefined, ...others), oddValue));

// Seconds from now; none at the edge of the leeway, since two clocks are read.
const webhooks = fc.record({
  body: texts,
  hashed: mostly("base64", "base64url", "hex", "other"),
  iss: mostly(KEY, "other", KEY.toUpperCase()),
  exp: mostly(300, -30, -90, 1e300),
  nbf: mostly(0, 30, 90, -1e300),
  iat: mostly(undefined, 0, 90, -90),
  header: mostly({ alg: "HS256", typ: "JWT" }, { alg: "HS256" }, { alg: "none" }, { alg: "HS256", crit: ["x"], x: 1 }),
  secret: mostly(SECRET, `${SECRET}!`),
  change: fc.oneof({ weight: 9, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: byteMutation() }),
});

Deno.test(`of ${RUNS} webhooks just those are taken that LiveKit's own library takes, and read as it reads them`, async () => {
  const outcomes = { taken: 0, refused: 0 };
  await fc.assert(
    fc.asyncProperty(webhooks, async ({ body, hashed, header, secret, change, ...claims }) => {
      const now = Math.floor(Date.now() / 1000);
      const at = (value: unknown) => typeof value === "number" ? now + value : value;
      const { iss, exp, nbf, iat } = claims;
      const jwt = signJwt(String(secret), {
        ...{ iss, exp: at(exp), nbf: at(nbf), iat: at(iat) },
        sha256: hashOf(body, hashed),
      }, typeof header === "object" && header !== null ? header : { alg: header });
      const authorization = change === null ? jwt : Buffer.from(change(Buffer.from(jwt))).toString("latin1");
      if (authorization.length > 8192 || body.startsWith("\ufeff")) return;
      const expected = await read(body, authorization);
      const event = readHere(body, authorization);
      // Its decoder skips white space and takes another alphabet.
      if (change !== null && event === null) return;
      assert.deepEqual(event, expected);
      outcomes[expected === null ? "refused" : "taken"]++;
    }),
    { numRuns: RUNS },
  );
  assert.ok(outcomes.taken > RUNS / 10 && outcomes.refused > RUNS / 10, JSON.stringify(outcomes));
});

function hashOf(body: string, how: unknown): unknown {
  if (how === "other") return createHash("sha256").update(`${body} `).digest("base64");
  const digest = createHash("sha256").update(body);
  return how === "base64" || how === "base64url" || how === "hex" ? digest.digest(how) : how;
}
