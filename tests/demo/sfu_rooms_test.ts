// How long the development SFU's rooms live, and what joining and leaving does to them.

import assert from "node:assert/strict";
import { ParticipantInfo_State } from "@livekit/protocol";
import { SfuRooms } from "../../testing/fake_sfu_rooms.ts";

const START_MS = 1_700_000_000_123;

interface Scene {
  readonly rooms: SfuRooms;
  /** Goes on by so many seconds. */
  wait(seconds: number): void;
}

function play(): Scene {
  let now = START_MS;
  return { rooms: new SfuRooms(() => now), wait: (seconds) => now += seconds * 1000 };
}

Deno.test("a room is made once and keeps its settings", () => {
  const { rooms, wait } = play();
  const { sid, ...made } = rooms.create({ name: "a", emptyTimeout: 60, departureTimeout: 5, maxParticipants: 7 });
  assert.match(sid, /^RM_\w{12}$/);
  assert.deepEqual(
    [made.name, made.emptyTimeout, made.departureTimeout, made.maxParticipants],
    ["a", 60, 5, 7],
  );
  assert.equal(made.creationTime, 1_700_000_000n);
  assert.equal(made.creationTimeMs, 1_700_000_000_123n);
  wait(10);
  const again = rooms.create({ name: "a", emptyTimeout: 1, departureTimeout: 1, maxParticipants: 1 });
  assert.deepEqual([again.sid, again.emptyTimeout, again.departureTimeout, again.maxParticipants], [sid, 60, 5, 7]);
  assert.equal(again.creationTime, 1_700_000_000n);
});

Deno.test("a room that nobody joins ends after its empty timeout, 300 s by default", () => {
  const { rooms, wait } = play();
  const { sid } = rooms.create({ name: "a" });
  wait(299.999);
  assert.equal(rooms.get("a")?.sid, sid);
  wait(0.001);
  assert.equal(rooms.get("a"), null);
  assert.notEqual(rooms.create({ name: "a" }).sid, sid);
});

Deno.test("a room lives on while somebody is in it, and 20 s more", () => {
  const { rooms, wait } = play();
  rooms.create({ name: "a" });
  rooms.join("a", { identity: "alice" });
  rooms.join("a", { identity: "bob" });
  wait(100_000);
  rooms.leave("a", "alice");
  wait(100_000);
  assert.equal(rooms.get("a")?.numParticipants, 1);
  rooms.leave("a", "bob");
  wait(19.999);
  assert.equal(rooms.get("a")?.numParticipants, 0);
  wait(0.001);
  assert.equal(rooms.get("a"), null);
});

Deno.test("asking for a room that was left does not make it live longer", () => {
  const { rooms, wait } = play();
  const { sid } = rooms.create({ name: "a" });
  rooms.join("a", { identity: "alice" });
  rooms.leave("a", "alice");
  wait(15);
  assert.equal(rooms.create({ name: "a" }).sid, sid);
  wait(5);
  assert.equal(rooms.get("a"), null);
});

Deno.test("rooms that have ended are not listed", () => {
  const { rooms, wait } = play();
  rooms.create({ name: "a", emptyTimeout: 10 });
  rooms.create({ name: "b", emptyTimeout: 20 });
  wait(9.5);
  assert.deepEqual(rooms.list().map(({ name }) => name), ["a", "b"]);
  wait(0.5);
  assert.deepEqual(rooms.list().map(({ name }) => name), ["b"]);
  assert.deepEqual(rooms.list(["a", "b", "b", "c"]).map(({ name }) => name), ["b"]);
});

Deno.test("joining again under one identity replaces the session by one with a new sid", () => {
  const { rooms } = play();
  rooms.create({ name: "a" });
  const first = rooms.join("a", { identity: "alice" });
  const second = rooms.join("a", { identity: "alice" });
  assert.match(first?.sid ?? "", /^PA_\w{12}$/);
  assert.notEqual(first?.sid, second?.sid);
  assert.deepEqual(rooms.participants("a").map(({ sid }) => sid), [second?.sid]);
  assert.equal(rooms.get("a")?.numParticipants, 1);
});

Deno.test("a participant is active until it leaves, and leaves once", () => {
  const { rooms, wait } = play();
  rooms.create({ name: "a" });
  wait(2);
  rooms.join("a", { identity: "alice", metadata: "m", video: { canPublish: false, canUpdateOwnMetadata: true } });
  const participant = rooms.participant("a", "alice");
  assert.equal(participant?.state, ParticipantInfo_State.ACTIVE);
  assert.equal(participant?.metadata, "m");
  assert.equal(participant?.joinedAtMs, 1_700_000_002_123n);
  assert.deepEqual(
    [participant?.permission?.canPublish, participant?.permission?.canSubscribe],
    [false, true],
  );
  assert.equal(participant?.permission?.canUpdateMetadata, true);
  assert.equal(rooms.leave("a", "alice")?.state, ParticipantInfo_State.DISCONNECTED);
  assert.equal(rooms.leave("a", "alice"), null);
  assert.equal(rooms.participant("a", "alice"), null);
});

Deno.test("nobody is in a room that does not exist, or gets in", () => {
  const { rooms } = play();
  assert.equal(rooms.join("a", { identity: "alice" }), null);
  assert.deepEqual(rooms.participants("a"), []);
  assert.equal(rooms.participant("a", "alice"), null);
  assert.equal(rooms.leave("a", "alice"), null);
  assert.equal(rooms.delete("a"), false);
});
