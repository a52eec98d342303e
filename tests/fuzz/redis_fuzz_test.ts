// What Redis may answer, damaged in any way, through the parts that read it: each answer is taken in as shards, jobs and
// events that make sense, or refused as a whole, so that Redis counts as away; and what is nobody's word goes nowhere.

import assert from "node:assert/strict";
import fc from "fast-check";
import type { Clock } from "../../lib/async/clock.ts";
import { RedisChanges } from "../../lib/leave/store/redis/changes.ts";
import { RedisCommands, SHARD_COUNT, shardOf, shardOfField } from "../../lib/leave/store/redis/commands.ts";
import { RedisConnection, RedisError } from "../../lib/leave/store/redis/connection.ts";
import { RedisShards } from "../../lib/leave/store/redis/shards.ts";
import { RedisTokenBuckets } from "../../lib/leave/store/redis/token_buckets.ts";
import type { ParticipantEvent, StoredJob } from "../../lib/leave/store/store.ts";
import { decodeJob, encodeJob } from "../../lib/leave/store/stored_job.ts";
import { RecordingLog } from "../../testing/recording_log.ts";
import { targetOf } from "../redis/replica.ts";
import { byteMutation } from "../../testing/mutations.ts";
import { type Case, run } from "./campaign.ts";

const CASES = 10_000;
const NOW = Date.UTC(2026, 10, 24);
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
const EVENT = (type: string) => JSON.stringify({ type, room: "room", identity: "identity", sid: "PA_1", reason: "X" });
const SAMPLE = decodeJob({ field: FIELD, value: VALUE }, NOW) ?? assert.fail();
const SHARD = shardOf(SAMPLE.room);
const TAG = "{lk-jwt:jobs}";

/** The answers to all that is asked in one case, good ones. */
const GOOD = {
  leaveBeat: ["7", 2, 32, 700, Array.from({ length: SHARD_COUNT }, (_, shard) => shard === SHARD ? "replica 7" : "")],
  leaveAccept: [["known", "here", VALUE]],
  leaveScan: ["0", 1, JOBS],
  leaveRead: [THIRD],
  leaveWrite: [["replaced", OTHER]],
  leaveTrim: [4],
  leaveTakeToken: [120, "2.5", "1000"],
  xread: [[`${TAG}:ownership`, [["1-0", ["owner", ""]]]], [`${TAG}:stream:${SHARD}`, [
    ["1-1", ["event", EVENT("joined")]],
    ["1-2", ["event", EVENT("left")]],
    ["1-3", ["event", EVENT("aborted")]],
    ["1-4", ["job", '["room","third"]']],
  ]]],
} as const;

type Question = keyof typeof GOOD;
type Replies = Readonly<Record<Question, unknown>>;

interface Input {
  readonly replies: Replies;
  readonly damaged: Question | null;
  /** A field of the hash. */
  readonly field: string;
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
const fields = byteMutation().map((mutate) => new TextDecoder().decode(mutate(new TextEncoder().encode(FIELD))));
const inputs: fc.Arbitrary<Case<Input>> = fc.oneof(
  {
    weight: 1,
    arbitrary: fields.map((field) => ({ input: { replies: GOOD, damaged: null, field }, isMutated: false })),
  },
  {
    weight: 9,
    arbitrary: fc.constantFrom(...questions).chain((damaged) =>
      fc.tuple(mutated(GOOD[damaged]), fields).map(([reply, field]) => ({
        input: { replies: { ...GOOD, [damaged]: reply }, damaged, field },
        isMutated: true,
      }))
    ),
  },
);

/** The parts that read Redis, over clients that answer as they are told; nothing connects. */
class Reading {
  readonly log = new RecordingLog();
  readonly adopted: StoredJob[] = [];
  readonly events: ParticipantEvent[] = [];
  readonly commands: RedisCommands;
  readonly shards: RedisShards;
  readonly changes: RedisChanges;
  readonly buckets: RedisTokenBuckets;
  readonly #redis: RedisConnection;
  /** What came to nothing. */
  refusal: unknown = null;

  constructor(replies: Replies) {
    this.#redis = new RedisConnection({ target: targetOf("redis://127.0.0.1:1"), replica: "replica", log: this.log });
    for (const [name, reply] of Object.entries(replies)) {
      Reflect.set(this.#redis.client, name, () => Promise.resolve(structuredClone(reply)));
    }
    this.#redis.wait = () => Promise.resolve(structuredClone(replies.xread) as never);
    this.commands = new RedisCommands(this.#redis);
    this.changes = new RedisChanges({ commands: this.commands, tokenOf: () => "replica 7", onResult: () => {} });
    this.shards = new RedisShards({
      ...{ redis: this.#redis, commands: this.commands, changes: this.changes, log: this.log },
      clock: new ClockOfNow(),
      isAhead: () => false,
      handOver: () => {},
      onRecover: () => {},
      flush: () => Promise.resolve(),
      listener: {
        isFull: () => false,
        adopt: (jobs) => void this.adopted.push(...jobs),
        deliver: (event) => void this.events.push(event),
        isBusy: () => false,
        release: () => {},
        gap: () => {},
      },
    });
    this.#redis.down = (error) => this.refusal ??= error;
    this.buckets = new RedisTokenBuckets({ redis: this.#redis, monotonicNow: () => 0 });
  }

  /** Asks everything; the first answer that is refused ends it. */
  async all(): Promise<void> {
    await this.shards.beat();
    await this.shards.idle();
    if (this.refusal !== null) throw this.refusal;
    const [accepted] = await this.commands.accept([{ ...encodeJob(SAMPLE), shard: SHARD, kind: "new" }]) ?? [];
    if (accepted?.value) this.shards.adopt([{ field: FIELD, value: accepted.value }], false);
    await this.shards.takeNext("0");
    this.changes.put(SAMPLE);
    await this.changes.flush();
  }

  async close(): Promise<void> {
    await this.shards.stop();
    await this.#redis.close();
  }
}

/** Time stands still. */
class ClockOfNow implements Clock {
  readonly now = () => NOW;
  readonly monotonicNow = () => 0;
  readonly setTimer = () => () => {};
  readonly sleep = () => Promise.resolve();
}

function assertMakeSense({ adopted, events, log }: Reading): void {
  for (const { room, identity, watched, delayId, delayMs, timerStartedAt } of adopted) {
    assert.ok([room, identity, delayId].every((text) => typeof text === "string" && text !== ""));
    assert.ok(watched.includes(identity) && delayMs > 0 && Number.isFinite(timerStartedAt));
  }
  for (const { type, room, identity, sid } of events) {
    assert.ok(["joined", "left", "aborted"].includes(type));
    assert.ok([room, identity, sid].every((text) => typeof text === "string" && text.length <= 256));
  }
  assert.deepEqual(log.of("error"), []);
}

Deno.test(`${CASES} answers of Redis are taken in, or refused`, async () => {
  await run({
    name: "Redis",
    cases: CASES,
    arbitrary: inputs,
    run: async ({ replies, damaged, field }) => {
      const reading = new Reading(replies);
      try {
        const shard = shardOfField(field);
        assert.ok(shard === null || shard >= 0 && shard < SHARD_COUNT);
        const refusal = await reading.all().then(() => null, (error: unknown) => error);
        if (refusal !== null && !(refusal instanceof RedisError)) throw refusal;
        const { waitMs, shared } = await reading.buckets.take("example.com", { burst: 5, perSecond: 1, learntAt: 0 });
        assert.ok(Number.isFinite(waitMs) && waitMs >= 0);
        assert.ok(shared === null || Number.isFinite(shared.perSecond) && shared.perSecond > 0);
        assertMakeSense(reading);
        if (damaged === null) {
          assert.deepEqual([refusal, reading.adopted.length, reading.events.length], [null, 3, 3]);
        }
        return `${damaged ?? "nothing"} damaged: ${refusal === null ? "taken in" : "refused"}`;
      } finally {
        await reading.close();
      }
    },
    mustReach: [
      "nothing damaged: taken in",
      ...questions.map((name) => `${name} damaged: taken in`),
      ...questions.filter((name) => name !== "leaveTakeToken").map((name) => `${name} damaged: refused`),
    ],
  });
});
