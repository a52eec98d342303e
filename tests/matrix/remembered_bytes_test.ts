// What thousands of made-up names leave behind, when their servers write as much as they can: bytes, not entries, are what
// fills a memory.

import assert from "node:assert/strict";
import v8 from "node:v8";
import vm from "node:vm";
import { ClientDiscovery } from "../../lib/matrix/client_discovery.ts";
import { FederationClient } from "../../lib/matrix/federation_client.ts";
import { ServerDiscovery } from "../../lib/matrix/server_discovery.ts";
import { parseServerName, type ServerName } from "../../lib/matrix/server_name.ts";
import type { OutboundResponse } from "../../lib/net/client.ts";
import { OutboundError } from "../../lib/net/outbound_error.ts";
import { FakeOutbound, respond } from "../../testing/fake_outbound.ts";
import { ManualClock } from "../../testing/manual_clock.ts";

v8.setFlagsFromString("--expose-gc");
const collect: () => void = vm.runInNewContext("gc");

const UNHURRIED = new AbortController().signal;

function heapMiB(): number {
  collect();
  return Deno.memoryUsage().heapUsed / 1024 / 1024;
}

/** Names of 251 characters, each another one. */
function nameOf(index: number): ServerName {
  const name = parseServerName(`${index}.${"x".repeat(200)}`.padEnd(243, "y") + ".example");
  assert.ok(name !== null);
  return name;
}

function longSrv(name: string) {
  const records = Array.from({ length: 40 }, (_, priority) => ({
    target: `${priority}.${name}`.padEnd(250, "t").slice(0, 250),
    port: 1,
    priority,
    weight: 1,
  }));
  return Promise.resolve(records);
}

/** Makes what remembers servers whose web servers answer so, and asks it for one. */
type Visit = (
  answer: () => OutboundResponse,
) => { readonly keeper: object; readonly ask: (name: ServerName) => unknown };

const common = { clock: new ManualClock(), ruleFor: () => "public" as const, random: () => 0.5, overrides: new Map() };

const byServerDiscovery: Visit = (answer) => {
  const keeper = new ServerDiscovery({ ...common, outbound: new Forgetful(answer), resolveSrv: longSrv });
  return { keeper, ask: (name) => keeper.resolve(name) };
};

const byClientDiscovery: Visit = (answer) => {
  const keeper = new ClientDiscovery({ ...common, outbound: new Forgetful(answer) });
  return { keeper, ask: (name) => keeper.find(name) };
};

const byFederation: Visit = (answer) => {
  const target = { secure: true, host: "a.example", port: 1, hostHeader: "a.example", tlsName: "a", basePath: "" };
  const discovery = { resolve: () => Promise.resolve({ targets: [target], steps: [] }) };
  const keeper = new FederationClient({ ...common, discovery, outbound: new Forgetful(answer) });
  return { keeper, ask: (name) => keeper.get(name, "/x", UNHURRIED) };
};

/** Keeps no request. */
class Forgetful extends FakeOutbound {
  override send(request: Parameters<FakeOutbound["send"]>[0]): Promise<OutboundResponse> {
    this.requests.length = 0;
    return super.send(request);
  }
}

const longRedirect = (length: number) => () =>
  respond(302, "", { location: `https://${Math.random()}.example/`.padEnd(length, "r") });
const failure = () => {
  throw new OutboundError("tls", `${Math.random()}`.padEnd(20_000, "f"));
};
const baseUrl = () => {
  const base_url = `https://${Math.random()}.example/`.padEnd(1024, "b");
  return respond(200, JSON.stringify({ "m.homeserver": { base_url }, padding: "p".repeat(20_000) }));
};

const WORST: readonly (readonly [what: string, visit: Visit, answer: () => OutboundResponse, maxMiB: number])[] = [
  ["redirects of 15 KB, and long SRV answers", byServerDiscovery, longRedirect(15_000), 24],
  ["redirects of 1 KB, and long SRV answers", byServerDiscovery, longRedirect(1000), 24],
  ["base URLs of 1 KB", byClientDiscovery, baseUrl, 16],
  ["failures with a text of 20 KB, at discovery", byClientDiscovery, failure, 16],
  ["failures with a text of 20 KB", byFederation, failure, 12],
];

for (const [what, visit, answer, maxMiB] of WORST) {
  Deno.test(`2,500 servers with ${what} leave at most ${maxMiB} MiB`, async () => {
    const before = heapMiB();
    const { keeper, ask } = visit(answer);
    for (let index = 0; index < 2500; index++) await ask(nameOf(index));
    const leftMiB = heapMiB() - before;
    assert.ok(leftMiB < maxMiB, `${leftMiB.toFixed(1)} MiB`);
    assert.ok(keeper); // alive until here
  });
}
