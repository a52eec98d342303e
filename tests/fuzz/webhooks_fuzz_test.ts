// Webhook bodies and their signatures, through the queue: each is taken in as an event that makes sense, or ignored;
// none is a bug, and none counts that is not signed.

import assert from "node:assert/strict";
import fc from "fast-check";
import type { SfuEvent } from "../../lib/livekit/sfu_event.ts";
import { WebhookQueue } from "../../lib/livekit/webhook_queue.ts";
import { WebhookReceiver } from "../../lib/livekit/webhook_receiver.ts";
import { Secret } from "../../lib/secret.ts";
import { RecordingLog } from "../../testing/recording_log.ts";
import { byteMutation } from "../../testing/mutations.ts";
import { signWebhook } from "../../testing/signed_webhook.ts";
import { type Case, run } from "./campaign.ts";
import { documents } from "./json_mutations.ts";

const CASES = 10_000;
const KEY = { name: "devkey", secret: "a secret of at least 32 characters" };

interface Input {
  readonly body: Uint8Array;
  readonly authorization: string;
  /** Whether body and signature belong together. */
  readonly isGenuine: boolean;
}

const events = fc.record({
  event: fc.constantFrom(
    "participant_joined",
    "participant_left",
    "participant_connection_aborted",
    "room_finished",
    "x",
  ),
  room: fc.record({ name: fc.constantFrom("room", "krj2dgxw"), sid: fc.constant("RM_1"), numParticipants: fc.nat(9) }),
  participant: fc.record({
    identity: fc.constantFrom("alice", "@alice:example.com:DEVICE"),
    sid: fc.constant("PA_1"),
    disconnectReason: fc.constantFrom<(string | number)[]>("CLIENT_INITIATED", "DUPLICATE_IDENTITY", 1, 99),
    permission: fc.record({ canPublish: fc.boolean() }),
  }),
  id: fc.uuid(),
  createdAt: fc.constantFrom<(string | number)[]>("1700000000", 1_700_000_000),
});

const inputs: fc.Arbitrary<Case<Input>> = fc.tuple(documents(events), fc.option(byteMutation()), fc.nat(2)).map(
  ([{ input: body, isMutated }, mutate, what]) => {
    const authorization = signWebhook(KEY, body);
    if (mutate === null || what > 0) return { input: { body, authorization, isGenuine: true }, isMutated };
    // The signature, or the body after it was signed.
    const changed = Buffer.from(mutate(Buffer.from(authorization))).toString("latin1");
    const other = mutate(body);
    const isSame = changed === authorization && Buffer.compare(other, body) === 0;
    return {
      input: isMutated
        ? { body, authorization: changed, isGenuine: isSameJwt(changed, authorization) }
        : { body: other, authorization, isGenuine: Buffer.compare(other, body) === 0 },
      isMutated: !isSame,
    };
  },
);

// The last character of a signature in base64url has two bits that do not count: another one may say the same.
function isSameJwt(left: string, right: string): boolean {
  const [, , leftSignature = ""] = left.split(".");
  const [, , rightSignature = ""] = right.split(".");
  const bytes = (text: string) => Buffer.from(text, "base64url").toString("hex");
  return left.slice(0, left.lastIndexOf(".")) === right.slice(0, right.lastIndexOf(".")) &&
    bytes(leftSignature) === bytes(rightSignature);
}

Deno.test(`${CASES} webhooks are events that make sense, or ignored`, async () => {
  const log = new RecordingLog();
  const apiKeys = [{ name: KEY.name, secret: new Secret(KEY.secret) }];
  const receiver = new WebhookReceiver({ apiKeys, clock: { now: Date.now }, log });
  const taken: SfuEvent[] = [];
  const queue = new WebhookQueue({
    receiver,
    listeners: [(event) => void taken.push(event)],
    onLost: () => assert.fail("nothing is lost"),
    log,
  });
  await run({
    name: "webhooks",
    cases: CASES,
    arbitrary: inputs,
    run: async ({ body, authorization, isGenuine }) => {
      const claims = receiver.judge(authorization);
      if (claims === null) return "does not verify";
      const before = log.of("debug").length;
      queue.put(body, claims);
      await queue.settle();
      assert.deepEqual(log.of("error"), []);
      const [event] = taken.splice(0);
      if (event === undefined) return log.of("debug").length > before ? "seen before" : "does not verify";
      assert.ok(isGenuine);
      if (event.type === "joined" || event.type === "left" || event.type === "aborted") {
        assert.ok(
          [event.room, event.identity, event.sid, event.reason].every((text) => Buffer.byteLength(text) <= 256),
        );
        assert.ok(event.createdAt <= Date.now());
      }
      return event.type;
    },
    tidy: () => log.entries.length = 0,
    mustReach: ["joined", "left", "aborted", "room-finished", "other", "does not verify"],
  });
});
