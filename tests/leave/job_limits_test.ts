// How many jobs: per user, per homeserver that nobody named, and in all. The register counts them.

import assert from "node:assert/strict";
import type { Delegation, Job } from "../../lib/leave/machine/job.ts";
import { NO_FAILURES } from "../../lib/leave/machine/job.ts";
import { JobLimits, MAX_JOBS, MAX_JOBS_PER_HOMESERVER, MAX_JOBS_PER_USER } from "../../lib/leave/job_limits.ts";
import { JobIndex } from "../../lib/leave/job_index.ts";
import { legacyIdentity, roomAlias } from "../../lib/livekit/identity.ts";
import { parseUserId, serverOf } from "../../lib/matrix/server_name.ts";

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
    delayId: `syd_${index}_${userId}`,
    delayMs: 10_000,
  };
}

function jobOf(delegation: Delegation): Job {
  return {
    ...delegation,
    state: "waiting",
    sessions: {},
    timerStartedAt: 0,
    delegatedAt: 0,
    connectedAt: null,
    waitUntil: 0,
    hint: "none",
    absentSince: null,
    failures: NO_FAILURES,
    checkAt: Infinity,
    callAt: Infinity,
  };
}

/** Caps over a register; `size` stands in for very many jobs of others. */
function capsOver(register: JobIndex, size?: number): JobLimits {
  return new JobLimits({
    manager: {
      get size() {
        return size ?? register.size;
      },
      countOf: (homeserver) => register.countOf(homeserver),
      countOfSameUser: (delegation) => register.countOfSameUser(delegation),
      replaces: (delegation) => register.of(delegation) !== undefined || register.ofEvent(delegation) !== undefined,
    },
    isListed: (homeserver) => homeserver === "ours.example",
  });
}

Deno.test("the caps are 20 jobs per user, 1,000 per homeserver that is not listed, 100,000 in all", () => {
  assert.deepEqual([MAX_JOBS_PER_USER, MAX_JOBS_PER_HOMESERVER, MAX_JOBS], [20, 1000, 100_000]);
});

Deno.test("the 21st job of a user is refused, whatever device it is for; one of the 20 may be replaced", () => {
  const register = new JobIndex();
  const caps = capsOver(register);
  for (let index = 0; index < 20; index++) {
    const delegation = delegationOf(ALICE, index, `D:${index}`);
    assert.equal(caps.refusal(ALICE, delegation), null);
    register.add(jobOf(delegation));
  }
  assert.match(
    caps.refusal(ALICE, delegationOf(ALICE, 20)) ?? "",
    /^Too many delayed events of this user .*20 at most/,
  );
  assert.equal(caps.refusal(ALICE, { ...delegationOf(ALICE, 3, "D:3"), delayId: "syd_new" }), null);
  assert.equal(caps.refusal("@bob:ours.example", delegationOf("@bob:ours.example", 20)), null);
  const entry = register.of(delegationOf(ALICE, 0, "D:0"));
  assert.ok(entry !== undefined);
  register.remove(entry);
  assert.equal(caps.refusal(ALICE, delegationOf(ALICE, 20)), null);
});

Deno.test("a user whose jobs are all over has none", () => {
  const register = new JobIndex();
  const delegation = delegationOf(ALICE, 0);
  const entry = register.add(jobOf(delegation));
  assert.equal(register.countOfSameUser(delegation), 1);
  register.remove(entry);
  assert.equal(register.countOfSameUser(delegation), 0);
});

Deno.test("jobs that are being stored count, and no longer when they are, or could not be", async () => {
  const caps = capsOver(new JobIndex());
  const gate = Promise.withResolvers<void>();
  const storing = Array.from({ length: 20 }, () => caps.during(ALICE, () => gate.promise));
  assert.notEqual(caps.refusal(ALICE, delegationOf(ALICE, 0)), null);
  gate.resolve();
  await Promise.all(storing);
  assert.equal(caps.refusal(ALICE, delegationOf(ALICE, 0)), null);
  for (let times = 0; times < 20; times++) {
    await assert.rejects(caps.during(ALICE, () => Promise.reject(new Error("full"))), /full/);
  }
  assert.equal(caps.refusal(ALICE, delegationOf(ALICE, 0)), null);
});

Deno.test("a homeserver that nobody named gets 1,000 jobs, one of ours as many as there are", () => {
  const register = new JobIndex();
  const caps = capsOver(register);
  for (const server of ["other.example", "ours.example"]) {
    for (let index = 0; index < 1000; index++) register.add(jobOf(delegationOf(`@user${index}:${server}`, index)));
  }
  const wish = (user: string) => caps.refusal(user, delegationOf(user, 1000));
  assert.match(wish("@carol:other.example") ?? "", /^Too many delayed events of this homeserver .*1000 at most/);
  assert.equal(wish("@carol:ours.example"), null);
  assert.equal(wish("@carol:third.example"), null);
});

Deno.test("of all places, homeservers that nobody named share a fifth", () => {
  const wish = (size: number, user: string) => capsOver(new JobIndex(), size).refusal(user, delegationOf(user, 0));
  assert.equal(wish(19_999, "@a:other.example"), null);
  assert.equal(wish(20_000, "@a:other.example"), "Too many delayed events are delegated already");
  assert.equal(wish(99_999, ALICE), null);
  assert.equal(wish(100_000, ALICE), "Too many delayed events are delegated already");
});

Deno.test("users without a watched identity in clear count as one per homeserver", () => {
  const register = new JobIndex();
  const hashed = (index: number) => {
    const { identity: _identity, ...delegation } = delegationOf(ALICE, index);
    const identity = delegationOf(`@other${index}:ours.example`, index).identity;
    return { ...delegation, identity, watched: [] };
  };
  for (let index = 0; index < 20; index++) register.add(jobOf(hashed(index)));
  assert.notEqual(capsOver(register).refusal("@long:ours.example", hashed(20)), null);
  assert.equal(capsOver(register).refusal(ALICE, delegationOf(ALICE, 21)), null);
});
