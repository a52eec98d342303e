// What jobs are taken to weigh: so many of them fit, and the index counts those at work.

import assert from "node:assert/strict";
import { jobBytes, MAX_JOB_BYTES } from "../../lib/leave/job_bytes.ts";
import { JobIndex } from "../../lib/leave/job_index.ts";
import { JobLimits } from "../../lib/leave/job_limits.ts";
import type { Delegation } from "../../lib/leave/machine/job.ts";
import { begin } from "../../lib/leave/machine/machine.ts";
import { hashedIdentity, legacyIdentity, roomAlias } from "../../lib/livekit/identity.ts";
import { parseUserId, serverOf } from "../../lib/matrix/server_name.ts";
import { RecordingLog } from "../../testing/recording_log.ts";

function delegationOf(userId: string, devices: readonly string[], delayId: string): Delegation {
  const user = parseUserId(userId);
  assert.ok(user !== null);
  const [identity = hashedIdentity(user, "DEVICE", "member"), ...others] = devices.map((device) =>
    legacyIdentity(user, device)
  );
  const room = roomAlias("!room:example.com", "m.call#ROOM");
  return { room, identity, watched: [identity, ...others], homeserver: serverOf(user), delayId, delayMs: 10_000 };
}

const usual = delegationOf("@somebody:homeserver.example", [], "syd_oPVzCFzZNrXsPwEhdrTR");
const largest = delegationOf(
  `@${"u".repeat(50)}:${"s".repeat(190)}.example`,
  ["AAAAA", "BBBBB", "CCCCC", "DDDDD"],
  "d".repeat(255),
);

Deno.test("20,000 usual jobs fit, and 7,000 of the largest", () => {
  assert.ok(20_000 * jobBytes(usual) <= MAX_JOB_BYTES, `${jobBytes(usual)}`);
  assert.ok(7000 * jobBytes(largest) <= MAX_JOB_BYTES, `${jobBytes(largest)}`);
});

Deno.test("a text beyond Latin-1 counts twice, as it is kept", () => {
  const beyond = { ...usual, delayId: `\u0100${usual.delayId.slice(1)}` };
  assert.equal(jobBytes(beyond) - jobBytes(usual), usual.delayId.length);
});

Deno.test("jobs count for as long as they are at work", () => {
  const index = new JobIndex();
  for (const delegation of [usual, largest]) index.add(begin(delegation, 0, false).job);
  assert.equal(index.bytes, jobBytes(usual) + jobBytes(largest));
  const active = index.of(usual);
  assert.ok(active !== undefined);
  index.remove(active);
  assert.equal(index.bytes, jobBytes(largest));
});

Deno.test("a job that does not fit beside the others is refused, of a named homeserver as well, and the log says so once", () => {
  const log = new RecordingLog();
  const refusal = (bytes: number) => {
    return new JobLimits({
      jobs: {
        size: 1,
        bytes,
        largestHost: "",
        countOfHost: () => 1,
        countOfSameUser: () => 0,
        countOfSameUserInRoom: () => 0,
        of: () => undefined,
        ofEvent: () => undefined,
      },
      isListed: () => true,
      namesServers: true,
      log,
    }).refusal(usual);
  };
  assert.equal(refusal(MAX_JOB_BYTES - jobBytes(usual)), null);
  assert.equal(refusal(MAX_JOB_BYTES - jobBytes(usual) + 1), "Too many delayed events are delegated already");
  assert.equal(log.of("warning").length, 1);
});
