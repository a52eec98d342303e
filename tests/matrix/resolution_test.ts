// The whole resolution algorithm on a scripted network with real TLS: where the request of each step arrives, with which
// Host, SNI and certificates. Source: Matrix server-server API, "Resolving server names"; the numbers are its steps.

import assert from "node:assert/strict";
import type { CertificateRequest } from "../../testing/certificates.ts";
import { parseServerName } from "../../lib/matrix/server_name.ts";
import type { SrvRecord } from "../../lib/net/srv.ts";
import { FederationStack, TOKEN } from "./federation_stack.ts";
import { ScriptedNetwork, userinfo, wellKnown } from "../../testing/scripted_network.ts";

interface Step {
  readonly step: string;
  /** The server name asked. */
  readonly server: string;
  /** `m.server` of the server's well-known document; none without. */
  readonly delegate?: string;
  readonly srv?: Record<string, SrvRecord[]>;
  /** Where the request must arrive. */
  readonly at: string;
  readonly hostHeader: string;
  readonly sni: string | null;
  readonly certificate: CertificateRequest;
  /** Certificates that must not pass. */
  readonly wrong: CertificateRequest[];
}

function srv(target: string, port: number, priority = 10): SrvRecord[] {
  return [{ target, port, priority, weight: 5 }];
}

function names(...dnsNames: string[]): CertificateRequest {
  return { dnsNames };
}

const STEPS: Step[] = [
  {
    step: "1: IPv4 literal",
    server: "11.0.0.10",
    at: "11.0.0.10:8448",
    hostHeader: "11.0.0.10",
    sni: null,
    certificate: { addresses: ["11.0.0.10"] },
    wrong: [names("11.0.0.10"), { addresses: ["11.0.0.11"] }, names("example.com"), {}],
  },
  {
    step: "1: IPv4 literal with a port",
    server: "11.0.0.10:1234",
    at: "11.0.0.10:1234",
    hostHeader: "11.0.0.10:1234",
    sni: null,
    certificate: { addresses: ["11.0.0.10"] },
    wrong: [{ addresses: ["11.0.0.1"] }],
  },
  {
    step: "1: IPv6 literal",
    server: "[2a00::10]",
    at: "2a00::10:8448",
    hostHeader: "[2a00::10]",
    sni: null,
    certificate: { addresses: ["2a00::10"] },
    wrong: [{ addresses: ["2a00::11"] }, names("example.com")],
  },
  {
    step: "1: IPv6 literal with a port",
    server: "[2A00::10]:1234",
    at: "2A00::10:1234",
    hostHeader: "[2A00::10]:1234",
    sni: null,
    certificate: { addresses: ["2a00::10"] },
    wrong: [{ addresses: ["2a00::11"] }],
  },
  {
    step: "2: explicit port",
    server: "example.com:1234",
    at: "example.com:1234",
    hostHeader: "example.com:1234",
    sni: "example.com",
    certificate: names("example.com"),
    wrong: [names("www.example.com"), names("com"), names("evil-example.com"), { addresses: ["11.0.0.1"] }],
  },
  {
    step: "2: explicit port 8448",
    server: "Example.COM:8448",
    at: "Example.COM:8448",
    hostHeader: "Example.COM:8448",
    sni: "example.com",
    certificate: names("example.com"),
    wrong: [names("example.org")],
  },
  {
    step: "3.1: delegated to an IPv4 literal",
    server: "example.com",
    delegate: "11.0.0.10",
    at: "11.0.0.10:8448",
    hostHeader: "11.0.0.10",
    sni: null,
    certificate: { addresses: ["11.0.0.10"] },
    wrong: [names("example.com")],
  },
  {
    step: "3.1: delegated to an IPv6 literal with a port",
    server: "example.com",
    delegate: "[2a00::10]:1234",
    at: "2a00::10:1234",
    hostHeader: "[2a00::10]:1234",
    sni: null,
    certificate: { addresses: ["2a00::10"] },
    wrong: [names("example.com")],
  },
  {
    step: "3.2: delegated with a port",
    server: "example.com",
    delegate: "matrix.example:1234",
    at: "matrix.example:1234",
    hostHeader: "matrix.example:1234",
    sni: "matrix.example",
    certificate: names("matrix.example"),
    wrong: [names("example.com"), names("other.example")],
  },
  {
    step: "3.3: delegated, then SRV",
    server: "example.com",
    delegate: "matrix.example",
    srv: {
      "_matrix-fed._tcp.matrix.example": srv("target.example.", 5555),
      "_matrix._tcp.matrix.example": srv("deprecated.example.", 5556),
      "_matrix-fed._tcp.example.com": srv("not-asked.example.", 5557),
    },
    at: "target.example:5555",
    hostHeader: "matrix.example",
    sni: "matrix.example",
    certificate: names("matrix.example"),
    wrong: [names("target.example"), names("example.com")],
  },
  {
    step: "3.4: delegated, then the deprecated SRV",
    server: "example.com",
    delegate: "matrix.example",
    srv: { "_matrix._tcp.matrix.example": srv("target.example", 5555) },
    at: "target.example:5555",
    hostHeader: "matrix.example",
    sni: "matrix.example",
    certificate: names("matrix.example"),
    wrong: [names("target.example")],
  },
  {
    step: "3.5: delegated, no SRV",
    server: "example.com",
    delegate: "matrix.example",
    srv: { "_matrix-fed._tcp.example.com": srv("not-asked.example.", 5557) },
    at: "matrix.example:8448",
    hostHeader: "matrix.example",
    sni: "matrix.example",
    certificate: names("matrix.example"),
    wrong: [names("example.com")],
  },
  {
    step: "4: SRV",
    server: "example.com",
    srv: {
      "_matrix-fed._tcp.example.com": srv("target.example.", 5555),
      "_matrix._tcp.example.com": srv("deprecated.example.", 5556),
    },
    at: "target.example:5555",
    hostHeader: "example.com",
    sni: "example.com",
    certificate: names("example.com"),
    wrong: [names("target.example"), names("other.example")],
  },
  {
    step: "4: SRV to an address",
    server: "example.com",
    srv: { "_matrix-fed._tcp.example.com": srv("11.0.0.10", 5555) },
    at: "11.0.0.10:5555",
    hostHeader: "example.com",
    sni: "example.com",
    certificate: names("example.com"),
    wrong: [{ addresses: ["11.0.0.10"] }],
  },
  {
    step: "5: the deprecated SRV",
    server: "example.com",
    srv: { "_matrix._tcp.example.com": srv("target.example.", 5555) },
    at: "target.example:5555",
    hostHeader: "example.com",
    sni: "example.com",
    certificate: names("example.com"),
    wrong: [names("target.example")],
  },
  {
    step: "6: port 8448",
    server: "example.com",
    at: "example.com:8448",
    hostHeader: "example.com",
    sni: "example.com",
    certificate: names("example.com"),
    wrong: [names("www.example.com")],
  },
  {
    step: "6: port 8448 of a name with a trailing dot",
    server: "example.com.",
    at: "example.com.:8448",
    hostHeader: "example.com.",
    sni: "example.com",
    certificate: names("example.com"),
    wrong: [names("com")],
  },
];

async function scriptedFor(step: Step, certificate: CertificateRequest): Promise<ScriptedNetwork> {
  const network = new ScriptedNetwork();
  if (step.delegate !== undefined) {
    await network.serve("example.com:443", names("example.com"), wellKnown(step.delegate));
    // What the delegate's own well-known says must not count.
    const delegateHost = step.delegate.replace(/:\d+$/, "");
    if (delegateHost.startsWith("matrix")) {
      await network.serve(`${delegateHost}:443`, names(delegateHost), wellKnown("too-far.example:1"));
    }
  }
  for (const [name, records] of Object.entries(step.srv ?? {})) network.srv.set(name, records);
  await network.serve(step.at, certificate, userinfo(`@alice:${step.server}`));
  return network;
}

for (const step of STEPS) {
  Deno.test(`step ${step.step}: the request arrives with its Host, SNI and certificate name`, async () => {
    await using network = await scriptedFor(step, step.certificate);
    using stack = new FederationStack(network);
    assert.equal(await stack.verify(step.server), `@alice:${step.server}`, stack.steps);
    const path = `/_matrix/federation/v1/openid/userinfo?access_token=${encodeURIComponent(TOKEN)}`;
    const { at, sni, hostHeader } = step;
    assert.deepEqual(network.userinfoRequests, [{ at, sni, hostHeader, path }]);
    assert.ok(!network.dials.some(({ host }) => host === "too-far.example"));
    if (step.delegate !== undefined) assert.ok(!network.srvLookups.some((name) => name.endsWith(".example.com")));
  });

  Deno.test(`step ${step.step}: a certificate for anything else does not pass`, async () => {
    for (const wrong of step.wrong) {
      await using network = await scriptedFor(step, wrong);
      using stack = new FederationStack(network);
      assert.equal(await stack.verify(step.server), "401");
      assert.match(stack.steps, /TLS failed/, JSON.stringify(wrong));
      assert.deepEqual(network.userinfoRequests, []);
    }
  });
}

const NOT_SERVER_NAMES = [
  "",
  "example.com/",
  "exa mple.com",
  "[::1",
  "example.com:99999",
  "https://example.com",
  "a_b",
];

Deno.test.each(NOT_SERVER_NAMES)("%j is refused before any network use", async (server) => {
  await using network = new ScriptedNetwork();
  using stack = new FederationStack(network);
  assert.equal(await stack.verify(server), "401");
  assert.deepEqual([network.dials, network.lookups, network.srvLookups], [[], [], []]);
});

Deno.test("a single SRV target . means that the server is not to be had: no 8448, no deprecated SRV", async () => {
  await using network = new ScriptedNetwork();
  network.srv.set("_matrix-fed._tcp.example.com", srv(".", 0));
  network.srv.set("_matrix._tcp.example.com", srv("target.example.", 5555));
  await network.serve("example.com:8448", names("example.com"), userinfo("@alice:example.com"));
  await network.serve("target.example:5555", names("example.com"), userinfo("@alice:example.com"));
  using stack = new FederationStack(network);
  assert.equal(await stack.verify("example.com"), "401");
  assert.deepEqual(network.userinfoRequests, []);
  assert.match(stack.steps, /SRV _matrix-fed\._tcp\.example\.com: "\." \(no such service here\)/);
});

Deno.test('an SRV look-up that times out is no "not found": port 8448 is not tried', async () => {
  for (const name of ["_matrix-fed._tcp.example.com", "_matrix._tcp.example.com"]) {
    await using network = new ScriptedNetwork();
    network.srv.set(name, new Deno.errors.TimedOut("request timed out"));
    await network.serve("example.com:8448", names("example.com"), userinfo("@alice:example.com"));
    using stack = new FederationStack(network);
    assert.equal(await stack.verify("example.com"), "401");
    assert.deepEqual(network.userinfoRequests, []);
    assert.match(stack.steps, /no answer \(request timed out\)/);
  }
});

Deno.test("targets are tried by priority, the next one after a connect failure or a name that is not there", async () => {
  await using network = new ScriptedNetwork();
  network.srv.set("_matrix-fed._tcp.example.com", [
    ...srv("third.example.", 3, 30),
    ...srv("refusing.example.", 1, 10),
    ...srv("missing.example.", 2, 20),
    ...srv("fourth.example.", 4, 40),
  ]);
  network.addresses.set("refusing.example", [["11.0.0.2"]]);
  await network.serve("third.example:3", names("example.com"), userinfo("@alice:example.com"));
  await network.serve("fourth.example:4", names("example.com"), userinfo("@mallory:example.com"));
  using stack = new FederationStack(network);
  assert.equal(await stack.verify("example.com"), "@alice:example.com");
  assert.deepEqual(network.dials.map(({ host }) => host).slice(-2), ["refusing.example", "third.example"]);
  assert.deepEqual(network.lookups.slice(-3), ["refusing.example", "missing.example", "third.example"]);
});

Deno.test("after an HTTP answer, whatever it is, no further target is asked", async () => {
  for (const status of [401, 404, 429, 500, 302]) {
    await using network = new ScriptedNetwork();
    network.srv.set("_matrix-fed._tcp.example.com", [
      ...srv("first.example.", 1, 10),
      ...srv("second.example.", 2, 20),
    ]);
    const headers = { location: "https://second.example:2/" };
    await network.serve("first.example:1", names("example.com"), () => ({ status, headers }));
    await network.serve("second.example:2", names("example.com", "second.example"), userinfo("@alice:example.com"));
    using stack = new FederationStack(network);
    assert.equal(await stack.verify("example.com"), "401");
    assert.ok(network.userinfoRequests.every(({ at }) => at === "first.example:1"));
    assert.ok(!network.dials.some(({ host }) => host === "second.example"));
  }
});

Deno.test("an override is asked at its own address, path included, with no discovery", async () => {
  await using network = new ScriptedNetwork();
  const overrides = new Map([
    ["example.com", new URL("https://inner.example:9000/proxy/")],
    ["plain.example", new URL("http://synapse.example:8008")],
    ["literal.example", new URL("https://11.0.0.10")],
  ]);
  await network.serve("inner.example:9000", names("inner.example"), () => ({ body: '{"sub":"@alice:example.com"}' }));
  await network.servePlain("synapse.example:8008", userinfo("@alice:plain.example"));
  await network.serve("11.0.0.10:443", { addresses: ["11.0.0.10"] }, userinfo("@alice:literal.example"));
  using stack = new FederationStack(network, { overrides, guard: { overridden: new Set(overrides.keys()) } });
  for (const server of overrides.keys()) assert.equal(await stack.verify(server), `@alice:${server}`);
  assert.deepEqual(network.requests.map(({ at, sni, hostHeader }) => [at, sni, hostHeader]), [
    ["inner.example:9000", "inner.example", "inner.example:9000"],
    ["synapse.example:8008", null, "synapse.example:8008"],
    ["11.0.0.10:443", null, "11.0.0.10"],
  ]);
  assert.match(network.requests[0]?.path ?? "", /^\/proxy\/_matrix\/federation\/v1\/openid\/userinfo\?access_token=/);
  assert.deepEqual(network.srvLookups, []);
});

Deno.test("a trailing dot is no part of the certificate name", async () => {
  await using network = new ScriptedNetwork();
  using stack = new FederationStack(network);
  const server = parseServerName("example.com.:1");
  assert.ok(server !== null);
  assert.equal((await stack.discovery.resolve(server)).targets[0]?.tlsName, "example.com");
});
