// How many jobs: per user, in a room, per homeserver that nobody named, and in all. The job index counts them.

import assert from "node:assert/strict";
import { hostOf, JobIndex } from "../../lib/leave/job_index.ts";
import {
  JobLimits,
  type JobLimitsDeps,
  MAX_JOBS,
  MAX_JOBS_PER_HOMESERVER,
  MAX_JOBS_PER_USER,
  MAX_JOBS_PER_USER_AND_ROOM,
  MAX_STRANGERS_JOBS,
} from "../../lib/leave/job_limits.ts";
import type { Delegation } from "../../lib/leave/machine/job.ts";
import { begin } from "../../lib/leave/machine/machine.ts";
import { legacyIdentity, roomAlias } from "../../lib/livekit/identity.ts";
import { parseUserId, serverOf } from "../../lib/matrix/server_name.ts";
import { RecordingLog } from "../../testing/recording_log.ts";

const ALICE = "@alice:ours.example";

function delegationOf(userId: string, index: number, device = "DEVICE"): Delegation {
  const user = parseUserId(userId);
  assert.ok(user !== null);
  const identity = legacyIdentity(user, device);
  return {
    room: roomAlias(`!room${index}:example.com`, "m.call#ROOM"),
    identity,
    watched: [identity],
    homeserver: serverOf(user),
    delayId: `syd_${index}_${userId}_${device}`,
    delayMs: 10_000,
  };
}

function add(index: JobIndex, ...delegations: readonly Delegation[]): void {
  for (const delegation of delegations) index.add(begin(delegation, 0, false).job);
}

/** Limits over an index, with what stands in for very many jobs of others. */
function limitsOver(index: JobIndex, others: Partial<JobLimitsDeps["jobs"]> = {}, namesServers = true) {
  const log = new RecordingLog();
  const jobs: JobLimitsDeps["jobs"] = {
    size: index.size,
    bytes: index.bytes,
    largestHost: index.largestHost,
    countOfHost: (host) => index.countOfHost(host),
    countOfSameUser: (delegation) => index.countOfSameUser(delegation),
    countOfSameUserInRoom: (delegation) => index.countOfSameUserInRoom(delegation),
    of: (key) => index.of(key),
    ofEvent: (event) => index.ofEvent(event),
    ...others,
  };
  const isListed = (homeserver: string) => namesServers && homeserver === "ours.example";
  return { log, limits: new JobLimits({ jobs, isListed, namesServers, log }) };
}

Deno.test("the limits are 20 jobs per user, 4 in a room, 1,000 per homeserver that is not listed, 20,000 in all", () => {
  const limits = [MAX_JOBS_PER_USER, MAX_JOBS_PER_USER_AND_ROOM, MAX_JOBS_PER_HOMESERVER, MAX_JOBS];
  assert.deepEqual(limits, [20, 4, 1000, 20_000]);
});

Deno.test("the 21st job of a user is refused, whatever device it is for; one of the 20 may be replaced", () => {
  const index = new JobIndex();
  const { limits } = limitsOver(index);
  for (let n = 0; n < 20; n++) {
    const delegation = delegationOf(ALICE, n, `D:${n}`);
    assert.equal(limits.refusal(delegation), null);
    add(index, delegation);
  }
  assert.match(limits.refusal(delegationOf(ALICE, 20)) ?? "", /^Too many delayed events of this user .*20 at most/);
  assert.equal(limits.refusal({ ...delegationOf(ALICE, 3, "D:3"), delayId: "syd_new" }), null);
  assert.equal(limits.refusal(delegationOf("@bob:ours.example", 20)), null);
  const active = index.of(delegationOf(ALICE, 0, "D:0"));
  assert.ok(active !== undefined);
  index.remove(active);
  assert.equal(limits.refusal(delegationOf(ALICE, 20)), null);
});

Deno.test("the fifth job of a user in one room is refused; others there, and the user elsewhere, are not", () => {
  const index = new JobIndex();
  const { limits } = limitsOver(index);
  add(index, ...Array.from({ length: 4 }, (_, n) => delegationOf(ALICE, 1, `D${n}`)));
  assert.match(limits.refusal(delegationOf(ALICE, 1, "D4")) ?? "", /for this room \(4 at most\)/);
  assert.equal(limits.refusal({ ...delegationOf(ALICE, 1, "D3"), delayId: "syd_new" }), null);
  assert.equal(limits.refusal(delegationOf(ALICE, 2, "D4")), null);
  assert.equal(limits.refusal(delegationOf("@bob:ours.example", 1, "D4")), null);
});

Deno.test("a user whose jobs are all over has none", () => {
  const index = new JobIndex();
  const delegation = delegationOf(ALICE, 0);
  const active = index.add(begin(delegation, 0, false).job);
  assert.deepEqual([index.countOfSameUser(delegation), index.countOfHost("ours.example")], [1, 1]);
  index.remove(active);
  assert.deepEqual([index.countOfSameUser(delegation), index.countOfHost("ours.example")], [0, 0]);
});

Deno.test("jobs that are being stored count, and no longer when they are, or could not be", async () => {
  const { limits } = limitsOver(new JobIndex());
  const delegation = delegationOf(ALICE, 0);
  const gate = Promise.withResolvers<void>();
  const storing = Array.from({ length: 20 }, () => limits.during(delegation, () => gate.promise));
  assert.notEqual(limits.refusal(delegation), null);
  gate.resolve();
  await Promise.all(storing);
  assert.equal(limits.refusal(delegation), null);
  for (let times = 0; times < 20; times++) {
    await assert.rejects(limits.during(delegation, () => Promise.reject(new Error("full"))), /full/);
  }
  assert.equal(limits.refusal(delegation), null);
});

Deno.test("a homeserver that nobody named gets 1,000 jobs, one of ours as many as there are", () => {
  const index = new JobIndex();
  for (const server of ["other.example", "ours.example"]) {
    add(index, ...Array.from({ length: 1000 }, (_, n) => delegationOf(`@user${n}:${server}`, n)));
  }
  const { limits, log } = limitsOver(index);
  const wish = (user: string) => limits.refusal(delegationOf(user, 1000));
  assert.match(wish("@carol:other.example") ?? "", /^Too many delayed events of this homeserver .*1000 at most/);
  assert.equal(wish("@carol:ours.example"), null);
  assert.equal(wish("@carol:third.example"), null);
  wish("@dave:other.example");
  assert.deepEqual(log.of("warning").map(({ fields }) => [fields.limit, fields.homeserver]), [[1000, "other.example"]]);
  assert.match(log.text, /LIVEKIT_FULL_ACCESS_HOMESERVERS/);
});

Deno.test("a host has one limit, however many names its ports give it", () => {
  const index = new JobIndex();
  add(index, ...Array.from({ length: 1000 }, (_, n) => delegationOf(`@user${n}:other.example:${n + 1}`, n)));
  const { limits } = limitsOver(index);
  assert.notEqual(limits.refusal(delegationOf("@carol:other.example:5000", 0)), null);
  assert.notEqual(limits.refusal(delegationOf("@carol:other.example", 0)), null);
});

Deno.test("of all places, homeservers that nobody named share a fifth", () => {
  const wish = (size: number, user: string) =>
    limitsOver(new JobIndex(), { size }).limits.refusal(delegationOf(user, 0));
  assert.equal(wish(3999, "@a:other.example"), null);
  assert.equal(wish(4000, "@a:other.example"), "Too many delayed events are delegated already");
  assert.equal(wish(19_999, ALICE), null);
  assert.equal(wish(20_000, ALICE), "Too many delayed events are delegated already");
});

Deno.test("where no homeserver is named, the one with the most jobs is never crowded out by strangers", () => {
  const index = new JobIndex();
  add(index, ...Array.from({ length: 1100 }, (_, n) => delegationOf(`@user${n}:most.example`, n)));
  assert.equal(index.largestHost, "most.example");
  // As many jobs as they may have, of many strangers.
  const size = index.size + MAX_STRANGERS_JOBS;
  const { limits, log } = limitsOver(index, { size }, false);
  assert.equal(limits.refusal(delegationOf("@carol:most.example", 2000)), null);
  assert.equal(limits.refusal(delegationOf("@a:stranger.example", 0)), "Too many delayed events are delegated already");
  assert.deepEqual(log.of("warning").map(({ fields }) => fields.limit), [2000]);
  const full = limitsOver(index, { size: 4000 }, false);
  assert.notEqual(full.limits.refusal(delegationOf("@carol:most.example", 2000)), null);
});

Deno.test("a room is not asked how many a user has there, unless they have as many in all", () => {
  const index = new JobIndex();
  const countOfSameUserInRoom = () => {
    throw new Error("20,000 jobs are in the room");
  };
  assert.equal(limitsOver(index, { countOfSameUserInRoom }).limits.refusal(delegationOf(ALICE, 0)), null);
});

Deno.test("users without a watched identity in clear count as one per homeserver", () => {
  const index = new JobIndex();
  const hashed = (n: number) => {
    const { identity: _identity, ...delegation } = delegationOf(ALICE, n);
    return { ...delegation, identity: delegationOf(`@other${n}:ours.example`, n).identity, watched: [] };
  };
  add(index, ...Array.from({ length: 20 }, (_, n) => hashed(n)));
  assert.notEqual(limitsOver(index).limits.refusal(hashed(20)), null);
  assert.equal(limitsOver(index).limits.refusal(delegationOf(ALICE, 21)), null);
});

Deno.test("the host of a name is the name without its port", () => {
  for (
    const [user, host] of [["@a:h.example:8448", "h.example"], ["@a:[::1]:1", "::1"], ["@a:h.example", "h.example"]]
  ) {
    assert.equal(hostOf(delegationOf(user ?? "", 0).homeserver), host);
  }
});
