// What server discovery remembers, for how long by the injected clock, and how much.

import assert from "node:assert/strict";
import { ServerDiscovery } from "../../lib/matrix/server_discovery.ts";
import { parseServerName, type ServerName } from "../../lib/matrix/server_name.ts";
import type { OutboundResponse } from "../../lib/net/client.ts";
import { OutboundError, type OutboundFailure } from "../../lib/net/outbound_error.ts";
import type { SrvRecord } from "../../lib/net/srv.ts";
import { FakeOutbound, respond } from "../../testing/fake_outbound.ts";
import { ManualClock } from "../../testing/manual_clock.ts";

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;

function name(text: string): ServerName {
  const parsed = parseServerName(text);
  assert.ok(parsed !== null);
  return parsed;
}

/** Discovery over a web that says what the test wants it to say. */
class Fixture {
  readonly clock = new ManualClock();
  readonly outbound: FakeOutbound;
  srvLookups: string[] = [];
  readonly discovery: ServerDiscovery;
  answer: () => OutboundResponse | Promise<OutboundResponse>;
  srv: () => Promise<SrvRecord[]> = () => Promise.resolve([]);

  constructor(answer: () => OutboundResponse | Promise<OutboundResponse>) {
    this.answer = answer;
    this.outbound = new FakeOutbound(() => this.answer());
    this.discovery = new ServerDiscovery({
      outbound: this.outbound,
      resolveSrv: (name) => {
        this.srvLookups.push(name);
        return this.srv();
      },
      ruleFor: () => "internal-verified",
      clock: this.clock,
      random: () => 0,
      overrides: new Map(),
    });
  }

  /** Host and port of the first target of example.com, or of another server. */
  async target(server = "example.com"): Promise<string> {
    const { targets } = await this.discovery.resolve(name(server));
    return targets[0] === undefined ? "none" : `${targets[0].host}:${targets[0].port}`;
  }

  /** Fetches so far. */
  get fetches(): number {
    return this.outbound.requests.length;
  }
}

function delegating(headers: Record<string, string> = {}, delegate = "delegate.example:1234"): () => OutboundResponse {
  return () => respond(200, JSON.stringify({ "m.server": delegate }), headers);
}

function failing(failure: OutboundFailure): () => OutboundResponse {
  return () => {
    throw new OutboundError(failure, "as scripted");
  };
}

const DELEGATED = "delegate.example:1234";
const DEFAULT = "example.com:8448";

const GOOD: [what: string, headers: Record<string, string>, ttlMs: number][] = [
  ["without headers", {}, 24 * HOUR_MS],
  ["with max-age", { "cache-control": "max-age=600" }, 10 * MINUTE_MS],
  ["with a max-age below the floor", { "cache-control": "max-age=1" }, 5 * MINUTE_MS],
  ["with a max-age above the cap", { "cache-control": "max-age=31536000" }, 48 * HOUR_MS],
  ["with Expires", { expires: new Date(new ManualClock().now() + HOUR_MS).toUTCString() }, HOUR_MS],
];

for (const [what, headers, ttlMs] of GOOD) {
  Deno.test(`a document ${what} is served for ${ttlMs / MINUTE_MS} min, then fetched again`, async () => {
    const fixture = new Fixture(delegating(headers));
    assert.equal(await fixture.target(), DELEGATED);
    fixture.answer = delegating(headers, "moved.example:1");
    fixture.clock.advance(ttlMs - 1);
    assert.equal(await fixture.target(), DELEGATED);
    assert.equal(fixture.fetches, 1);
    fixture.clock.advance(1);
    assert.equal(await fixture.target(), "moved.example:1");
    assert.equal(fixture.fetches, 2);
  });
}

const FAILURES: [what: string, answer: () => OutboundResponse, ttlMs: number][] = [
  ["404", () => respond(404, "{}"), HOUR_MS],
  ["403", () => respond(403, "{}"), HOUR_MS],
  ["no JSON", () => respond(200, "<html>"), HOUR_MS],
  ["no m.server", () => respond(200, "{}"), HOUR_MS],
  ["no server name", delegating({}, "not a name"), HOUR_MS],
  ["a refused redirect", () => respond(302, "", { location: "http://a.example/" }), HOUR_MS],
  ["too many bytes", failing("too-large"), HOUR_MS],
  ["500", () => respond(500, ""), 30 * SECOND_MS],
  ["503", () => respond(503, ""), 30 * SECOND_MS],
  ["429", () => respond(429, ""), 30 * SECOND_MS],
  ["408", () => respond(408, ""), 30 * SECOND_MS],
  ...(["dns", "connect", "tls", "reset", "timeout", "protocol", "blocked"] as const).map(
    (
      failure,
    ): [string, () => OutboundResponse, number] => [`the failure "${failure}"`, failing(failure), 30 * SECOND_MS],
  ),
];

for (const [what, answer, ttlMs] of FAILURES) {
  const isTransient = ttlMs < MINUTE_MS;

  Deno.test(`${what} is remembered for ${ttlMs / SECOND_MS} s`, async () => {
    const fixture = new Fixture(answer);
    assert.equal(await fixture.target(), DEFAULT);
    fixture.answer = delegating();
    fixture.clock.advance(ttlMs - 1);
    assert.equal(await fixture.target(), DEFAULT);
    assert.equal(fixture.fetches, 1);
    fixture.clock.advance(1);
    assert.equal(await fixture.target(), DELEGATED);
    assert.equal(fixture.fetches, 2);
  });

  Deno.test(`${what} ${isTransient ? "keeps" : "ends"} the good answer before it`, async () => {
    const fixture = new Fixture(delegating({ "cache-control": "max-age=600" }));
    assert.equal(await fixture.target(), DELEGATED);
    fixture.answer = answer;
    fixture.clock.advance(10 * MINUTE_MS);
    assert.equal(await fixture.target(), isTransient ? DELEGATED : DEFAULT);
    assert.equal(fixture.fetches, 2);
  });
}

Deno.test("through a long blip the good answer is kept until it is 48 h old, asked for twice a minute at most", async () => {
  const fixture = new Fixture(delegating({ "cache-control": "max-age=600" }));
  assert.equal(await fixture.target(), DELEGATED);
  fixture.answer = failing("connect");
  fixture.clock.advance(48 * HOUR_MS - 31 * SECOND_MS);
  assert.equal(await fixture.target(), DELEGATED);
  fixture.clock.advance(30 * SECOND_MS - 1);
  assert.equal(await fixture.target(), DELEGATED);
  assert.equal(fixture.fetches, 2);
  fixture.clock.advance(1);
  assert.equal(await fixture.target(), DELEGATED);
  assert.equal(fixture.fetches, 3);
  fixture.clock.advance(30 * SECOND_MS);
  assert.equal(await fixture.target(), DEFAULT);
  fixture.answer = delegating();
  fixture.clock.advance(30 * SECOND_MS);
  assert.equal(await fixture.target(), DELEGATED);
});

Deno.test("the step of a kept answer tells both the failure and what is kept", async () => {
  const fixture = new Fixture(delegating());
  await fixture.target();
  fixture.answer = failing("tls");
  fixture.clock.advance(24 * HOUR_MS);
  const { steps } = await fixture.discovery.resolve(name("example.com"));
  assert.match(steps[0] ?? "", /as scripted; kept: delegates to delegate\.example:1234$/);
});

Deno.test("a host that hangs does not end resolution: SRV and port 8448 get their turn, a good answer is kept", async () => {
  for (const [before, expected] of [[null, DEFAULT], [delegating(), DELEGATED]] as const) {
    const fixture = new Fixture(before ?? failing("connect"));
    if (before !== null) await fixture.target();
    fixture.clock.advance(24 * HOUR_MS);
    fixture.answer = () =>
      new Promise((_, reject) => {
        const signal = fixture.outbound.requests.at(-1)?.signal;
        signal?.addEventListener("abort", () => reject(new OutboundError("timeout", "as scripted")));
      });
    const target = fixture.target();
    fixture.clock.advance(3500);
    assert.equal(await target, expected);
  }
});

const SRV: [what: string, records: SrvRecord[], first: string, ttlMs: number][] = [
  ["found", [{ target: "target.example.", port: 5555, priority: 1, weight: 1 }], "target.example:5555", 5 * MINUTE_MS],
  ["none", [], DEFAULT, 30 * SECOND_MS],
  ["unavailable", [{ target: ".", port: 0, priority: 0, weight: 0 }], "none", 30 * SECOND_MS],
];

for (const [what, records, first, ttlMs] of SRV) {
  Deno.test(`an SRV answer "${what}" is remembered for ${ttlMs / SECOND_MS} s`, async () => {
    const fixture = new Fixture(() => respond(404, ""));
    fixture.srv = () => Promise.resolve(records);
    assert.equal(await fixture.target(), first);
    const lookups = fixture.srvLookups.length;
    fixture.srv = () => Promise.resolve([{ target: "new.example", port: 1, priority: 1, weight: 1 }]);
    fixture.clock.advance(ttlMs - 1);
    assert.equal(await fixture.target(), first);
    assert.equal(fixture.srvLookups.length, lookups);
    fixture.clock.advance(1);
    assert.equal(await fixture.target(), "new.example:1");
  });
}

Deno.test("an SRV look-up without an answer is not remembered", async () => {
  const fixture = new Fixture(() => respond(404, ""));
  fixture.srv = () => Promise.reject(new Deno.errors.TimedOut("as scripted"));
  assert.equal(await fixture.target(), "none");
  fixture.srv = () => Promise.resolve([]);
  assert.equal(await fixture.target(), DEFAULT);
});

Deno.test("an SRV look-up that hangs ends after 2.5 s without a target", async () => {
  const fixture = new Fixture(() => respond(404, ""));
  fixture.srv = () => new Promise(() => {});
  const target = fixture.target();
  while (fixture.srvLookups.length === 0) await Promise.resolve();
  fixture.clock.advance(2500);
  assert.equal(await target, "none");
});

Deno.test("200 callers at once cost one fetch and one SRV look-up per name", async () => {
  const fixture = new Fixture(() => respond(404, ""));
  const targets = await Promise.all(Array.from({ length: 200 }, () => fixture.target()));
  assert.deepEqual(new Set(targets), new Set([DEFAULT]));
  assert.equal(fixture.fetches, 1);
  assert.deepEqual(fixture.srvLookups, ["_matrix-fed._tcp.example.com", "_matrix._tcp.example.com"]);
});

Deno.test("literals, explicit ports and overrides ask nobody", async () => {
  const fixture = new Fixture(delegating());
  for (const server of ["192.0.2.1", "[2001:db8::1]", "example.com:1234", "192.0.2.1:1"]) await fixture.target(server);
  assert.equal(fixture.fetches, 0);
  assert.deepEqual(fixture.srvLookups, []);
});

Deno.test("at most 2,000 servers are remembered, and those asked for last", async () => {
  const fixture = new Fixture(delegating());
  for (let i = 0; i < 2000; i++) await fixture.target(`s${i}.example`);
  await fixture.target("s0.example"); // used again: s1 is the oldest now
  assert.equal(fixture.fetches, 2000);
  await fixture.target("one-more.example");
  await fixture.target("s0.example");
  assert.equal(fixture.fetches, 2001);
  await fixture.target("s1.example");
  assert.equal(fixture.fetches, 2002);
});

Deno.test("a redirect to a long address is not followed, and what is remembered of it is short", async () => {
  const fixture = new Fixture(() => respond(302, "", { location: `https://a.example/${"x".repeat(15_000)}` }));
  const { steps } = await fixture.discovery.resolve(name("example.com"));
  assert.equal(fixture.fetches, 1);
  assert.equal(
    steps[0],
    "https://example.com/.well-known/matrix/server: redirect 302 with a Location over 1024 characters",
  );
});

Deno.test("a redirect to an address of 1,024 characters is followed, its step cut", async () => {
  const location = "https://a.example/".padEnd(1024, "x");
  const answers = [respond(302, "", { location })];
  const fixture = new Fixture(() => answers.shift() ?? respond(500, ""));
  const { steps } = await fixture.discovery.resolve(name("example.com"));
  assert.equal(fixture.fetches, 2);
  assert.ok(steps.every((step) => step.length <= 300));
});

Deno.test("of an SRV answer with long names only so many are kept as fit into 1 KB, the best first", async () => {
  const fixture = new Fixture(() => respond(404, ""));
  const target = (priority: number) => ({ target: `${"x".repeat(249)}.${priority}`, port: 1, priority, weight: 1 });
  fixture.srv = () => Promise.resolve([9, 3, 1, 7, 5, 2].map(target));
  const { targets, steps } = await fixture.discovery.resolve(name("example.com"));
  assert.deepEqual(targets.map(({ host }) => host.at(-1)), ["1", "2", "3", "5"]);
  assert.ok(steps.every((step) => step.length <= 300));
});
