// No way in: every row of inner_targets.ts through the verifier and every row of inner_client_targets.ts through the
// delayed events, with real sockets up to the point of dialling. Each row
// also runs without the guard and must then reach its internal address, so that no row passes for a reason of its own.

import assert from "node:assert/strict";
import type { AddressGuardOptions, DialRule } from "../../lib/net/address_guard.ts";
import { ClientDiscovery } from "../../lib/matrix/client_discovery.ts";
import { DelayedEvents } from "../../lib/matrix/delayed_events.ts";
import { parseServerName } from "../../lib/matrix/server_name.ts";
import { FederationStack } from "../matrix/federation_stack.ts";
import { PUBLIC_ADDRESS, type Reply, ScriptedNetwork } from "../../testing/scripted_network.ts";
import { createGuard } from "../../testing/loopback.ts";
import { DELAYED_EVENT_TARGETS } from "./inner_client_targets.ts";
import { type InnerTarget, TOKEN_TARGETS } from "./inner_targets.ts";

const PUBLIC_ADDRESSES = new Set([PUBLIC_ADDRESS, "11.0.0.2"]);

const INNER_TARGETS = [...TOKEN_TARGETS, ...DELAYED_EVENT_TARGETS];

async function scriptedFor(target: InnerTarget): Promise<ScriptedNetwork> {
  const network = new ScriptedNetwork();
  for (const [name, answers] of Object.entries(target.addresses ?? {})) network.addresses.set(name, answers);
  for (const [name, records] of Object.entries(target.srv ?? {})) network.srv.set(name, records);
  const { delegate, redirect, baseUrl, server } = target;
  if (delegate === undefined && redirect === undefined && baseUrl === undefined) return network;
  await network.serve(`${server}:443`, { dnsNames: [server] }, (path) => replyTo(path, target));
  return network;
}

function replyTo(path: string, { delegate, redirect, baseUrl, hops = 0 }: InnerTarget): Reply {
  if (redirect === undefined) {
    return { body: JSON.stringify({ "m.server": delegate, "m.homeserver": { base_url: baseUrl } }) };
  }
  const hop = path.startsWith("/hop/") ? Number(path.slice("/hop/".length)) : 0;
  return { status: 302, headers: { location: hop < hops ? `/hop/${hop + 1}` : redirect } };
}

/** `address:port` of everything that was dialled on behalf of a row. */
async function dialsOf(target: InnerTarget, guard: Partial<AddressGuardOptions>, rule?: DialRule) {
  await using network = await scriptedFor(target);
  using stack = new FederationStack(network, { guard, ...(rule === undefined ? {} : { ruleFor: () => rule }) });
  if (target.way === "delayed event") await sendDelayedEvent(target, stack, guard, rule);
  else assert.equal(await stack.verify(target.server), "401");
  const dialled = network.dials.flatMap(({ addresses, port }) => addresses.map((address) => ({ address, port })));
  return { dialled, stack };
}

async function sendDelayedEvent(
  { server }: InnerTarget,
  { client, clock }: FederationStack,
  guard: Partial<AddressGuardOptions>,
  rule: DialRule | undefined,
): Promise<void> {
  const name = parseServerName(server);
  assert.ok(name !== null);
  const ruleFor = (serverName: string) => rule ?? createGuard(guard).ruleFor(serverName);
  const deps = { outbound: client, ruleFor, monotonicNow: clock.monotonicNow, overrides: new Map<string, URL>() };
  const delayedEvents = new DelayedEvents({ outbound: client, discovery: new ClientDiscovery(deps) });
  const { outcome } = await delayedEvents.act(name, "syd_1", "send", new AbortController().signal);
  assert.equal(outcome.kind, "failed");
}

const LISTED_ONLY = { fullAccess: new Set(["listed.example"]) };

Deno.test("there are at least two hundred ways in, and no two the same", () => {
  assert.ok(INNER_TARGETS.length >= 200, `${INNER_TARGETS.length}`);
  assert.equal(new Set(INNER_TARGETS.map((target) => JSON.stringify(target))).size, INNER_TARGETS.length);
});

for (const target of INNER_TARGETS) {
  const { what, server, reaches, way = "token", isNever = false } = target;
  const isThere = (dialled: { address: string; port: number }[]) =>
    dialled.some(({ address, port }) => address === reaches.address && port === reaches.port);

  Deno.test(`${server} (${way}: ${what}) reaches nothing inside`, async () => {
    const unguarded = await dialsOf(target, LISTED_ONLY, "operator");
    assert.ok(isThere(unguarded.dialled), `Without the guard: ${JSON.stringify(unguarded.dialled)}`);

    const configurations: Partial<AddressGuardOptions>[] = isNever
      ? [LISTED_ONLY, { fullAccess: "*" }, { fullAccess: new Set([server]) }, { ...LISTED_ONLY, tlsSkipped: true }]
      : [LISTED_ONLY];
    for (const guard of configurations) {
      const { dialled, stack } = await dialsOf(target, guard);
      assert.ok(!isThere(dialled), JSON.stringify(dialled));
      if (guard === LISTED_ONLY) {
        assert.deepEqual(dialled.filter(({ address }) => !PUBLIC_ADDRESSES.has(address)), []);
        if (way === "token") assert.equal(stack.log.of("warning").length, 1);
      }
    }
  });
}
