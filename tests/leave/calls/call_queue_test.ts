// One homeserver's queue against a limiter like Synapse's: how fast it is asked, who goes first, what it does while the
// homeserver is down.

import assert from "node:assert/strict";
import { Bench, DONE, FAILED, LATENCY_MS, SILENT } from "./queue_bench.ts";
import { LocalTokenBuckets } from "../../../lib/leave/calls/token_bucket.ts";
import { SynapseLimiter } from "../../../testing/scripted_homeserver.ts";
import { settle, VirtualTime } from "../../../testing/virtual_time.ts";

const names = (count: number, prefix = "") => Array.from({ length: count }, (_, index) => `${prefix}${index}`);

Deno.test("a homeserver is asked five times at once, then once a second", async () => {
  const bench = new Bench(new SynapseLimiter(1, 5));
  for (const name of names(9)) bench.add(name);
  await bench.time.advance(100);
  assert.equal(bench.made.length, 5);
  await bench.time.advance(4100);
  assert.deepEqual(bench.names(), names(9));
  assert.equal(bench.count("limited"), 0);
});

Deno.test("sends go before restarts, in the order in which they came", async () => {
  const bench = new Bench(new SynapseLimiter(1, 5));
  for (const name of names(7)) bench.add(name);
  await settle();
  bench.add("leave 1", "send");
  bench.add("leave 2", "send");
  await bench.time.advance(10_000);
  assert.deepEqual(bench.names(), ["0", "1", "2", "3", "4", "leave 1", "leave 2", "5", "6"]);
});

Deno.test("restarts go in the order of their deadlines", async () => {
  const bench = new Bench(new SynapseLimiter(1, 5));
  for (const name of names(5)) bench.add(name);
  await settle();
  for (const seconds of [50, 30, 40]) bench.add(`in ${seconds} s`, "restart", seconds * 1000);
  await bench.time.advance(10_000);
  assert.deepEqual(bench.names().slice(5), ["in 30 s", "in 40 s", "in 50 s"]);
});

Deno.test("a restart within two seconds of its deadline overtakes sends", async () => {
  const bench = new Bench();
  for (const name of names(5)) bench.add(name);
  await settle();
  for (const name of names(4, "leave ")) bench.add(name, "send");
  bench.add("urgent", "restart", 3500);
  await bench.time.advance(10_000);
  assert.deepEqual(bench.names().slice(5), ["leave 0", "urgent", "leave 1", "leave 2", "leave 3"]);
});

Deno.test("restarts past their deadline go last, but are not forgotten", async () => {
  const bench = new Bench(new SynapseLimiter(1, 5));
  for (const name of names(5)) bench.add(name);
  await settle();
  bench.add("late", "restart", -1);
  for (const name of names(30, "leave ")) bench.add(name, "send");
  await bench.time.advance(3200);
  assert.deepEqual(bench.names().slice(5), ["leave 0", "leave 1", "leave 2"]);
  await bench.time.advance(9000);
  assert.ok(bench.made.some(({ name }) => name === "late"));
});

Deno.test("what nobody wants any more costs no call", async () => {
  const bench = new Bench(new SynapseLimiter(1, 5));
  let isWanted = true;
  for (const name of names(5)) bench.add(name);
  await settle();
  for (const name of names(100, "moot ")) bench.add(name, "send", 10_000, () => isWanted);
  bench.add("wanted");
  await settle();
  isWanted = false;
  await bench.time.advance(1100);
  assert.deepEqual(bench.names(), [...names(5), "wanted"]);
  assert.equal(bench.queue.load, 0);
});

Deno.test("what nobody wants is let go of, wherever it stands", async () => {
  const bench = new Bench(new SynapseLimiter(1, 5));
  for (let count = 0; count < 20_000; count++) bench.add("moot", "restart", 3_600_000 + count, () => count < 5);
  await settle();
  assert.ok(bench.queue.load < 3000, `${bench.queue.load} calls are held`);
});

Deno.test("at a 429 the whole homeserver is left alone for as long as it says", async () => {
  const bench = new Bench();
  bench.answer = () => ({ outcome: { kind: "limited", retryAfterMs: 30_000 }, afterMs: 0 });
  bench.add("first");
  await bench.time.advance(10);
  for (const name of names(10)) bench.add(name);
  bench.add("leave", "send");
  await bench.time.advance(29_000);
  assert.equal(bench.made.length, 1);
  bench.answer = () => ({ outcome: DONE, afterMs: LATENCY_MS });
  await bench.time.advance(8000);
  assert.equal(bench.made[1]?.name, "leave");
  assert.ok((bench.made[1]?.at ?? 0) >= 30_000);
});

Deno.test("several calls refused together are one refusal", async () => {
  const bench = new Bench(new SynapseLimiter(1, 5));
  // Somebody else at our address has used the homeserver's buckets up.
  for (let count = 0; count < 5; count++) bench.answer();
  for (const name of names(5)) bench.add(name);
  await bench.time.advance(1000);
  assert.ok(bench.count("limited") >= 2);
  assert.equal(bench.queue.perSecond, 1);
});

Deno.test("after a 429 the calls come one by one, since the homeserver's bucket is empty", async () => {
  const bench = new Bench(new SynapseLimiter(1, 5));
  for (let count = 0; count < 5; count++) bench.answer();
  bench.add("first");
  await bench.time.advance(600);
  for (const name of names(8)) bench.add(name);
  await bench.time.advance(20_000);
  assert.equal(bench.count("limited"), 1);
  assert.equal(bench.count("done"), 8);
});

Deno.test("eight users at 10 s delay are kept up at Synapse's default limit, without one 429", async () => {
  const bench = new Bench(new SynapseLimiter(1, 5));
  for (const name of names(8)) {
    bench.keepUp(name, 8300, 10_000);
    await bench.time.advance(250);
  }
  await bench.time.advance(600_000);
  assert.equal(bench.count("limited"), 0);
  assert.equal(bench.overloads.length, 0);
  assert.ok(bench.count("done") >= 570);
});

for (const [perSecond, burst] of [[20, 5], [20, 50], [100, 10]] as const) {
  Deno.test(`where ${perSecond}/s (burst ${burst}) are allowed and needed, most of them are made within a minute`, async () => {
    const bench = new Bench(new SynapseLimiter(perSecond, burst));
    for (let count = 0; count < perSecond * 200; count++) bench.add(`${count}`, "send");
    await bench.time.advance(120_000);
    const done = bench.count("done", 60_000, 120_000) / 60;
    assert.ok(done >= 0.75 * perSecond, `only ${done}/s`);
    const limited = bench.count("limited", 60_000, 120_000);
    assert.ok(limited <= 15, `${limited} refusals in a minute`);
  });
}

Deno.test("a limit below Synapse's default is found too", async () => {
  const bench = new Bench(new SynapseLimiter(0.3, 2));
  for (const name of names(300)) bench.add(name, "send");
  await bench.time.advance(300_000);
  const done = bench.count("done", 100_000, 300_000) / 200;
  assert.ok(done >= 0.2 && done <= 0.31, `${done}/s`);
});

Deno.test("nothing is tried out while everything is in time", async () => {
  const bench = new Bench(new SynapseLimiter(1, 5));
  for (const name of names(100)) bench.add(name, "restart", 3_600_000);
  await bench.time.advance(60_000);
  assert.equal(bench.queue.perSecond, 1);
});

Deno.test("a homeserver that allows it is asked faster even when all restarts are late already", async () => {
  const bench = new Bench();
  for (const name of names(300)) bench.add(name, "restart", 500);
  await bench.time.advance(20_000);
  assert.equal(bench.count("done"), 300);
});

Deno.test("calls that fail together make one pause, not many", async () => {
  const bench = new Bench();
  bench.answer = () => ({ outcome: FAILED, afterMs: LATENCY_MS });
  for (const name of names(5)) bench.add(name);
  await bench.time.advance(100);
  assert.equal(bench.count("failed"), 5);
  bench.add("again");
  await bench.time.advance(1000);
  assert.equal(bench.names("failed").at(-1), "again");
});

Deno.test("a homeserver that is down gets one probe at a time for everybody, ever more rarely", async () => {
  const bench = new Bench();
  bench.answer = () => ({ outcome: FAILED, afterMs: LATENCY_MS });
  bench.add("first");
  await bench.time.advance(100);
  bench.mostInFlight = 0;
  for (const name of names(500)) bench.add(name);
  await bench.time.advance(600_000);
  assert.equal(bench.mostInFlight, 1);
  const probes = bench.made.length;
  assert.ok(probes >= 20 && probes <= 45, `${probes} probes in ten minutes`);
  const gaps = bench.made.map(({ at }, index) => at - (bench.made[index - 1]?.at ?? 0)).slice(1);
  assert.ok(Math.max(...gaps) <= 31_000);

  bench.answer = () => ({ outcome: DONE, afterMs: LATENCY_MS });
  await bench.time.advance(31_000);
  assert.ok(bench.count("done") >= 1);
});

Deno.test("whoever waits for a homeserver that stays down is told an hour past the deadline", async () => {
  const bench = new Bench();
  bench.answer = () => ({ outcome: FAILED, afterMs: LATENCY_MS });
  bench.add("probe", "send", 100 * 3_600_000);
  await bench.time.advance(100);
  // Each probe takes one away: these are more than there are probes.
  for (const name of names(400)) bench.add(name, "send", 10_000);
  for (const name of names(400, "restart ")) bench.add(name, "restart", 10_000);
  await bench.time.advance(3_600_000);
  assert.ok(bench.done.length < 200);
  await bench.time.advance(50_000);
  assert.equal(bench.done.length, 801);
});

Deno.test("a held call says nothing about the homeserver", async () => {
  const bench = new Bench();
  bench.answer = () => ({ outcome: { kind: "held" }, afterMs: 1 });
  for (const name of names(3)) bench.add(name);
  await bench.time.advance(50);
  bench.answer = () => ({ outcome: DONE, afterMs: 1 });
  bench.add("next");
  await bench.time.advance(50);
  assert.deepEqual(bench.names(), ["next"]);
});

Deno.test("an buckets that cannot be asked stops nothing for good", async () => {
  let isBroken = true;
  const bench = new Bench(undefined, {
    take: () => isBroken ? Promise.reject(new Error("no connection")) : Promise.resolve({ waitMs: 0, shared: null }),
  });
  bench.add("only");
  await bench.time.advance(2500);
  assert.equal(bench.made.length, 0);
  isBroken = false;
  await bench.time.advance(1100);
  assert.deepEqual(bench.names(), ["only"]);
});

Deno.test("a shared buckets is not asked again before its time", async () => {
  let asked = 0;
  const bench = new Bench(undefined, {
    take: () => {
      asked++;
      return Promise.resolve({ waitMs: 5000, shared: null });
    },
  });
  for (const name of names(1000)) {
    bench.add(name);
    await bench.time.advance(1);
  }
  assert.equal(asked, 1);
  bench.queue.close();
});

Deno.test("more than the homeserver allows shows as overload, with the figures", async () => {
  const bench = new Bench(new SynapseLimiter(1, 5));
  for (const name of names(30)) bench.keepUp(name, 8000, 10_000);
  await bench.time.advance(60_000);
  assert.ok(bench.overloads.length > 0);
  const { queued, perSecond } = bench.overloads.at(-1) ?? { queued: 0, perSecond: 0 };
  assert.ok(queued > 10 && perSecond <= 2, `${queued} queued at ${perSecond}/s`);
});

Deno.test("a homeserver that was down is not called overloaded", async () => {
  const bench = new Bench();
  bench.answer = () => ({ outcome: FAILED, afterMs: LATENCY_MS });
  for (const name of names(30)) bench.add(name, "restart", 2000);
  await bench.time.advance(20_000);
  bench.answer = () => ({ outcome: DONE, afterMs: LATENCY_MS });
  await bench.time.advance(60_000);
  assert.equal(bench.overloads.length, 0);
});

Deno.test("a homeserver that takes too long is asked by fewer calls at once, without a pause", async () => {
  const bench = new Bench();
  bench.answer = () => ({ outcome: SILENT, afterMs: 10_000 });
  for (const name of names(40)) bench.add(name, "send");
  await bench.time.advance(60_000);
  bench.mostInFlight = 0;
  await bench.time.advance(60_000);
  assert.equal(bench.mostInFlight, 1);
  const before = bench.made.length;
  await bench.time.advance(60_000);
  assert.ok(bench.made.length - before >= 5, "one call after another, each as long as it takes");
  bench.answer = () => ({ outcome: DONE, afterMs: 6000 });
  bench.mostInFlight = 0;
  for (const name of names(200, "later ")) bench.add(name, "send");
  await bench.time.advance(120_000);
  assert.ok(bench.mostInFlight > 8, `${bench.mostInFlight} at once`);
});

Deno.test("a homeserver that needs six seconds for each answer loses no restart", async () => {
  const bench = new Bench();
  bench.answer = () => ({ outcome: DONE, afterMs: 6000 });
  for (const name of names(7)) {
    bench.keepUp(name, 8000, 2000);
    await bench.time.advance(1000);
  }
  await bench.time.advance(313_000);
  assert.equal(bench.overloads.length, 0);
  assert.equal(bench.count("done", 20_000, 300_000), 245);
});

Deno.test("a user with many events waits for their own, and costs seven others none of theirs", async () => {
  const bench = new Bench(new SynapseLimiter(4, 10));
  const late: string[] = [];
  const keepUp = (name: string, user: string, everyMs: number, slackMs: number) => {
    const dueAt = bench.time.elapsed() + slackMs;
    const isWanted = () => {
      if (user !== "@mallory:hs.test" && bench.time.elapsed() > dueAt && bench.time.elapsed() > 60_000) late.push(name);
      return true;
    };
    bench.add(name, "restart", slackMs, isWanted, user);
    bench.time.after(everyMs, () => keepUp(name, user, everyMs, slackMs));
  };
  for (const name of names(7, "user ")) {
    keepUp(name, `@${name.replace(" ", "")}:hs.test`, 8000, 2000);
    await bench.time.advance(300);
  }
  for (const name of names(20, "mallory ")) keepUp(name, "@mallory:hs.test", 1000, 1900);
  await bench.time.advance(300_000);
  assert.deepEqual(late, []);
});

Deno.test("a server with many users waits for its own, and costs the users of another one none of theirs", async () => {
  const bench = new Bench(new SynapseLimiter(1, 5));
  for (const name of names(60, "stranger ")) bench.add(name, "send", 10_000, () => true, `@${name.slice(9)}:evil.test`);
  await settle();
  for (const name of names(5, "ours ")) bench.add(name, "send", 10_000, () => true, `@${name.slice(5)}:hs.test`);
  await bench.time.advance(15_000);
  assert.equal(bench.made.filter(({ name }) => name.startsWith("ours")).length, 5);
});

Deno.test("what is to be canceled goes behind sends, and among restarts in the order of their deadlines", async () => {
  const bench = new Bench(new SynapseLimiter(1, 5));
  for (const name of names(5)) bench.add(name);
  await settle();
  bench.add("restarted later", "restart", 60_000);
  bench.add("canceled", "cancel", 30_000);
  bench.add("restarted before", "restart", 20_000);
  bench.add("leave", "send");
  await bench.time.advance(10_000);
  assert.deepEqual(bench.names().slice(5), ["leave", "restarted before", "canceled", "restarted later"]);
});

Deno.test("what other replicas learnt later counts", async () => {
  let asked = 0;
  const bench = new Bench(undefined, {
    take: () => ({ waitMs: 0, shared: asked++ === 0 ? { perSecond: 97, learntAt: 1e13 } : null }),
  });
  bench.add("only");
  await bench.time.advance(100);
  assert.equal(Math.round(bench.queue.perSecond), 100);
});

Deno.test("a closed queue makes no call and keeps no timer", async () => {
  const bench = new Bench(new SynapseLimiter(1, 5));
  for (const name of names(50)) bench.add(name);
  await bench.time.advance(100);
  bench.queue.close();
  await bench.time.advance(60_000);
  assert.equal(bench.made.length, 5);
});

Deno.test("each homeserver has its own buckets, and memory of many is bounded", () => {
  const time = new VirtualTime();
  const buckets = new LocalTokenBuckets(time.monotonicNow);
  const rate = { burst: 1, perSecond: 1, learntAt: 0 };
  const take = (api: string) => buckets.take(api, rate).waitMs;
  assert.deepEqual([take("a"), take("a"), take("b")], [0, 1000, 0]);
  for (const name of names(5000)) take(name);
  assert.equal(buckets.size, 2000);
});
