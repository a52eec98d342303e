// Userinfo over real connections: what a configuration lets through to an address inside, pooled connections and whom
// they serve, retries, caps, and the one record in the log.

import assert from "node:assert/strict";
import type { Reach } from "../../testing/reach.ts";
import { parseNetwork } from "../../lib/net/ip_range.ts";
import { parseServerName } from "../../lib/matrix/server_name.ts";
import { FederationStack, TOKEN } from "./federation_stack.ts";
import { type Reply, ScriptedNetwork, userinfo, wellKnown } from "../../testing/scripted_network.ts";

const INNER_ADDRESS = "10.0.0.5";
const LISTED = { fullAccess: new Set(["listed.example:8448"]) };
const LAN = [parseNetwork("10.0.0.0/24")].filter((network) => network !== null);

// The decision table of the guard, end to end: a server inside, with a certificate for a name.
const TABLE: [what: string, guard: Reach, server: string, certified: string, passes: boolean][] = [
  ["a listed server", LISTED, "listed.example:8448", "listed.example", true],
  ["a listed server with a wrong certificate", LISTED, "listed.example:8448", "other.example", false],
  ["a server that is not listed", LISTED, "other.example:8448", "other.example", false],
  ["any server under *, its certificate verified", { fullAccess: "*" }, "other.example:8448", "other.example", true],
  ["any server under * with a wrong certificate", { fullAccess: "*" }, "other.example:8448", "wrong.example", false],
  ["an allowed network", { ...LISTED, allowNetworks: LAN }, "other.example:8448", "other.example", true],
  ["a lab without verification", { ...LISTED, tlsSkipped: true }, "other.example:8448", "wrong.example", true],
];

for (const [what, guard, server, certified, passes] of TABLE) {
  Deno.test(`${what} ${passes ? "is asked" : "is not asked"} at an address inside`, async () => {
    await using network = new ScriptedNetwork();
    network.addresses.set(server.replace(":8448", ""), [[INNER_ADDRESS]]);
    await network.serve(server, { dnsNames: [certified] }, userinfo(`@alice:${server}`));
    using stack = new FederationStack(network, { guard });
    assert.equal(await stack.verify(server), passes ? `@alice:${server}` : "401", stack.steps);
    assert.equal(network.userinfoRequests.length, passes ? 1 : 0);
  });
}

Deno.test("an exempt server's warm connection does not serve a server that delegates to the same host", async () => {
  await using network = new ScriptedNetwork();
  network.addresses.set("listed.example", [[INNER_ADDRESS]]);
  await network.serve("listed.example:8448", { dnsNames: ["listed.example"] }, userinfo("@alice:listed.example:8448"));
  await network.serve("evil.example:443", { dnsNames: ["evil.example"] }, wellKnown("listed.example:8448"));

  using stack = new FederationStack(network, { guard: LISTED });
  assert.equal(await stack.verify("listed.example:8448"), "@alice:listed.example:8448");
  assert.equal(await stack.verify("evil.example"), "401");
  assert.equal(network.userinfoRequests.length, 1);
  assert.match(stack.advice, /its address is not public/);

  // With one rule for both, the warm connection does serve both: the pool is what the rule keeps apart.
  using ruleless = new FederationStack(network, { ruleFor: () => "internal" });
  const before = network.dials.length;
  await ruleless.verify("listed.example:8448");
  await ruleless.verify("evil.example");
  assert.equal(network.userinfoRequests.length, 3);
  assert.equal(network.dials.slice(before).filter(({ host }) => host === "listed.example").length, 1);
});

Deno.test("a blocked server costs a 401 each time, with the way to allow it", async () => {
  await using network = new ScriptedNetwork();
  network.addresses.set("lan.example", [[INNER_ADDRESS]]);
  using stack = new FederationStack(network, { guard: LISTED });
  for (let i = 0; i < 3; i++) {
    assert.equal(await stack.verify("lan.example"), "401");
    assert.match(stack.advice, /LIVEKIT_FEDERATION_ALLOW_NETWORKS/);
  }
  assert.match(stack.steps, /10\.0\.0\.5 is an internal address/);
});

/** A server whose first answers are as given; later ones vouch for Alice. */
async function flaky(first: Reply[]): Promise<ScriptedNetwork> {
  const network = new ScriptedNetwork();
  await network.serve(
    "a.example:1",
    { dnsNames: ["a.example"] },
    (path) => first.shift() ?? userinfo("@alice:a.example:1")(path),
  );
  return network;
}

Deno.test("a broken connection and a 5xx are tried once more, a second one is a 401", async () => {
  for (const fault of ["hang up", { status: 500 }, { status: 503 }] as const) {
    await using once = await flaky([fault]);
    using first = new FederationStack(once);
    assert.equal(await first.verify("a.example:1"), "@alice:a.example:1");
    assert.equal(once.requests.length, 2);

    await using twice = await flaky([fault, fault]);
    using second = new FederationStack(twice);
    assert.equal(await second.verify("a.example:1"), "401");
    assert.equal(twice.requests.length, 2);
    assert.match(second.steps, /tried once more/);
  }
});

Deno.test("a server that restarts between two requests is asked again without an error", async () => {
  await using network = await flaky([]);
  using stack = new FederationStack(network);
  assert.equal(await stack.verify("a.example:1"), "@alice:a.example:1");
  await network.serve("a.example:1", { dnsNames: ["a.example"] }, userinfo("@bob:a.example:1"));
  assert.equal(await stack.verify("a.example:1", "another token"), "@bob:a.example:1");
});

Deno.test("a refusal is not tried again", async () => {
  const refusal = { status: 401, body: '{"errcode":"M_UNKNOWN_TOKEN","error":"Access Token unknown or expired"}' };
  await using network = await flaky([refusal]);
  using stack = new FederationStack(network);
  assert.equal(await stack.verify("a.example:1"), "401");
  assert.equal(network.requests.length, 1);
  assert.match(stack.steps, /userinfo refused with M_UNKNOWN_TOKEN$/);
});

Deno.test("an answer of 64 KiB passes, a longer one is a 401", async () => {
  const padded = (length: number) => {
    const body = '{"sub":"@alice:a.example:1","x":""}';
    return { body: body.replace('""', `"${"a".repeat(length - body.length)}"`) };
  };
  await using exact = await flaky([padded(65_536)]);
  using first = new FederationStack(exact);
  assert.equal(await first.verify("a.example:1"), "@alice:a.example:1");

  await using over = await flaky([padded(65_537)]);
  using second = new FederationStack(over);
  assert.equal(await second.verify("a.example:1"), "401");
  assert.match(second.steps, /over 65536 bytes$/);
});

Deno.test("a redirect is not followed, whoever it leads to: the token stays", async () => {
  await using network = await flaky([{ status: 307, headers: { location: "https://a.example:2/elsewhere" } }]);
  await network.serve("a.example:2", { dnsNames: ["a.example"] }, userinfo("@alice:a.example:1"));
  using stack = new FederationStack(network);
  assert.equal(await stack.verify("a.example:1"), "401");
  assert.deepEqual(network.requests.map(({ at }) => at), ["a.example:1"]);
});

Deno.test("a failure is told step by step, with every URL but without the token", async () => {
  await using network = new ScriptedNetwork();
  await network.serve("b.example:443", { dnsNames: ["b.example"] }, wellKnown("c.example"));
  network.srv.set("_matrix-fed._tcp.c.example", [{ target: "d.example.", port: 5, priority: 1, weight: 1 }]);
  await network.serve("d.example:5", { dnsNames: ["c.example"] }, () => ({ status: 500, body: TOKEN }));
  using stack = new FederationStack(network);
  assert.equal(await stack.verify("b.example"), "401");
  assert.deepEqual(stack.steps.split("\n"), [
    "https://b.example/.well-known/matrix/server: delegates to c.example",
    "SRV _matrix-fed._tcp.c.example: d.example:5",
    "https://d.example:5/_matrix/federation/v1/openid/userinfo (127.0.0.1): status 500",
    "tried once more",
    "https://d.example:5/_matrix/federation/v1/openid/userinfo (127.0.0.1): status 500",
    "userinfo refused with no Matrix error code",
  ]);
  const shown = Deno.inspect(stack.refusal, { strAbbreviateSize: Infinity });
  for (const secret of [TOKEN, encodeURIComponent(TOKEN), "access_token"]) assert.ok(!shown.includes(secret));
});

Deno.test("200 users of one server at once open no more connections than a server gets", async () => {
  await using network = await flaky([]);
  using stack = new FederationStack(network);
  const users = await Promise.all(Array.from({ length: 200 }, (_, i) => stack.verify("a.example:1", `token ${i}`)));
  assert.deepEqual(new Set(users), new Set(["@alice:a.example:1"]));
  assert.equal(network.requests.length, 200);
  assert.ok(network.dials.length <= 64);
});

Deno.test("the deadline ends a look-up at a server that says nothing", async () => {
  await using network = await flaky(["silence"]);
  using stack = new FederationStack(network);
  const server = parseServerName("a.example:1");
  assert.ok(server !== null);
  const outcome = await stack.federation.get(server, "/x?access_token=secret", AbortSignal.timeout(100));
  assert.equal(outcome.outcome, "no-answer");
  assert.deepEqual(outcome.steps, ["explicit port", "https://a.example:1/x: No answer from a.example:1 in time"]);
});
