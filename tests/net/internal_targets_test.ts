// No way in: every row of internal_targets.ts through the parts that face homeservers, with real sockets up to the point
// of dialing. Each row also runs without the guard and must then reach its internal address, so that no row passes for a
// reason of its own.

import assert from "node:assert/strict";
import type { DialRule } from "../../lib/net/address_guard.ts";
import { type Reach, ruleForIn } from "../../testing/reach.ts";
import { ClientDiscovery } from "../../lib/matrix/client_discovery.ts";
import { DelayedEvents } from "../../lib/matrix/delayed_events.ts";
import { parseServerName } from "../../lib/matrix/server_name.ts";
import { FederationStack } from "../matrix/federation_stack.ts";
import { PUBLIC_ADDRESS, type Reply, ScriptedNetwork } from "../../testing/scripted_network.ts";
import { INTERNAL_TARGETS, type InternalTarget } from "./internal_targets.ts";

const PUBLIC_ADDRESSES = new Set([PUBLIC_ADDRESS, "11.0.0.2"]);

async function scriptedFor(target: InternalTarget): Promise<ScriptedNetwork> {
  const network = new ScriptedNetwork();
  for (const [name, answers] of Object.entries(target.addresses ?? {})) network.addresses.set(name, answers);
  for (const [name, records] of Object.entries(target.srv ?? {})) network.srv.set(name, records);
  const { delegate, redirect, baseUrl, server } = target;
  if (delegate === undefined && redirect === undefined && baseUrl === undefined) return network;
  await network.serve(`${server}:443`, { dnsNames: [server] }, (path) => replyTo(path, target));
  return network;
}

function replyTo(path: string, { delegate, redirect, baseUrl, hops = 0 }: InternalTarget): Reply {
  if (redirect === undefined) {
    return { body: JSON.stringify({ "m.server": delegate, "m.homeserver": { base_url: baseUrl } }) };
  }
  const hop = path.startsWith("/hop/") ? Number(path.slice("/hop/".length)) : 0;
  return { status: 302, headers: { location: hop < hops ? `/hop/${hop + 1}` : redirect } };
}

/** `address:port` of everything that was dialed on behalf of a row. */
async function dialsOf(target: InternalTarget, guard: Reach, rule?: DialRule) {
  await using network = await scriptedFor(target);
  using stack = new FederationStack(network, { guard, ...(rule === undefined ? {} : { ruleFor: () => rule }) });
  if (target.by === "delayed event") await sendDelayedEvent(target, stack, guard, rule);
  else assert.equal(await stack.verify(target.server), "401");
  const dialed = network.dials.flatMap(({ addresses, port }) => addresses.map((address) => ({ address, port })));
  return { dialed, stack };
}

async function sendDelayedEvent(
  { server }: InternalTarget,
  { client, clock }: FederationStack,
  guard: Reach,
  rule: DialRule | undefined,
): Promise<void> {
  const name = parseServerName(server);
  assert.ok(name !== null);
  const ruleFor = (serverName: string) => rule ?? ruleForIn(guard)(serverName);
  const deps = { outbound: client, ruleFor, clock, overrides: new Map<string, URL>() };
  const delayedEvents = new DelayedEvents({ outbound: client, discovery: new ClientDiscovery(deps) });
  const { outcome } = await delayedEvents.act(name, "syd_1", "send", new AbortController().signal);
  assert.equal(outcome.kind, "failed");
}

const LISTED_ONLY = { fullAccess: new Set(["listed.example"]) };
const ANYBODY = { fullAccess: "*" } as const;

for (const target of INTERNAL_TARGETS) {
  const { what, server, reaches, by = "token", isNever = false, isBeyond = false } = target;
  const isThere = (dialed: { address: string; port: number }[]) =>
    dialed.some(({ address, port }) => address === reaches.address && port === reaches.port);

  Deno.test(`${server} (${by}: ${what}) reaches nothing inside`, async () => {
    const unguarded = await dialsOf(target, LISTED_ONLY, "operator");
    assert.ok(isThere(unguarded.dialed), `Without the guard: ${JSON.stringify(unguarded.dialed)}`);

    const { dialed, stack } = await dialsOf(target, LISTED_ONLY);
    assert.deepEqual(dialed.filter(({ address, port }) => !PUBLIC_ADDRESSES.has(address) || port === 0), []);
    if (by === "token") assert.notEqual(stack.steps, "");

    const alsoClosed: Reach[] = [
      ...(isNever || isBeyond ? [ANYBODY] : []),
      ...(isNever ? [{ fullAccess: new Set([server]) }, { ...LISTED_ONLY, tlsSkipped: true }] : []),
    ];
    for (const guard of alsoClosed) {
      const { dialed } = await dialsOf(target, guard);
      assert.ok(!isThere(dialed), JSON.stringify(dialed));
    }
    // What is open: the asked name itself under `*` (over TLS that is verified), and everything to those listed.
    if (!isNever) {
      const listed = await dialsOf(target, { fullAccess: new Set([server]) });
      assert.ok(isThere(listed.dialed), `Listed: ${JSON.stringify(listed.dialed)}`);
    }
    if (!isNever && !isBeyond) {
      const anybody = await dialsOf(target, ANYBODY);
      assert.ok(isThere(anybody.dialed), `Under *: ${JSON.stringify(anybody.dialed)}`);
    }
  });
}

Deno.test("under * a delegation, an SRV record, a redirect and a base URL may lead back to the asked name inside", async () => {
  const itself = { server: "home.example", addresses: { "home.example": [["10.0.0.9"]] } };
  const ways: InternalTarget[] = [
    { ...itself, what: "delegation", delegate: "home.example:443", reaches: { address: "10.0.0.9", port: 443 } },
    { ...itself, what: "redirect", redirect: "https://home.example:444/", reaches: { address: "10.0.0.9", port: 444 } },
    {
      ...itself,
      what: "SRV",
      srv: { "_matrix-fed._tcp.home.example": [{ target: "home.example.", port: 5, priority: 1, weight: 0 }] },
      reaches: { address: "10.0.0.9", port: 5 },
    },
    {
      ...itself,
      what: "base_url",
      by: "delayed event",
      baseUrl: "https://home.example:445/",
      reaches: { address: "10.0.0.9", port: 445 },
    },
  ];
  for (const { reaches, ...target } of ways) {
    const { dialed } = await dialsOf({ reaches, ...target }, ANYBODY);
    assert.ok(dialed.some(({ port }) => port === reaches.port), `${target.what}: ${JSON.stringify(dialed)}`);
  }
});
