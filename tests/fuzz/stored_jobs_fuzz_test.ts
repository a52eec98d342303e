// What stands in the store, of ours and of 0.6.0, damaged in any way: a job that makes sense, or none. And what was read
// is read again the same once it is written.

import assert from "node:assert/strict";
import fc from "fast-check";
import { decodeJob, encodeJob, type StoredTexts } from "../../lib/leave/store/stored_job.ts";
import { byteMutation } from "../../testing/mutations.ts";
import { type Case, run } from "./campaign.ts";
import { documents } from "./json_mutations.ts";

const CASES = 10_000;
const NOW = Date.UTC(2026, 10, 24);
const MAX_DURATION_MS = 9_300_000_000_000; // of signed 64-bit nanoseconds

const times = fc.constantFrom(
  ...["0001-01-01T00:00:00Z", "2026-11-24T11:59:00.123456789+01:00", "2026-11-24T12:00:00Z", "9999-12-31T23:59:59Z"],
);
const fields = fc.constant(['["room","identity"]', '["room","other"]', "[]", "{", '["room","identity",1]']);
const params = fc.record({
  DelayId: fc.constantFrom("syd_1", "a/b", "é"),
  DelayTimeout: fc.constantFrom(10_000_000_000, 3_600_000_000_000),
  ServerName: fc.constantFrom("example.com", "[::1]:8448"),
  LiveKitRoom: fc.constant("room"),
  LiveKitIdentity: fc.constant("identity"),
});
const ofOld = fc.record({ Params: params, RestartedAt: times });
const ofOurs = fc.record({
  Params: params,
  RestartedAt: times,
  AcceptedAt: times,
  State: fc.constantFrom("waiting", "connected", "leaving"),
  Watched: fc.constantFrom(["identity"], ["identity", "@a:b:D"], []),
  Sessions: fc.constantFrom({}, { identity: "PA_1" }),
  WaitUntil: times,
  Hint: fc.constantFrom("none", "left", "aborted"),
  AbsentSince: times,
});

// The field is damaged now and then; the value mostly is.
const inputs: fc.Arbitrary<Case<StoredTexts>> = fc.tuple(
  fc.oneof(documents(ofOld), documents(ofOurs)),
  fields.chain((all) => fc.oneof({ weight: 12, arbitrary: fc.constant(all[0] ?? "") }, fc.constantFrom(...all))),
  fc.nat(20),
  byteMutation(),
).map(([{ input, isMutated }, field, luck, mutate]) => {
  const damaged = luck > 0 ? field : new TextDecoder().decode(mutate(new TextEncoder().encode(field)));
  return { input: { field: damaged, value: new TextDecoder().decode(input) }, isMutated };
});

Deno.test(`${CASES} stored jobs are jobs that make sense, or none`, async () => {
  await run({
    name: "stored jobs",
    cases: CASES,
    arbitrary: inputs,
    run: (texts) => {
      const job = decodeJob(texts, NOW);
      if (job === null) return "none";
      assert.ok(job.watched.includes(job.identity) && job.delayId !== "" && job.delayId !== "..");
      assert.ok(job.delayMs > 0 && job.delayMs < MAX_DURATION_MS);
      for (const time of [job.timerStartedAt, job.waitUntil, job.absentSince ?? 0]) assert.ok(Number.isFinite(time));
      assert.equal(new URL(`https://x/${encodeURIComponent(job.delayId)}/send`).pathname.split("/").length, 3);
      const again = decodeJob(encodeJob(job), NOW);
      assert.deepEqual(again, decodeJob(encodeJob(again ?? assert.fail()), NOW));
      assert.deepEqual([again?.room, again?.identity, again?.state], [job.room, job.identity, job.state]);
      return job.state;
    },
    mustReach: ["none", "waiting", "connected", "leaving"],
  });
});
