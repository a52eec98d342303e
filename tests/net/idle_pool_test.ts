// Idle connections: the youngest is used first, each waits for so long, and there are only so many of them.

import assert from "node:assert/strict";
import { IdlePool, type Reusable } from "../../lib/net/idle_pool.ts";

class StandIn implements Reusable {
  isOpen = true;
  onClose: () => void = () => {};

  close(): void {
    this.isOpen = false;
    this.onClose();
  }
}

/** A pool whose time a test moves on. */
function poolOf(limit: number) {
  let now = 0;
  let timers: { at: number; run: () => void }[] = [];
  const pool = new IdlePool<StandIn>(limit, {
    monotonicNow: () => now,
    setTimer(run, delayMs) {
      const timer = { at: now + delayMs, run };
      timers.push(timer);
      return () => void (timers = timers.filter((one) => one !== timer));
    },
  });
  const pass = (durationMs: number) => {
    const until = now + durationMs;
    for (let due = timers[0]; due !== undefined && due.at <= until; due = timers[0]) {
      timers = timers.slice(1);
      now = due.at;
      due.run();
    }
    now = until;
  };
  const put = (name: string, keepAlive?: string) => {
    const connection = new StandIn();
    pool.put(name, connection, keepAlive);
    return connection;
  };
  return { pool, put, pass, timers: () => timers.length };
}

Deno.test("the connection that was put last is taken first, and from its own pool only", () => {
  const { pool, put } = poolOf(10);
  const [first, second, other] = [put("a"), put("a"), put("b")];
  assert.deepEqual([pool.take("a"), pool.take("a"), pool.take("a")], [second, first, null]);
  assert.equal(pool.take("b"), other);
  assert.equal(pool.size, 0);
});

Deno.test("a connection that has ended is not taken, whether its end was told or not", () => {
  const { pool, put } = poolOf(10);
  const [sound, ended, unread] = [put("a"), put("a"), put("a")];
  ended.close();
  assert.equal(pool.size, 2);
  unread.isOpen = false;
  assert.equal(pool.take("a"), sound);
  assert.equal(pool.take("a"), null);
});

Deno.test("past the limit the one that has been idle for longest makes room, whatever its pool", () => {
  const { pool, put } = poolOf(2);
  const [oldest, second] = [put("a"), put("b")];
  const third = put("c");
  assert.deepEqual([oldest.isOpen, second.isOpen, third.isOpen, pool.size], [false, true, true, 2]);
  assert.equal(pool.take("a"), null);
});

Deno.test("each waits for 25 s, and the timer ends with the last", () => {
  const { pool, put, pass, timers } = poolOf(10);
  const early = put("a");
  pass(20_000);
  const late = put("a");
  pass(6000);
  assert.deepEqual([early.isOpen, late.isOpen, timers()], [false, true, 1]);
  pass(20_000);
  assert.deepEqual([late.isOpen, pool.size, timers()], [false, 0, 0]);
});

Deno.test("what a storm opened past 64 of one pool is closed soon after it", () => {
  const { pool, put, pass } = poolOf(1000);
  for (let i = 0; i < 256; i++) put("a");
  put("b");
  pass(4000);
  assert.equal(pool.size, 65);
});

Deno.test("a server that says how long it keeps a connection is believed, with a second's margin", () => {
  const { put, pass } = poolOf(10);
  const [short, long, none] = [put("a", "timeout=5"), put("a", "timeout=600, max=100"), put("a", "timeout=1")];
  assert.equal(none.isOpen, false);
  pass(3500);
  assert.ok(short.isOpen);
  pass(2000);
  assert.deepEqual([short.isOpen, long.isOpen], [false, true]);
  pass(21_000);
  assert.equal(long.isOpen, false);
});

Deno.test("closing the pool closes all and leaves no timer", () => {
  const { pool, put, timers } = poolOf(10);
  const all = [put("a"), put("b"), put("b")];
  pool.close();
  assert.deepEqual(all.map(({ isOpen }) => isOpen), [false, false, false]);
  assert.deepEqual([pool.size, timers()], [0, 0]);
});
