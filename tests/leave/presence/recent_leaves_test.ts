// What webhooks tell out of their order: the beginning of a session after its end, an end after that of a later session.

import assert from "node:assert/strict";
import { RecentLeaves } from "../../../lib/leave/presence/recent_leaves.ts";
import type { ParticipantEvent } from "../../../lib/leave/store/store.ts";
import type { Identity, RoomAlias } from "../../../lib/livekit/identity.ts";

const [room, identity] = ["room" as RoomAlias, "hash" as Identity];

function joined(sid: string, createdAt: number): ParticipantEvent {
  return { type: "joined", room, identity, sid, createdAt };
}

function left(sid: string, createdAt: number, reason = "CLIENT_INITIATED"): ParticipantEvent {
  return { type: "left", room, identity, sid, reason, createdAt };
}

Deno.test("a beginning that is told after the end tells of that end, when it was told", () => {
  const leaves = new RecentLeaves(() => 0);
  assert.deepEqual(leaves.learn(joined("PA_1", 1)), joined("PA_1", 1));
  leaves.learn(left("PA_1", 5));
  assert.deepEqual(leaves.learn(joined("PA_1", 9)), left("PA_1", 5));
  assert.deepEqual(leaves.learn(joined("PA_2", 9)), joined("PA_2", 9));
});

Deno.test("an end told again, late, does not hide that of a later session", () => {
  const leaves = new RecentLeaves(() => 0);
  leaves.learn(left("PA_1", 1));
  leaves.learn(joined("PA_2", 2));
  leaves.learn(left("PA_2", 3));
  leaves.learn(left("PA_1", 1));
  assert.ok(leaves.isOver(room, identity, "PA_2"));
  assert.deepEqual(leaves.learn(joined("PA_2", 2)), left("PA_2", 3));
});

Deno.test("who was replaced by another session of theirs has not left", () => {
  const leaves = new RecentLeaves(() => 0);
  leaves.learn(left("PA_1", 1, "DUPLICATE_IDENTITY"));
  assert.ok(!leaves.has(room, [identity]));
  assert.deepEqual(leaves.learn(joined("PA_1", 2)), joined("PA_1", 2));
});
