// What every store promises, as one set of tests that runs over all of them. It covers one process at a time:
//  - an accepted job, its changes and its removal are found by the next store on the same medium, field by field;
//  - a job takes the place of another of its participant, and late news of the replaced one changes nothing;
//  - what is accepted is ours: events of its room belong here, and we may act on it.
// It does not cover replicas (whose a room is, events passed on, leases that end), a store that fails, and the end of a
// process by force: those tests stand with each store.

import assert from "node:assert/strict";
import { setTimeout as sleepFor } from "node:timers/promises";
import type { Identity, RoomAlias } from "../../../lib/livekit/identity.ts";
import { fieldOf } from "../../../lib/leave/store/stored_job.ts";
import type { LeaveStore, StoredJob } from "../../../lib/leave/store/store.ts";
import { ManualClock } from "../../../testing/manual_clock.ts";
import { recordingListener, sampleJob } from "../sample_jobs.ts";

/** Where stores keep jobs: each test has one of its own, empty at first. */
export interface StoreMedium extends AsyncDisposable {
  /** A new store, not opened; the one before has been closed. */
  createStore(): LeaveStore;
}

/** A kind of store. */
export interface StoreKind {
  readonly name: string;
  /** Whether jobs outlive the store; one that keeps nothing must say so. */
  readonly keepsJobs: boolean;
  /** @param clock Its wall clock is that of the jobs. */
  openMedium(clock: ManualClock): Promise<StoreMedium>;
}

interface Bench {
  readonly clock: ManualClock;
  /** Times that are whole ms of the wall clock: what is stored has no more. */
  job(n: number, changes?: Partial<StoredJob>): StoredJob;
  /** Works with a store that is open meanwhile, and closes it; `onAdopt` is given what it hands out. */
  during(work: (store: LeaveStore) => unknown, onAdopt?: OnAdopt): Promise<void>;
  /** What the next store hands out, by key; an expected number is waited for. */
  stored(expected: number): Promise<StoredJob[]>;
}

type OnAdopt = (store: LeaveStore, jobs: readonly StoredJob[]) => void;

const HOUR_MS = 3_600_000;

const MAX_WAIT_MS = 10_000;
// For jobs that must not come: a store that hands out its jobs later than `open` has this long for it.
const QUIET_MS = 20;

/** Registers the tests of the contract for one kind of store. */
export function testStoreContract(kind: StoreKind): void {
  const tests = { ...FOR_ALL, ...(kind.keepsJobs ? FOR_KEEPERS : FOR_FORGETTERS) };
  for (const [sentence, run] of Object.entries(tests)) {
    Deno.test(`${kind.name}: ${sentence}`, async () => {
      const clock = new ManualClock();
      await using medium = await kind.openMedium(clock);
      await run(benchOn(medium, clock));
    });
  }
}

type ContractTests = Readonly<Record<string, (bench: Bench) => Promise<void>>>;

const FOR_ALL: ContractTests = {
  "an empty medium hands out nothing": async ({ stored }) => {
    assert.deepEqual(await stored(0), []);
  },

  "an accepted job is ours to work on, and so are its room's events": async ({ during, job }) => {
    await during(async (store) => {
      assert.equal((await store.accept(job(1))).owner, "here");
      const { room, identity } = job(1);
      assert.equal(await store.route({ type: "joined", room, identity, sid: "PA_1" }), "here");
      assert.ok(store.leaseMs(room) > 0);
    });
  },

  "changes and removals of jobs that are not there are taken without complaint": async ({ during, job, stored }) => {
    await during((store) => {
      store.update(job(1));
      store.remove(job(1), job(1).delayId);
    });
    assert.deepEqual(await stored(0), []);
  },

  "closing twice is closing once": async ({ during }) => {
    await during((store) => store.close());
  },
};

const FOR_FORGETTERS: ContractTests = {
  "a job is not called durable, and is gone with the store": async ({ during, job, stored }) => {
    await during(async (store) => {
      assert.deepEqual(await store.accept(job(1)), { owner: "here", isDurable: false });
    });
    assert.deepEqual(await stored(0), []);
  },
};

const FOR_KEEPERS: ContractTests = {
  "jobs of every state come back as they were": async ({ during, job, stored, clock }) => {
    const now = clock.now();
    const jobs = [
      job(1, { state: "waiting", sessions: {}, waitUntil: now + 12_345 }),
      job(2, { state: "waiting", hint: "aborted", delayMs: HOUR_MS }),
      job(3, { state: "connected", absentSince: now - 5000, sessions: { a: "PA_a", b: "PA_b" } }),
      job(4, { state: "connected", hint: "left", delayMs: 1 }),
      job(5, { state: "leaving", sessions: {}, timerStartedAt: now - 70_000, watched: ["x" as Identity, id(5)] }),
    ];
    await during(async (store) => {
      for (const each of jobs) assert.deepEqual(await store.accept(each), { owner: "here", isDurable: true });
    });
    assert.deepEqual(await stored(5), jobs);
  },

  "names of any kind come back as they were": async ({ during, job, stored }) => {
    const names = ["@jürgen:example.org:ÄÖ", '@a:b:D"1\\', "@a:b:<x>&'", "@a:b:\u2028\t\n\0", "😀".repeat(60), "[1,2]"];
    const jobs = names.map((name, n) =>
      job(n, { room: `room of ${name}`.slice(0, 60) as RoomAlias, ...watching(name), delayId: `syd/${name}?` })
    );
    await during((store) => Promise.all(jobs.map((each) => store.accept(each))));
    assert.deepEqual(await stored(names.length), inOrder(jobs));
  },

  "a thousand jobs accepted at once are all there": async ({ during, job, stored }) => {
    const jobs = Array.from({ length: 1000 }, (_, n) => job(n));
    await during(async (store) => {
      const saved = await Promise.all(jobs.map((each) => store.accept(each)));
      assert.ok(saved.every(({ isDurable }) => isDurable));
    });
    assert.deepEqual(await stored(1000), inOrder(jobs));
  },

  "jobs outlive several stores": async ({ during, job, stored }) => {
    await during((store) => store.accept(job(1)));
    await during((store) => store.accept(job(2)));
    assert.deepEqual(await stored(2), [job(1), job(2)]);
    assert.deepEqual(await stored(2), [job(1), job(2)]);
  },

  "the last of several changes is what is stored": async ({ during, job, stored }) => {
    await during(async (store) => {
      await store.accept(job(1, { state: "waiting" }));
      store.update(job(1, { state: "connected" }));
      store.update(job(1, { state: "leaving", hint: "left" }));
    });
    assert.deepEqual(await stored(1), [job(1, { state: "leaving", hint: "left" })]);
  },

  "a job from an earlier store can be changed and removed": async ({ during, job, stored }) => {
    await during((store) => Promise.all([store.accept(job(1)), store.accept(job(2))]));
    await during((store) => {
      store.update(job(1, { state: "leaving" }));
      store.remove(job(2), "syd_2");
    });
    assert.deepEqual(await stored(1), [job(1, { state: "leaving" })]);
  },

  "a removed job is gone, whatever change comes late": async ({ during, job, stored }) => {
    await during(async (store) => {
      await store.accept(job(1));
      store.remove(job(1), "syd_1");
      store.update(job(1, { state: "leaving" }));
    });
    assert.deepEqual(await stored(0), []);
  },

  "a job that is removed before it was stored is gone": async ({ during, job, stored }) => {
    await during(async (store) => {
      const accepted = store.accept(job(1));
      store.remove(job(1), "syd_1");
      await accepted;
    });
    assert.deepEqual(await stored(0), []);
  },

  "jobs that are removed in the moment in which they are handed out are gone": async ({ during, job, stored }) => {
    await during((store) => Promise.all([1, 2, 3].map((n) => store.accept(job(n)))));
    let handedOut = 0;
    const removeSome: OnAdopt = (store, jobs) => {
      handedOut += jobs.length;
      for (const { room, identity, delayId } of jobs) {
        if (delayId !== "syd_2") store.remove({ room, identity }, delayId);
      }
    };
    await during(async () => {
      for (let waitedMs = 0; handedOut < 3 && waitedMs < MAX_WAIT_MS; waitedMs += QUIET_MS) await sleepFor(QUIET_MS);
      await sleepFor(QUIET_MS);
    }, removeSome);
    assert.deepEqual(await stored(1), [job(2)]);
  },

  "a removed job can be accepted again": async ({ during, job, stored }) => {
    await during(async (store) => {
      await store.accept(job(1));
      store.remove(job(1), "syd_1");
      await store.accept(job(1, { state: "waiting" }));
    });
    assert.deepEqual(await stored(1), [job(1, { state: "waiting" })]);
  },

  "a job takes the place of its participant's other one": async ({ during, job, stored }) => {
    const next = job(1, { delayId: "syd_next", delayMs: 20_000 });
    await during(async (store) => {
      await store.accept(job(1));
      await store.accept(next);
    });
    assert.deepEqual(await stored(1), [next]);
  },

  "late news of a replaced job changes nothing": async ({ during, job, stored }) => {
    const next = job(1, { delayId: "syd_next" });
    await during(async (store) => {
      await store.accept(job(1));
      const accepted = store.accept(next);
      store.update(job(1, { state: "leaving" }));
      store.remove(job(1), "syd_1");
      await accepted;
      store.update(job(1, { state: "leaving" }));
      store.remove(job(1), "syd_1");
    });
    assert.deepEqual(await stored(1), [next]);
  },

  "participants of one identity in two rooms have a job each": async ({ during, job, stored }) => {
    const other = job(1, { room: "zzz" as RoomAlias, delayId: "syd_other" });
    await during(async (store) => {
      await Promise.all([store.accept(job(1)), store.accept(other)]);
      store.remove(job(1), "syd_other");
      store.remove(other, "syd_1");
    });
    assert.deepEqual(await stored(2), [job(1), other]);
  },
};

function benchOn(medium: StoreMedium, clock: ManualClock): Bench {
  const start = clock.now();
  return {
    clock,
    job: (n, changes) =>
      sampleJob(n, { timerStartedAt: start, delegatedAt: start, waitUntil: start + 10_000, ...changes }),
    async during(work, onAdopt = () => {}) {
      const store = medium.createStore();
      await store.open({ ...recordingListener(), adopt: (jobs) => onAdopt(store, jobs) });
      try {
        await work(store);
      } finally {
        await store.close();
      }
    },
    async stored(expected) {
      const store = medium.createStore();
      const listener = recordingListener();
      await store.open(listener);
      for (let waitedMs = 0; listener.adopted.length < expected && waitedMs < MAX_WAIT_MS; waitedMs += QUIET_MS) {
        await sleepFor(QUIET_MS);
      }
      await sleepFor(QUIET_MS);
      await store.close();
      return inOrder(listener.adopted);
    },
  };
}

function inOrder(jobs: readonly StoredJob[]): StoredJob[] {
  return jobs.toSorted((a, b) => fieldOf(a) < fieldOf(b) ? -1 : 1);
}

function id(n: number): Identity {
  return sampleJob(n).identity;
}

function watching(name: string): Pick<StoredJob, "identity" | "watched"> {
  const identity = name as Identity;
  return { identity, watched: [identity] };
}
