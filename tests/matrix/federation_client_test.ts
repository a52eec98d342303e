// Asking a homeserver: the one retry, the order of targets, the deadline, and the steps for the log.

import assert from "node:assert/strict";
import { FederationClient, type FederationOutcome } from "../../lib/matrix/federation_client.ts";
import type { Target } from "../../lib/matrix/server_discovery.ts";
import { parseServerName } from "../../lib/matrix/server_name.ts";
import type { DialRule } from "../../lib/net/address_guard.ts";
import type { OutboundRequest, OutboundResponse } from "../../lib/net/client.ts";
import { OutboundError, type OutboundFailure } from "../../lib/net/outbound_error.ts";
import { FakeOutbound, respond } from "../../testing/fake_outbound.ts";
import { ManualClock } from "../../testing/manual_clock.ts";

type Script = (OutboundFailure | number)[];

function target(host: string): Target {
  return { secure: true, host, port: 8448, hostHeader: host, tlsName: host, basePath: "" };
}

/** A client whose requests fare as scripted, one after the other. */
class Fixture {
  readonly clock = new ManualClock();
  readonly outbound: FakeOutbound;
  readonly pauses: number[] = [];
  readonly client: FederationClient;
  /** How long each request takes, in ms. */
  durationMs = 0;
  rule: DialRule = "public";

  constructor(script: Script, hosts = ["a.example"]) {
    this.outbound = new FakeOutbound((request) => this.#next(script, request));
    this.client = new FederationClient({
      outbound: this.outbound,
      discovery: { resolve: () => Promise.resolve({ targets: hosts.map(target), steps: ["as scripted"] }) },
      ruleFor: () => this.rule,
      isKnown: (server) => server === "known.example",
      clock: {
        ...this.clock,
        sleep: (durationMs) => {
          this.pauses.push(durationMs);
          return Promise.resolve();
        },
      },
      random: () => 0.5,
    });
  }

  get(signal = new AbortController().signal, name = "example.com"): Promise<FederationOutcome> {
    const server = parseServerName(name);
    assert.ok(server !== null);
    return this.client.get(server, "/path?access_token=secret", signal);
  }

  get hosts(): string[] {
    return this.outbound.requests.map(({ host }) => host);
  }

  #next(script: Script, request: OutboundRequest): OutboundResponse {
    this.clock.advance(this.durationMs);
    const next = script.shift();
    assert.ok(next !== undefined, "One request more than scripted");
    if (typeof next === "number") return respond(next, "{}");
    throw new OutboundError(next, `${next} at ${request.host}:${request.port}`);
  }
}

const RETRIES: [script: Script, outcome: number | null, pauses: number[]][] = [
  [[200], 200, []],
  [["reset", 200], 200, []],
  [["connect", 200], 200, [250]],
  [[500, 200], 200, [250]],
  [[502, 200], 200, [250]],
  [[503, 503], 503, [250]],
  [[500, "reset"], null, [250]],
  [["reset", "reset"], null, []],
  [["connect", "connect"], null, [250]],
  [["reset", 401], 401, []],
  [[401], 401, []],
  [[403], 403, []],
  [[404], 404, []],
  [[429], 429, []],
  [[302], 302, []],
  [["tls"], null, []],
  [["timeout"], null, []],
  [["protocol"], null, []],
  [["too-large"], null, []],
  [["blocked"], null, []],
  [["dns"], null, []],
];

for (const [script, expected, pauses] of RETRIES) {
  Deno.test(`${script.join(", then ")} ends with ${expected ?? "no answer"}`, async () => {
    const left = [...script];
    const fixture = new Fixture(left);
    const outcome = await fixture.get();
    assert.equal(outcome.outcome === "answer" ? outcome.response.status : null, expected);
    assert.deepEqual(left, []);
    assert.deepEqual(fixture.pauses, pauses);
    assert.equal(outcome.steps.filter((step) => step === "tried once more").length, script.length - 1);
    const last = script.at(-1);
    assert.equal(outcome.outcome === "no-answer" ? outcome.failure : null, typeof last === "string" ? last : null);
    assert.ok(!outcome.steps.join().includes("secret"));
  });
}

Deno.test("what failed slowly is not tried again", async () => {
  for (const failure of ["connect", 500] as const) {
    const fixture = new Fixture([failure]);
    fixture.durationMs = 3000;
    await fixture.get();
    assert.equal(fixture.hosts.length, 1);
  }
});

Deno.test("a broken connection is tried again however long it took on a busy host", async () => {
  const fixture = new Fixture(["reset", 200]);
  fixture.durationMs = 4000;
  assert.equal((await fixture.get()).outcome, "answer");
  assert.equal(fixture.hosts.length, 2);
});

Deno.test("nothing is tried again once the deadline has passed, not even within the pause", async () => {
  const controller = new AbortController();
  const fixture = new Fixture(["connect"]);
  controller.abort();
  assert.equal((await fixture.get(controller.signal)).outcome, "no-answer");
  assert.equal(fixture.hosts.length, 1);
});

Deno.test("the next target is tried after connect, dns and blocked, and after nothing else", async () => {
  for (const failure of ["connect", "dns", "blocked"] as const) {
    const fixture = new Fixture([failure, 200], ["a.example", "b.example"]);
    assert.equal((await fixture.get()).outcome, "answer");
    assert.deepEqual(fixture.hosts, ["a.example", "b.example"]);
  }
  for (const failure of ["tls", "timeout", "protocol", "too-large", 401, 404] as const) {
    const fixture = new Fixture([failure], ["a.example", "b.example"]);
    await fixture.get();
    assert.deepEqual(fixture.hosts, ["a.example"]);
  }
});

Deno.test("a server without targets is no answer, at once", async () => {
  const fixture = new Fixture([], []);
  assert.deepEqual(await fixture.get(), {
    outcome: "no-answer",
    failure: "dns",
    steps: ["as scripted"],
  });
});

Deno.test("the request carries the target, the rule, the caps and the deadline", async () => {
  const fixture = new Fixture([200]);
  const { signal } = new AbortController();
  await fixture.get(signal);
  assert.deepEqual(fixture.outbound.requests[0], {
    ...target("a.example"),
    method: "GET",
    path: "/path?access_token=secret",
    rule: "public",
    headers: { accept: "application/json" },
    maxResponseBytes: 65_536,
    signal,
    connectTimeoutMs: 4000,
  });
});

Deno.test("the steps holds every step, IPv6 addresses in brackets", async () => {
  const fixture = new Fixture(["connect", "reset", "connect", 200], ["2001:db8::1", "b.example"]);
  const { steps } = await fixture.get();
  assert.deepEqual(steps, [
    "as scripted",
    "https://[2001:db8::1]:8448/path: connect at 2001:db8::1:8448",
    "https://b.example:8448/path: reset at b.example:8448",
    "tried once more",
    "https://[2001:db8::1]:8448/path: connect at 2001:db8::1:8448",
    "https://b.example:8448/path (192.0.2.1): status 200",
  ]);
});

Deno.test("a server that could not be reached is not asked again at once, and is as soon as it may be back", async () => {
  const fixture = new Fixture(["tls", 200, 200]);
  assert.equal((await fixture.get()).outcome, "no-answer");
  for (let times = 0; times < 3; times++) {
    assert.deepEqual(await fixture.get(), {
      outcome: "not-asked",
      steps: ["not asked again, after a moment ago:", "https://a.example:8448/path: tls at a.example:8448"],
    });
  }
  assert.equal(fixture.hosts.length, 1);
  fixture.clock.advance(1000);
  const [probe, meanwhile] = await Promise.all([fixture.get(), fixture.get()]);
  assert.deepEqual([probe.outcome, meanwhile.outcome], ["answer", "not-asked"]);
  assert.equal((await fixture.get()).outcome, "answer");
});

Deno.test("a token that is refused is not held against the next one", async () => {
  const fixture = new Fixture([401, 200]);
  await fixture.get();
  assert.equal((await fixture.get()).outcome, "answer");
});

const PAUSES: readonly (readonly [tookMs: number, pauseMs: number])[] = [[0, 1000], [3000, 3000], [9000, 5000]];

for (const [tookMs, pauseMs] of PAUSES) {
  Deno.test(`a server that took ${tookMs} ms not to be reached is left alone for ${pauseMs} ms`, async () => {
    const fixture = new Fixture(["dns", 200]);
    fixture.durationMs = tookMs;
    await fixture.get();
    fixture.clock.advance(pauseMs - 1);
    assert.equal((await fixture.get()).outcome, "not-asked");
    fixture.clock.advance(1);
    assert.equal((await fixture.get()).outcome, "answer");
  });
}

Deno.test("only dns, connect and tls count as out of reach", async () => {
  for (const failure of ["timeout", "reset", "blocked", "protocol", "too-large"] as const) {
    const fixture = new Fixture([failure, ...(failure === "reset" ? [failure] : []), 200]);
    await fixture.get();
    assert.equal((await fixture.get()).outcome, "answer", failure);
  }
});

Deno.test("another spelling of a name knows nothing of the failure, and at most 2,000 are remembered", async () => {
  const fixture = new Fixture(Array.from({ length: 2002 }, () => "tls" as const));
  for (let index = 0; index <= 2000; index++) await fixture.get(undefined, `${index}.example`);
  assert.equal(fixture.client.unreachable, 2000);
  assert.equal((await fixture.get(undefined, "2000.example")).outcome, "not-asked");
  assert.equal((await fixture.get(undefined, "2000.EXAMPLE")).outcome, "no-answer");
});

Deno.test("a step is 300 bytes long at most, whatever a server's address is", async () => {
  const fixture = new Fixture(["tls"], [`${"a".repeat(250)}.example`]);
  const { steps } = await fixture.get();
  for (const step of steps) assert.ok(step.length <= 300, `${step.length}`);
  assert.match(steps.at(-1) ?? "", /…\(\+\d+ bytes\)$/);
});

Deno.test("a server that is known is worth more connections than a stranger", async () => {
  const fixture = new Fixture([200, 200]);
  await fixture.get(undefined, "known.example");
  await fixture.get(undefined, "stranger.example");
  assert.deepEqual(fixture.outbound.requests.map(({ maxConnections }) => maxConnections), [256, undefined]);
});

Deno.test("under * a target that is not the asked name itself is dialed by the rule for strangers", async () => {
  const fixture = new Fixture(["connect", 200], ["other.example", "known.example"]);
  fixture.rule = "internal-verified";
  await fixture.get(undefined, "known.example:8448");
  assert.deepEqual(fixture.outbound.requests.map(({ host, rule }) => [host, rule]), [
    ["other.example", "public"],
    ["known.example", "internal-verified"],
  ]);
});
