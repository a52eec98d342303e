// SRV records: the three outcomes of a look-up, and the order of targets (RFC 2782).

import assert from "node:assert/strict";
import { mock } from "node:test";
import fc from "fast-check";
import { classifySrv, orderSrv, resolveSrv, type SrvRecord } from "../../lib/net/srv.ts";
import { holdsOnlyFor } from "../../testing/refutable.ts";

function record(target: string, priority = 10, weight = 0, port = 8448): SrvRecord {
  return { target, priority, weight, port };
}

Deno.test("no record at all is none", () => {
  assert.deepEqual(classifySrv([]), { outcome: "none" });
});

Deno.test("the single target . says that there is no such service", () => {
  assert.deepEqual(classifySrv([record(".", 0, 0, 0)]), { outcome: "unavailable" });
  assert.deepEqual(classifySrv([record("")]), { outcome: "unavailable" });
});

Deno.test("the trailing dot of a target is taken off, and a . among others is left out", () => {
  const answer = classifySrv([record("."), record("a.example."), record("b.example")]);
  assert.deepEqual(answer, { outcome: "records", records: [record("a.example"), record("b.example")] });
});

Deno.test("of many targets the sixteen with the lowest priority numbers are kept", () => {
  const many = Array.from({ length: 40 }, (_, i) => record(`t${i}.example.`, 40 - i));
  const answer = classifySrv(many);
  assert.ok(answer.outcome === "records");
  assert.deepEqual(answer.records.map(({ priority }) => priority), Array.from({ length: 16 }, (_, i) => i + 1));
});

type Order = typeof orderSrv;

const records = fc.array(
  fc.record({
    target: fc.constantFrom("a", "b", "c", "d"),
    priority: fc.nat({ max: 3 }),
    weight: fc.oneof(fc.constant(0), fc.nat({ max: 65_535 })),
    port: fc.nat({ max: 65_535 }),
  }),
  { maxLength: 8 },
);
const random = fc.infiniteStream(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }));

/** Reads numbers off a stream. */
function reader(stream: Iterator<number>): () => number {
  return () => stream.next().value;
}

Deno.test("the order is one of all targets, by priority", async () => {
  const isOrdered = (order: Order) =>
    fc.property(records, random, (records, random) => {
      const ordered = order(records, reader(random));
      assert.deepEqual(new Set(ordered), new Set(records));
      assert.equal(ordered.length, records.length);
      for (let i = 1; i < ordered.length; i++) {
        assert.ok((ordered[i - 1]?.priority ?? 0) <= (ordered[i]?.priority ?? 0));
      }
    });

  await holdsOnlyFor<Order>(isOrdered, orderSrv, {
    "as it came": (records) => [...records],
    "priority descending": (records) => records.toSorted((a, b) => b.priority - a.priority),
    "the first priority only": (records) => {
      const first = Math.min(...records.map(({ priority }) => priority));
      return records.filter(({ priority }) => priority === first);
    },
    "targets of weight 0 left out": (records, random) => orderSrv(records.filter(({ weight }) => weight > 0), random),
    "sorted as text": (records) => records.toSorted((a, b) => `${a.priority}` > `${b.priority}` ? -1 : 1),
  });
});

/** How often each target comes first when the draws are spread evenly. */
function shares(order: Order, records: readonly SrvRecord[]): Map<string, number> {
  const draws = 1000;
  const first = new Map<string, number>();
  for (let i = 0; i < draws; i++) {
    const target = order(records, () => (i + 0.5) / draws)[0]?.target ?? "";
    first.set(target, (first.get(target) ?? 0) + 1 / draws);
  }
  return first;
}

Deno.test("inside a priority a target comes first as often as its weight says", async () => {
  const weights = fc.array(fc.integer({ min: 50, max: 5000 }), { minLength: 2, maxLength: 5 });
  const isFair = (order: Order) =>
    fc.property(weights, (weights) => {
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      const found = shares(order, weights.map((weight, i) => record(`t${i}`, 1, weight)));
      weights.forEach((weight, i) => {
        const share = found.get(`t${i}`) ?? 0;
        assert.ok(Math.abs(share - weight / total) < 0.02, `t${i}: ${share}, expected ${weight / total}`);
      });
    });

  await holdsOnlyFor<Order>(isFair, orderSrv, {
    "weights unread": (records, random) => {
      const i = Math.floor(random() * records.length);
      return [...records.slice(i), ...records.slice(0, i)];
    },
    "the heaviest first": (records) => records.toSorted((a, b) => b.weight - a.weight),
    "the heaviest by chance": (records, random) => {
      return records.toSorted((a, b) => b.weight * random() - a.weight * random());
    },
  });
});

Deno.test("a target of weight 0 beside others has a very small chance, but has one", () => {
  const pair = [record("heavy", 1, 99), record("zero", 1, 0)];
  assert.equal(orderSrv(pair, () => 0)[0]?.target, "zero");
  assert.equal(orderSrv(pair, () => 0.011)[0]?.target, "heavy");
  assert.equal(orderSrv(pair, () => 0.999)[0]?.target, "heavy");
});

const RESOLVER_ERRORS: [what: string, error: Error, outcome: "none" | "rejects"][] = [
  ["not found", new Deno.errors.NotFound("no record found"), "none"],
  ["timed out", new Deno.errors.TimedOut("request timed out"), "rejects"],
  ["interrupted", new Deno.errors.Interrupted("aborted"), "rejects"],
  ["anything else", new Error("malformed label"), "rejects"],
];

for (const [what, error, outcome] of RESOLVER_ERRORS) {
  Deno.test(`a resolver that says "${what}" means ${outcome === "none" ? "no record" : "no answer"}`, async () => {
    const resolveDns = mock.method(Deno, "resolveDns", () => Promise.reject(error));
    try {
      const answer = resolveSrv("_matrix-fed._tcp.example.com", new AbortController().signal);
      if (outcome === "none") assert.deepEqual(await answer, []);
      else await assert.rejects(answer, error);
      assert.deepEqual(resolveDns.mock.calls[0]?.arguments.slice(0, 2), ["_matrix-fed._tcp.example.com", "SRV"]);
    } finally {
      resolveDns.mock.restore();
    }
  });
}
