// What Redis may answer, damaged in any way, through the parts that read it: each answer is taken in as rooms, jobs and
// events that make sense, or refused as a whole, so that Redis counts as away; and what is nobody's word goes nowhere.

import assert from "node:assert/strict";
import fc from "fast-check";
import { ValiError } from "valibot";
import { RedisTokenBuckets } from "../../lib/leave/store/redis/token_buckets.ts";
import { RedisChanges } from "../../lib/leave/store/redis/changes.ts";
import { RedisClaims } from "../../lib/leave/store/redis/claims.ts";
import { readRoom, RedisCommands } from "../../lib/leave/store/redis/commands.ts";
import { RedisConnection, RedisError } from "../../lib/leave/store/redis/connection.ts";
import { RedisRooms } from "../../lib/leave/store/redis/rooms.ts";
import type { ParticipantEvent, StoredJob } from "../../lib/leave/store/store.ts";
import { decodeJob, encodeJob } from "../../lib/leave/store/stored_job.ts";
import { RecordingLog } from "../../testing/recording_log.ts";
import { targetOf } from "../redis/replica.ts";
import { byteMutation } from "../../testing/mutations.ts";
import { type Case, run } from "./campaign.ts";

const CASES = 10_000;
const NOW = Date.UTC(2026, 10, 24);
const LEASE_MS = 3000;
const ROOM = '"room"';
const TOKEN = "replica 7";
const FIELD = '["room","identity"]';

const VALUE = JSON.stringify({
  Params: {
    DelayId: "syd_1",
    DelayTimeout: 3_600_000_000_000,
    ServerName: "example.com",
    LiveKitRoom: "room",
    LiveKitIdentity: "identity",
  },
  RestartedAt: new Date(NOW).toISOString(),
  State: "connected",
  Watched: ["identity", "@alice:example.com:DEVICE"],
});
const OTHER = VALUE.replace('"identity"', '"other"').replace("syd_1", "syd_2");
const THIRD = OTHER.replace('"other"', '"third"').replace("syd_2", "syd_3");
const JOBS = [FIELD, VALUE, '["room","other"]', OTHER.replace('["identity"', '["other"')];
const EVENT = (type: string) => `E${JSON.stringify({ type, identity: "identity", sid: "PA_1", reason: "X" })}`;
const ENTRIES = [EVENT("joined"), "", EVENT("left"), "", EVENT("aborted"), "", `J${FIELD}`, VALUE];
const SAMPLE = decodeJob({ field: FIELD, value: VALUE }, NOW) ?? assert.fail();

/** The answers to all that is asked in one case, good ones. */
const GOOD = {
  leaveBeat: ["session", 2, 1, 2, 2, [ROOM]],
  leaveClaim: [0, [[ROOM, TOKEN, JOBS, ENTRIES]]],
  leaveAccept: ["here", TOKEN, JOBS, ENTRIES],
  leaveRoute: "elsewhere",
  leaveTake: [[ROOM, ENTRIES]],
  leaveWrite: [["replaced", OTHER], ["done", ""]],
  leaveReclaim: [[ROOM, TOKEN, [FIELD, '["room","other"]', '["room","third"]'], ENTRIES]],
  leaveMine: [[ROOM, TOKEN]],
  leaveAllow: 120,
  // Of the fields that are not known yet.
  hmget: [THIRD],
} as const;

type Question = keyof typeof GOOD;
type Replies = Readonly<Record<Question, unknown>>;

interface Input {
  readonly replies: Replies;
  readonly damaged: Question | null;
  /** What is published on the channel of this replica. */
  readonly message: string;
}

const hard = fc.oneof(
  fc.constantFrom<unknown[]>(null, undefined, "", "here", 0, -1, 1.5, 1e300, NaN, true, [], [[]], [null], {}, '"x"'),
  fc.constantFrom<unknown[]>("[", '"\\ud800"', "E", "J", "E{}", 'E{"type":"left"}', `J${FIELD}`, "x".repeat(2000)),
  fc.jsonValue(),
);

/** An answer with one of its parts, at any depth, gone, there twice, or another; or with one of its texts damaged. */
function mutated(reply: unknown): fc.Arbitrary<unknown> {
  const paths = pathsIn(reply);
  return fc.record({ path: fc.constantFrom(...paths), how: fc.nat(5), value: hard, mutate: byteMutation() }).map(
    ({ path, how, value, mutate }) =>
      changed(reply, path, (part) => {
        if (how === 0) return [];
        if (how === 1) return [part, part];
        if (how > 3 || typeof part !== "string") return [value];
        return [new TextDecoder().decode(mutate(new TextEncoder().encode(part)))];
      }),
  );
}

function pathsIn(value: unknown): number[][] {
  if (!Array.isArray(value)) return [[]];
  return [[], ...value.flatMap((part: unknown, at) => pathsIn(part).map((path) => [at, ...path]))];
}

function changed(value: unknown, [at, ...rest]: readonly number[], change: (part: unknown) => unknown[]): unknown {
  if (at === undefined || !Array.isArray(value)) return change(value)[0];
  const parts: unknown[] = value;
  return parts.flatMap((part, index) => {
    if (index !== at) return [part];
    return rest.length > 0 ? [changed(part, rest, change)] : change(part);
  });
}

const questions = Object.keys(GOOD).filter((name): name is Question => name in GOOD);
const messages = byteMutation().map((mutate) => new TextDecoder().decode(mutate(new TextEncoder().encode(ROOM))));
const inputs: fc.Arbitrary<Case<Input>> = fc.oneof(
  {
    weight: 1,
    arbitrary: messages.map((message) => ({ input: { replies: GOOD, damaged: null, message }, isMutated: false })),
  },
  {
    weight: 9,
    arbitrary: fc.constantFrom(...questions).chain((damaged) =>
      fc.tuple(mutated(GOOD[damaged]), messages).map(([reply, message]) => ({
        input: { replies: { ...GOOD, [damaged]: reply }, damaged, message },
        isMutated: true,
      }))
    ),
  },
);

/** The parts that read Redis, over a client that answers as it is told; nothing connects. */
class Reading {
  readonly log = new RecordingLog();
  readonly adopted: StoredJob[] = [];
  readonly events: ParticipantEvent[] = [];
  readonly commands: RedisCommands;
  readonly rooms: RedisRooms;
  readonly changes: RedisChanges;
  readonly buckets: RedisTokenBuckets;
  readonly #redis: RedisConnection;

  constructor(replies: Replies) {
    const now = () => NOW;
    const monotonicNow = () => 0;
    this.#redis = new RedisConnection({
      target: targetOf("redis://127.0.0.1:1"),
      replica: "replica",
      monotonicNow,
      log: this.log,
    });
    for (const [name, reply] of Object.entries(replies)) {
      Reflect.set(this.#redis.client, name, () => Promise.resolve(structuredClone(reply)));
    }
    this.commands = new RedisCommands(this.#redis);
    const claims = new RedisClaims({ now, monotonicNow });
    this.changes = new RedisChanges({ commands: this.commands, claims, onResult: () => {} });
    this.rooms = new RedisRooms({
      ...{ claims, commands: this.commands, changes: this.changes, now, log: this.log },
      isSuperseded: () => false,
      handOver: () => {},
      listener: {
        isFull: () => false,
        adopt: (jobs) => void this.adopted.push(...jobs),
        deliver: (event) => void this.events.push(event),
        release: () => {},
        gap: () => {},
      },
    });
    this.#redis.up(1);
    this.buckets = new RedisTokenBuckets({ redis: this.#redis, monotonicNow });
  }

  /** Asks everything; the first answer that is refused ends it. */
  async all(): Promise<void> {
    const beat = await this.commands.beat(LEASE_MS);
    assert.ok([beat.replicas, beat.freeRooms].every((count) => typeof count === "number"));
    assert.ok(beat.rooms.every((room) => typeof room === "string"));
    const accepted = await this.commands.accept(SAMPLE.room, encodeJob(SAMPLE), false);
    if (accepted.owner === "here") this.rooms.own(SAMPLE.room, accepted);
    assert.ok(["here", "elsewhere"].includes(await this.commands.route({ ...JOINED, room: SAMPLE.room })));
    const { rooms } = await this.commands.claim(100);
    for (const { room, ...claimed } of rooms) this.rooms.own(room, claimed);
    await this.rooms.take([SAMPLE.room]);
    await this.rooms.reclaimAll();
    this.changes.put(SAMPLE);
    await this.changes.flush();
  }

  async close(): Promise<void> {
    await this.#redis.close();
  }
}

const JOINED = { type: "joined", identity: SAMPLE.identity, sid: "PA_1" } as const;

function assertMakeSense({ adopted, events, log }: Reading): void {
  for (const { room, identity, watched, delayId, delayMs, timerStartedAt } of adopted) {
    assert.ok([room, identity, delayId].every((text) => typeof text === "string" && text !== ""));
    assert.ok(watched.includes(identity) && delayMs > 0 && Number.isFinite(timerStartedAt));
  }
  for (const { type, room, identity, sid } of events) {
    assert.ok(["joined", "left", "aborted"].includes(type));
    assert.ok([room, identity, sid].every((text) => typeof text === "string"));
  }
  assert.deepEqual(log.of("error"), []);
}

Deno.test(`${CASES} answers of Redis are taken in, or refused`, async () => {
  await run({
    name: "Redis",
    cases: CASES,
    arbitrary: inputs,
    run: async ({ replies, damaged, message }) => {
      const reading = new Reading(replies);
      try {
        const room = readRoom(message);
        assert.ok(room === null || typeof room === "string");
        const { waitMs } = await reading.buckets.take("example.com", { burst: 5, perSecond: 1, learntAt: 0 });
        assert.ok(Number.isFinite(waitMs) && waitMs >= 0);
        const refusal = await reading.all().then(() => null, (error: unknown) => error);
        if (refusal !== null && !(refusal instanceof ValiError || refusal instanceof RedisError)) throw refusal;
        assertMakeSense(reading);
        if (damaged === null) {
          assert.deepEqual([refusal, reading.adopted.length, reading.events.length], [null, 3, 12]);
        }
        return `${damaged ?? "nothing"} damaged: ${refusal === null ? "taken in" : "refused"}`;
      } finally {
        await reading.close();
      }
    },
    mustReach: [
      "nothing damaged: taken in",
      ...questions.map((name) => `${name} damaged: taken in`),
      ...questions.filter((name) => name !== "leaveAllow").map((name) => `${name} damaged: refused`),
    ],
  });
});
