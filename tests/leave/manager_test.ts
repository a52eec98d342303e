// Delegated leaves as a whole: the manager over a played SFU and a played homeserver, in virtual time.

import assert from "node:assert/strict";
import { LeaveManager } from "../../lib/leave/manager.ts";
import { LocalAllowance } from "../../lib/leave/pacing.ts";
import type { ActionOutcome } from "../../lib/leave/events.ts";
import { MemoryStore } from "../../lib/leave/store.ts";
import type { Identity, RoomAlias } from "../../lib/livekit/identity.ts";
import { parseServerName, type ServerName } from "../../lib/matrix/server_name.ts";
import { RecordingLog } from "../http/recording_log.ts";

const ROOM = "room" as RoomAlias;
const ALICE = "@alice:example.com:DEVICE" as Identity;
const HASHED = "hashed identity of Alice" as Identity;
const DELAY_MS = 10_000;

class World {
  now = 1_000_000;
  readonly log = new RecordingLog();
  readonly present = new Map<Identity, string>();
  isSfuDown = false;
  /** What the homeserver does with a call, if not what it should. */
  fault: (action: string) => ActionOutcome | null = () => null;
  readonly calls: { at: number; action: string; delayId: string }[] = [];
  /** Delay ID → when the homeserver's own timer fires. */
  readonly timers = new Map<string, number>();
  readonly fired: string[] = [];
  readonly sent: string[] = [];
  readonly manager: LeaveManager;
  #pending: { at: number; run: () => void }[] = [];

  constructor() {
    this.manager = new LeaveManager({
      store: new MemoryStore(),
      allowance: new LocalAllowance(() => this.now),
      sfu: {
        getParticipant: (_room, identity) => {
          const sid = this.present.get(identity);
          if (this.isSfuDown) return Promise.resolve({ outcome: "unknown", cause: "down" });
          return Promise.resolve(sid === undefined ? { outcome: "absent" } : { outcome: "present", sid });
        },
        listParticipants: () => this.isSfuDown ? Promise.reject(new Error("down")) : Promise.resolve(this.present),
      },
      delayedEvents: { act: (_server, delayId, action) => Promise.resolve(this.#act(delayId, action)) },
      now: () => this.now,
      monotonicNow: () => this.now,
      random: () => 0.5,
      setTimer: (run, delayMs) => {
        const timer = { at: this.now + Math.max(delayMs, 0), run };
        this.#pending.push(timer);
        return () => this.#pending = this.#pending.filter((other) => other !== timer);
      },
      log: this.log,
      sweepIntervalMs: 60_000,
    });
  }

  static async start(): Promise<World> {
    const world = new World();
    await world.manager.start();
    return world;
  }

  async handOver(delayId = "syd_1", delayMs = DELAY_MS): Promise<void> {
    this.timers.set(delayId, this.now + delayMs);
    const homeserver = serverName("example.com");
    await this.manager.accept({ room: ROOM, identity: HASHED, watched: [HASHED, ALICE], homeserver, delayId, delayMs });
    await this.pass(0);
  }

  async tell(type: "joined" | "left" | "aborted", identity: Identity, sid: string, reason = ""): Promise<void> {
    await this.manager.receive({ type, room: ROOM, identity, sid, reason });
    await this.pass(0);
  }

  /** Lets time go by. */
  async pass(durationMs: number): Promise<void> {
    const until = this.now + durationMs;
    for (;;) {
      await turns();
      const next = this.#pending.toSorted((left, right) => left.at - right.at)[0];
      const homeserverNext = Math.min(...this.timers.values());
      const at = Math.min(next?.at ?? Infinity, homeserverNext);
      if (at > until) break;
      this.now = Math.max(this.now, at);
      for (const [delayId, firesAt] of this.timers) {
        if (firesAt > this.now) continue;
        this.timers.delete(delayId);
        this.fired.push(delayId);
      }
      if (next !== undefined && next.at <= this.now) {
        this.#pending = this.#pending.filter((timer) => timer !== next);
        next.run();
      }
    }
    this.now = until;
    await turns();
  }

  get jobs(): number {
    const { waiting, connected, leaving } = this.manager.counts;
    return waiting + connected + leaving;
  }

  #act(delayId: string, action: "restart" | "send"): { outcome: ActionOutcome; story: string } {
    this.calls.push({ at: this.now, action, delayId });
    const fault = this.fault(action);
    if (fault !== null) return { outcome: fault, story: "a fault" };
    if (!this.timers.has(delayId)) return { outcome: { kind: "gone", how: "not-found" }, story: "status 404" };
    if (action === "restart") this.timers.set(delayId, this.now + DELAY_MS);
    else {
      this.timers.delete(delayId);
      this.sent.push(delayId);
    }
    return { outcome: { kind: "done" }, story: "status 200" };
  }
}

function serverName(text: string): ServerName {
  const name = parseServerName(text);
  assert.ok(name !== null);
  return name;
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 60; turn++) await Promise.resolve();
}

async function inWorld(play: (world: World) => Promise<void>): Promise<void> {
  const world = await World.start();
  try {
    await play(world);
  } finally {
    await world.manager.close();
  }
}

Deno.test("an event is postponed as long as its participant is in the call, and sent when they have left", () =>
  inWorld(async (world) => {
    world.present.set(ALICE, "PA_1");
    await world.handOver(); // the join was before
    await world.pass(120_000);
    assert.deepEqual([world.fired, world.sent, world.jobs], [[], [], 1]);
    world.present.clear();
    await world.tell("left", ALICE, "PA_1", "CLIENT_INITIATED");
    await world.pass(2000);
    assert.deepEqual([world.sent, world.jobs], [["syd_1"], 0]);
  }));

Deno.test("a reconnect under the same identity is not a leave", () =>
  inWorld(async (world) => {
    await world.tell("joined", ALICE, "PA_1");
    world.present.set(ALICE, "PA_1");
    await world.handOver();
    world.present.set(ALICE, "PA_2");
    await world.tell("left", ALICE, "PA_1", "DUPLICATE_IDENTITY");
    await world.tell("joined", ALICE, "PA_2");
    await world.pass(60_000);
    assert.deepEqual([world.sent, world.fired], [[], []]);
    await world.tell("left", ALICE, "PA_1", "CLIENT_INITIATED"); // of the old session, late
    await world.pass(30_000);
    assert.deepEqual([world.sent, world.fired], [[], []]);
  }));

Deno.test("whoever is present under either identity is present", () =>
  inWorld(async (world) => {
    world.present.set(ALICE, "PA_1");
    world.present.set(HASHED, "PA_2");
    await world.handOver();
    world.present.delete(HASHED);
    await world.tell("left", HASHED, "PA_2", "CLIENT_INITIATED");
    await world.pass(30_000);
    assert.deepEqual([world.sent, world.fired, world.jobs], [[], [], 1]);
  }));

Deno.test("after a crash of the SFU, without any webhook, whoever does not come back has left within five minutes", () =>
  inWorld(async (world) => {
    world.present.set(ALICE, "PA_1");
    await world.handOver();
    await world.tell("joined", ALICE, "PA_1");
    world.present.clear();
    await world.pass(50_000);
    assert.deepEqual([world.sent, world.fired], [[], []]);
    await world.pass(250_000);
    assert.deepEqual([world.sent, world.jobs], [["syd_1"], 0]);
  }));

Deno.test("an SFU that does not answer is no reason to send anything", () =>
  inWorld(async (world) => {
    world.present.set(ALICE, "PA_1");
    await world.handOver();
    world.isSfuDown = true;
    await world.pass(300_000);
    assert.deepEqual([world.sent, world.fired, world.jobs], [[], [], 1]);
    world.isSfuDown = false;
    world.present.clear();
    await world.tell("left", ALICE, "PA_1", "CONNECTION_TIMEOUT");
    await world.pass(5000);
    assert.deepEqual(world.sent, ["syd_1"]);
  }));

Deno.test("whoever never connects leaves when the wait is over, by us or by the homeserver's own timer", () =>
  inWorld(async (world) => {
    await world.handOver();
    await world.pass(60_000);
    assert.deepEqual([world.sent.length + world.fired.length, world.jobs], [1, 0]);
  }));

Deno.test("a client that gives its connection up by itself keeps its event", () =>
  inWorld(async (world) => {
    await world.handOver("syd_1", 3_600_000);
    await world.tell("aborted", HASHED, "PA_1", "CLIENT_INITIATED");
    await world.pass(1000);
    assert.deepEqual([world.sent, world.jobs], [[], 0]);
  }));

Deno.test("a homeserver that fails is asked on, and the leave is sent once", () =>
  inWorld(async (world) => {
    world.present.set(ALICE, "PA_1");
    await world.handOver("syd_1", 3_600_000);
    world.fault = () => ({ kind: "failed" });
    world.present.clear();
    await world.tell("left", ALICE, "PA_1", "CLIENT_INITIATED");
    await world.pass(120_000);
    assert.deepEqual([world.sent, world.jobs], [[], 1]);
    world.fault = () => null;
    await world.pass(60_000);
    assert.deepEqual([world.sent.length + world.fired.length, world.jobs], [1, 0]);
  }));

Deno.test("a homeserver that limits is obeyed, and one that refuses ends the job", () =>
  inWorld(async (world) => {
    world.present.set(ALICE, "PA_1");
    world.fault = () => ({ kind: "limited", retryAfterMs: 2000 });
    await world.handOver("syd_1", 3_600_000);
    await world.pass(1900);
    assert.equal(world.calls.length, 1);
    world.fault = () => ({ kind: "refused", why: "unauthorised" });
    await world.pass(10_000);
    assert.equal(world.jobs, 0);
    assert.equal(world.log.of("error").length > 0, true);
  }));

Deno.test("a new event for the same participant takes the old one's place, and their session goes on", () =>
  inWorld(async (world) => {
    world.present.set(ALICE, "PA_1");
    await world.handOver("syd_1");
    await world.handOver("syd_2");
    await world.pass(30_000);
    assert.equal(world.jobs, 1);
    assert.ok(world.timers.has("syd_2"));
    assert.equal(world.fired.includes("syd_2"), false);
    await world.handOver("syd_2"); // the same once more changes nothing
    assert.equal(world.jobs, 1);
  }));

Deno.test("eight participants of one homeserver share its allowance, those first whose time is nearest", () =>
  inWorld(async (world) => {
    for (let n = 0; n < 8; n++) {
      const identity = `@user${n}:example.com:D` as Identity;
      world.present.set(identity, `PA_${n}`);
      const delayId = `syd_${n}`;
      world.timers.set(delayId, world.now + 30_000);
      const homeserver = serverName("example.com");
      await world.manager.accept({ room: ROOM, identity, watched: [identity], homeserver, delayId, delayMs: 30_000 });
    }
    await world.pass(5000);
    assert.equal(new Set(world.calls.map(({ delayId }) => delayId)).size, 8);
    assert.deepEqual(world.fired, []);
  }));
