// No way in: every row of inner_targets.ts through the verifier, with real sockets up to the point of dialling. Each row
// also runs without the guard and must then reach its inner address, so that no row passes for a reason of its own.

import assert from "node:assert/strict";
import type { AddressGuardOptions, DialRule } from "../../lib/net/address_guard.ts";
import { FederationStack } from "../matrix/federation_stack.ts";
import { PUBLIC_ADDRESS, type Reply, ScriptedNetwork } from "../matrix/scripted_network.ts";
import { INNER_TARGETS, type InnerTarget } from "./inner_targets.ts";

const PUBLIC_ADDRESSES = new Set([PUBLIC_ADDRESS, "11.0.0.2"]);

async function scriptedFor(target: InnerTarget): Promise<ScriptedNetwork> {
  const network = new ScriptedNetwork();
  for (const [name, answers] of Object.entries(target.addresses ?? {})) network.addresses.set(name, answers);
  for (const [name, records] of Object.entries(target.srv ?? {})) network.srv.set(name, records);
  const { delegate, redirect } = target;
  const reply: Reply | null = delegate !== undefined
    ? { body: JSON.stringify({ "m.server": delegate }) }
    : redirect !== undefined
    ? { status: 302, headers: { location: redirect } }
    : null;
  if (reply !== null) await network.serve(`${target.server}:443`, { dnsNames: [target.server] }, () => reply);
  return network;
}

/** `address:port` of everything that was dialled on behalf of a row. */
async function dialsOf(target: InnerTarget, guard: Partial<AddressGuardOptions>, rule?: DialRule) {
  await using network = await scriptedFor(target);
  using stack = new FederationStack(network, { guard, ...(rule === undefined ? {} : { ruleFor: () => rule }) });
  assert.equal(await stack.verify(target.server), "401");
  const dialled = network.dials.flatMap(({ addresses, port }) => addresses.map((address) => ({ address, port })));
  return { dialled, stack };
}

const LISTED_ONLY = { fullAccess: new Set(["listed.example"]) };

Deno.test("there are at least sixty ways in", () => {
  assert.ok(INNER_TARGETS.length >= 60, `${INNER_TARGETS.length}`);
});

for (const target of INNER_TARGETS) {
  const { what, server, reaches, isNever = false } = target;
  const isThere = (dialled: { address: string; port: number }[]) =>
    dialled.some(({ address, port }) => address === reaches.address && port === reaches.port);

  Deno.test(`${server} (${what}) reaches nothing inside`, async () => {
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
        assert.ok(stack.log.of("warning").length === 1);
      }
    }
  });
}
