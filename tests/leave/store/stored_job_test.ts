// The text form of a stored job: what 0.6.0 wrote is read, what we write 0.6.0 can read, and nothing makes it throw.

import assert from "node:assert/strict";
import fc from "fast-check";
import type { Identity, RoomAlias } from "../../../lib/livekit/identity.ts";
import {
  decodeJob,
  encodeJob,
  fieldOf,
  isPastGivingUp,
  type StoredTexts,
} from "../../../lib/leave/store/stored_job.ts";
import type { StoredJob } from "../../../lib/leave/store/store.ts";
import { parseServerName } from "../../../lib/matrix/server_name.ts";
import { holdsOnlyFor, singleEdit } from "../../../testing/refutable.ts";
import { sampleJob } from "../sample_jobs.ts";

const NOW = Date.parse("2026-11-24T12:00:00Z");
const PARAMS = {
  DelayId: "syd_1",
  DelayTimeout: 7_200_000_000_000,
  ServerName: "example.com",
  LiveKitRoom: "room",
  LiveKitIdentity: "@a:example.com:DEVICE",
};
const FIELD = '["room","@a:example.com:DEVICE"]';

/** An entry as 0.6.0 writes it, changed. */
function entry(changes: Readonly<Record<string, unknown>>, params: Readonly<Record<string, unknown>> = {}) {
  const value = { Params: { ...PARAMS, ...params }, RestartedAt: "2026-11-24T11:59:00.5Z", ...changes };
  return { field: FIELD, value: JSON.stringify(value) };
}

Deno.test("an entry of 0.6.0 that was restarted is a connected job of which nothing else is known", () => {
  assert.deepEqual(decodeJob(entry({}), NOW), {
    room: "room",
    identity: "@a:example.com:DEVICE",
    watched: ["@a:example.com:DEVICE"],
    homeserver: "example.com",
    delayId: "syd_1",
    delayMs: 7_200_000,
    state: "connected",
    sessions: {},
    timerStartedAt: NOW - 59_500,
    delegatedAt: 0,
    connectedAt: -Infinity,
    waitUntil: NOW - 59_500 + 300_000,
    hint: "none",
    absentSince: null,
  });
});

Deno.test("an entry of 0.6.0 that was never restarted waits, five minutes from now at most", () => {
  const job = decodeJob(entry({ RestartedAt: "0001-01-01T00:00:00Z" }), NOW);
  assert.partialDeepStrictEqual(job, { state: "waiting", timerStartedAt: NOW, waitUntil: NOW + 300_000 });
  const short = decodeJob(entry({ RestartedAt: "0001-01-01T00:00:00Z" }, { DelayTimeout: 10_000_000_000 }), NOW);
  assert.equal(short?.waitUntil, NOW + 10_000);
});

const TIMES: Readonly<Record<string, number>> = {
  "2026-11-24T12:00:00Z": NOW,
  "2026-11-24T12:00:00.000000001Z": NOW,
  "2026-11-24T12:00:00.123456789Z": NOW + 123,
  "2026-11-24T12:00:00.5Z": NOW + 500,
  "2026-11-24T17:30:00.123456789+05:30": NOW + 123,
  "2026-11-23T20:59:59.999-15:00": NOW - 1,
  "2026-11-24t12:00:00z": NOW,
  "2024-02-29T00:00:00Z": Date.UTC(2024, 1, 29),
};

for (const [text, time] of Object.entries(TIMES)) {
  Deno.test(`"${text}" is read as a time`, () => {
    assert.equal(decodeJob(entry({ RestartedAt: text }), NOW)?.timerStartedAt, time);
  });
}

const NO_TIMES = [
  "",
  "2026-11-24",
  "2026-11-24T12:00:00",
  "2026-11-24 12:00:00Z",
  "2026-11-24T12:00Z",
  "2026-11-24T24:00:00Z",
  "2026-11-24T12:60:00Z",
  "2026-11-24T12:00:60Z",
  "2026-02-29T12:00:00Z",
  "2026-13-24T12:00:00Z",
  "2026-11-24T12:00:00.Z",
  "2026-11-24T12:00:00+0100",
  "2026-11-24T12:00:00+24:00",
  "+002026-11-24T12:00:00Z",
  "Tue, 24 Nov 2026 12:00:00 GMT",
  1795521600000,
  null,
];

for (const text of NO_TIMES) {
  Deno.test(`${JSON.stringify(text)} as the time of a restart makes an entry unreadable`, () => {
    assert.equal(decodeJob(entry({ RestartedAt: text }), NOW), null);
  });
}

const UNREADABLE: Readonly<Record<string, StoredTexts>> = {
  "no JSON": { field: FIELD, value: "{" },
  "an empty text": { field: FIELD, value: "" },
  "null": { field: FIELD, value: "null" },
  "a list": { field: FIELD, value: "[]" },
  "an entry without parameters": { field: FIELD, value: '{"RestartedAt":"2026-11-24T12:00:00Z"}' },
  "an entry without a time": entry({ RestartedAt: undefined }),
  "an entry under another key": { ...entry({}), field: '["room","@b:example.com:DEVICE"]' },
  "an entry under a key in another form": { ...entry({}), field: '["room", "@a:example.com:DEVICE"]' },
  "no delay ID": entry({}, { DelayId: "" }),
  "a delay ID that would climb": entry({}, { DelayId: ".." }),
  "a delay ID that is no Unicode": entry({}, { DelayId: "\ud800" }),
  "a delay ID over 255 bytes": entry({}, { DelayId: "ä".repeat(128) }),
  "a server name with a port of any length": entry({}, { ServerName: `example.com:${"0".repeat(1000)}` }),
  "a value of any length": entry({ Further: "x".repeat(60_000) }),
  "no server name": entry({}, { ServerName: "exa mple.com" }),
  "no delay": entry({}, { DelayTimeout: 0 }),
  "a negative delay": entry({}, { DelayTimeout: -1_000_000_000 }),
  "a fraction of a nanosecond": entry({}, { DelayTimeout: 1_000_000_000.5 }),
  "a delay as a text": entry({}, { DelayTimeout: "10000000000" }),
  "a delay beyond 64 bits": entry({}, { DelayTimeout: 1e19 }),
  "an empty room": { ...entry({}, { LiveKitRoom: "" }), field: '["","@a:example.com:DEVICE"]' },
  "an identity over 256 bytes": {
    ...entry({}, { LiveKitIdentity: "ä".repeat(129) }),
    field: JSON.stringify(["room", "ä".repeat(129)]),
  },
  "a room over 256 bytes": {
    ...entry({}, { LiveKitRoom: "r".repeat(257) }),
    field: JSON.stringify(["r".repeat(257), PARAMS.LiveKitIdentity]),
  },
};

for (const [name, texts] of Object.entries(UNREADABLE)) {
  Deno.test(`${name} is unreadable, and no error`, () => assert.equal(decodeJob(texts, NOW), null));
}

Deno.test("fields of ours that are damaged or unknown count as missing", () => {
  const damaged = entry({
    AcceptedAt: "yesterday",
    State: "gone",
    Watched: ["", 1],
    Sessions: { a: 1 },
    WaitUntil: 5,
    Hint: {},
    AbsentSince: false,
    Further: "unknown",
  });
  assert.deepEqual(decodeJob(damaged, NOW), decodeJob(entry({}), NOW));
});

const TOO_MUCH: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  "more than four watched identities": { Watched: ["a", "b", "c", "d", "e"] },
  "a watched identity over 256 bytes": { Watched: ["a".repeat(257)] },
  "more than four sessions": { Sessions: Object.fromEntries(["a", "b", "c", "d", "e"].map((id) => [id, "PA_1"])) },
  "a session of an identity over 256 bytes": { Sessions: { ["a".repeat(257)]: "PA_1" } },
  "a session ID over 64 bytes": { Sessions: { a: "P".repeat(65) } },
};

for (const [name, changes] of Object.entries(TOO_MUCH)) {
  Deno.test(`${name}, in an entry, count as none`, () => {
    assert.deepEqual(decodeJob(entry(changes), NOW), decodeJob(entry({}), NOW));
  });
}

Deno.test("a job of the longest texts comes back as it was, each of their characters escaped", () => {
  const text = (length: number, n: number) => `${n}${"\u0001".repeat(length - 1)}`;
  const watched = [0, 1, 2, 3].map((n) => text(256, n) as Identity);
  const job = sampleJob(1, {
    room: text(256, 0) as RoomAlias,
    identity: watched[0] ?? assert.fail(),
    watched,
    homeserver: serverName(`${"h".repeat(255)}:65535`),
    delayId: text(255, 0),
    sessions: Object.fromEntries(watched.map((identity, n) => [identity, text(64, n)])),
    ...{ timerStartedAt: NOW, delegatedAt: NOW, connectedAt: -Infinity, waitUntil: NOW },
  });
  assert.deepEqual(decodeJob(encodeJob(job), NOW), job);
});

Deno.test("a job watches its own identity, whatever its entry says", () => {
  assert.deepEqual(decodeJob(entry({ Watched: ["x"] }), NOW)?.watched, ["@a:example.com:DEVICE", "x"]);
});

Deno.test("what is written has 0.6.0's fields in its units", () => {
  const job = sampleJob(7, { delayMs: 1500, timerStartedAt: NOW + 0.9 });
  const { field, value } = encodeJob(job);
  assert.equal(field, '["room-7","identity-7"]');
  assert.partialDeepStrictEqual(JSON.parse(value), {
    Params: {
      DelayId: "syd_7",
      DelayTimeout: 1_500_000_000,
      ServerName: "example.com",
      LiveKitRoom: "room-7",
      LiveKitIdentity: "identity-7",
    },
    RestartedAt: "2026-11-24T12:00:00.000Z",
  });
  assert.equal(JSON.parse(encodeJob({ ...job, state: "waiting" }).value).RestartedAt, "0001-01-01T00:00:00Z");
});

Deno.test("keys are escaped as 0.6.0 escapes them", () => {
  const key = { room: "r" as RoomAlias, identity: '@a:b:<&>\u2028\u2029"\\\n' as Identity };
  assert.equal(fieldOf(key), String.raw`["r","@a:b:\u003c\u0026\u003e\u2028\u2029\"\\\n"]`);
});

Deno.test("a job is given up an hour after its deadline, not earlier", () => {
  const job = sampleJob(1, { timerStartedAt: NOW, delayMs: 5000 });
  assert.equal(isPastGivingUp(job, NOW + 3_605_000), false);
  assert.equal(isPastGivingUp(job, NOW + 3_605_001), true);
});

function serverName(text: string): StoredJob["homeserver"] {
  const name = parseServerName(text);
  assert.ok(name !== null);
  return name;
}

const name = fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 }).map((text) => text.toWellFormed());
const time = fc.integer({ min: 1, max: 4e12 });
const jobs: fc.Arbitrary<StoredJob> = fc.record({
  room: name.map((text) => text as RoomAlias),
  identity: name.map((text) => text as Identity),
  watched: fc.uniqueArray(name.map((text) => text as Identity), { maxLength: 3 }),
  homeserver: fc.constantFrom("example.com", "[::1]:8448", "EXAMPLE.org:1").map(serverName),
  delayId: name.filter((text) => text !== "." && text !== ".."),
  delayMs: fc.integer({ min: 1, max: 86_400_000 }),
  state: fc.constantFrom("waiting" as const, "connected" as const, "leaving" as const),
  sessions: fc.dictionary(fc.string().map((text) => `@${text}`), fc.string(), { maxKeys: 3, noNullPrototype: true }),
  timerStartedAt: time,
  delegatedAt: time,
  connectedAt: fc.option(fc.oneof(time, fc.constant(-Infinity))),
  waitUntil: time,
  hint: fc.constantFrom("none" as const, "left" as const, "aborted" as const),
  absentSince: fc.option(time),
}).map((job) => ({
  ...sampleJob(0),
  ...job,
  connectedAt: job.state === "waiting" ? null : job.connectedAt,
  watched: [job.identity, ...job.watched.filter((id) => id !== job.identity)],
}));

function rewritten(rewrite: (value: Record<string, unknown>) => void): typeof encodeJob {
  return (job) => {
    const { field, value } = encodeJob(job);
    const parsed = JSON.parse(value);
    rewrite(parsed);
    return { field, value: JSON.stringify(parsed) };
  };
}

Deno.test("every job comes back as it was", async () => {
  const property = (encode: typeof encodeJob) =>
    fc.property(jobs, (job) => assert.deepEqual(decodeJob(encode(job), NOW), job));
  await holdsOnlyFor(property, encodeJob, {
    "keys as plain JSON": (job) => ({ ...encodeJob(job), field: JSON.stringify([job.room, job.identity]) }),
    "times in seconds": (job) => encodeJob({ ...job, waitUntil: Math.floor(job.waitUntil / 1000) * 1000 }),
    "no time of a job that waits": rewritten((value) => delete value.AcceptedAt),
    "no absence": rewritten((value) => delete value.AbsentSince),
    "no sessions": rewritten((value) => delete value.Sessions),
    "its own identity alone": rewritten((value) => delete value.Watched),
  });
});

Deno.test("any single edit of an entry gives a whole job of the same key or none, and of its key none", async () => {
  const inserted = fc.constantFrom(...'"\\{}[],:.-+09eETZz \0é\ud800');
  const edits = jobs.chain((job) => {
    const texts = encodeJob(job);
    return fc.oneof(
      singleEdit(texts.value, inserted).map((value) => ({ ...texts, value })),
      singleEdit(texts.field, inserted).map((field) => ({ ...texts, field })),
    ).map((edited) => ({ texts, edited }));
  });
  const property = (decode: typeof decodeJob) =>
    fc.property(edits, ({ texts, edited }) => {
      const job = decode(edited, NOW);
      if (job === null) return;
      assert.equal(fieldOf(job), edited.field);
      assert.equal(edited.field, texts.field);
      assert.deepEqual(decodeJob(encodeJob(job), NOW), job);
      assert.ok(job.delayMs >= 1 && job.watched.includes(job.identity));
    });
  await holdsOnlyFor(property, decodeJob, {
    "the value alone is read": ({ value }, now) => decodeJob({ field: fieldIn(value), value }, now),
    "damage is an exception": (texts, now) => JSON.parse(texts.value) && decodeJob(texts, now),
  });
});

function fieldIn(value: string): string {
  try {
    const { LiveKitRoom: room, LiveKitIdentity: identity } = JSON.parse(value).Params;
    return fieldOf({ room, identity });
  } catch {
    return "";
  }
}
