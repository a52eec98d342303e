// Where a homeserver's client-server API is: overrides, the well-known document, what is remembered and for how long.

import assert from "node:assert/strict";
import { ClientDiscovery } from "../../lib/matrix/client_discovery.ts";
import { parseServerName, type ServerName } from "../../lib/matrix/server_name.ts";
import type { OutboundRequest, OutboundResponse } from "../../lib/net/client.ts";
import { OutboundError } from "../../lib/net/outbound_error.ts";
import { FakeOutbound, respond } from "../../testing/fake_outbound.ts";
import { ManualClock } from "../../testing/manual_clock.ts";

const HOUR = 3_600_000;

function server(name: string): ServerName {
  const parsed = parseServerName(name);
  assert.ok(parsed !== null);
  return parsed;
}

function wellKnown(baseUrl: unknown): OutboundResponse {
  return respond(200, JSON.stringify({ "m.homeserver": { base_url: baseUrl } }));
}

function bench(
  answer: (request: OutboundRequest) => OutboundResponse | Promise<OutboundResponse>,
  overrides: Readonly<Record<string, string>> = {},
) {
  const clock = new ManualClock();
  const outbound = new FakeOutbound(answer);
  const discovery = new ClientDiscovery({
    outbound,
    ruleFor: (name) => name === "listed.example" ? "internal" : "public",
    clock,
    overrides: new Map(Object.entries(overrides).map(([name, url]) => [name, new URL(url)])),
  });
  return { clock, outbound, discovery };
}

const urlOf = ({ secure, hostHeader, path }: OutboundRequest) => `${secure ? "https" : "http"}://${hostHeader}${path}`;

const FOUND: readonly (readonly [name: string, asked: string, baseUrl: string])[] = [
  ["example.com", "https://example.com/.well-known/matrix/client", "https://matrix.example.com"],
  ["example.com", "https://example.com/.well-known/matrix/client", "https://matrix.example.com/"],
  ["example.com", "https://example.com/.well-known/matrix/client", "https://example.com/path/"],
  ["example.com:8448", "https://example.com/.well-known/matrix/client", "https://example.com:8448"],
  ["192.0.2.7", "https://192.0.2.7/.well-known/matrix/client", "https://192.0.2.7"],
  ["[2001:db8::1]:8448", "https://[2001:db8::1]/.well-known/matrix/client", "https://example.com"],
];
for (const [name, asked, baseUrl] of FOUND) {
  Deno.test(`${name} has its API at ${baseUrl}`, async () => {
    const { discovery, outbound } = bench(() => wellKnown(baseUrl));
    const found = await discovery.find(server(name));
    assert.ok(found.outcome === "found");
    assert.equal(found.api.baseUrl.href, new URL(baseUrl).href);
    assert.deepEqual(outbound.requests.map(urlOf), [asked]);
  });
}

Deno.test("a server with a port is asked at it too, when its host name says nothing", async () => {
  const { discovery, outbound } = bench(({ port }) =>
    port === 8448 ? wellKnown("https://localhost:8448/") : respond(404, "")
  );
  const found = await discovery.find(server("localhost:8448"));
  assert.equal(found.outcome, "found");
  assert.deepEqual(outbound.requests.map(urlOf), [
    "https://localhost/.well-known/matrix/client",
    "https://localhost:8448/.well-known/matrix/client",
  ]);
});

Deno.test("an override needs no question, and goes by the operator's rule", async () => {
  const { discovery, outbound } = bench(() => respond(500, ""), { "example.com": "http://synapse:8008/base" });
  const found = await discovery.find(server("example.com"));
  assert.deepEqual(found, {
    outcome: "found",
    api: { baseUrl: new URL("http://synapse:8008/base"), rule: "internal" },
  });
  assert.equal(outbound.requests.length, 0);
});

Deno.test("the question and the API it names are dialed by the rule of the server asked for", async () => {
  for (const [name, rule] of [["example.com", "public"], ["listed.example", "internal"]] as const) {
    const { discovery, outbound } = bench(() => wellKnown("https://10.0.0.1"));
    const found = await discovery.find(server(name));
    assert.ok(found.outcome === "found");
    assert.deepEqual([found.api.rule, outbound.requests[0]?.rule], [rule, rule]);
  }
});

Deno.test("redirects are followed, to https only", async () => {
  const to = (location: string) =>
    bench(({ path }) => path === "/moved" ? wellKnown("https://matrix.example.com") : respond(302, "", { location }));
  const good = to("https://www.example.com/moved");
  assert.equal((await good.discovery.find(server("example.com"))).outcome, "found");
  const bad = to("http://www.example.com/moved");
  assert.equal((await bad.discovery.find(server("example.com"))).outcome, "not-found");
});

const NOT_FOUND: readonly (readonly [name: string, answer: () => OutboundResponse, steps: RegExp])[] = [
  ["a 404", () => respond(404, ""), /status 404/],
  ["a 204", () => respond(204, ""), /status 204/],
  ["something that is no JSON", () => respond(200, "<html>"), /not JSON/],
  ["no m.homeserver", () => respond(200, "{}"), /no text "base_url"/],
  ["a base_url that is no text", () => wellKnown(7), /no text "base_url"/],
  ["a base_url that is no URL", () => wellKnown("matrix.example.com"), /is no URL/],
  ["a base_url without TLS", () => wellKnown("http://matrix.example.com"), /is not https/],
  ["a base_url over 1 KB", () => wellKnown("https://a.example/".padEnd(1025, "x")), /over 1024 characters/],
  ["a base_url of another scheme", () => wellKnown("file:///etc/passwd"), /is not https/],
  ["no connection", () => {
    throw new OutboundError("connect", "connection refused");
  }, /connection refused/],
  ["an address that the guard refuses", () => {
    throw new OutboundError("blocked", "Dial refused by the address guard");
  }, /address guard/],
];
for (const [name, answer, steps] of NOT_FOUND) {
  Deno.test(`${name} means that there is no API, and says so`, async () => {
    const { discovery } = bench(answer);
    const found = await discovery.find(server("example.com"));
    assert.ok(found.outcome === "not-found");
    assert.match(found.steps.join("; "), steps);
  });
}

Deno.test("an API is remembered for four hours, its absence for half a minute", async () => {
  let answer = wellKnown("https://matrix.example.com");
  const { discovery, outbound, clock } = bench(() => answer);
  const name = server("example.com");
  const asked = async (afterMs: number) => {
    clock.advance(afterMs);
    const { outcome } = await discovery.find(name);
    return [outcome, outbound.requests.length];
  };
  assert.deepEqual(await asked(0), ["found", 1]);
  assert.deepEqual(await asked(4 * HOUR - 1), ["found", 1]);
  assert.deepEqual(await asked(1), ["found", 2]);
  answer = respond(500, "");
  const other = bench(() => answer);
  assert.equal((await other.discovery.find(name)).outcome, "not-found");
  other.clock.advance(29_999);
  await other.discovery.find(name);
  assert.equal(other.outbound.requests.length, 1);
  answer = wellKnown("https://matrix.example.com");
  other.clock.advance(1);
  assert.equal((await other.discovery.find(name)).outcome, "found");
});

Deno.test("through a blip the last good answer is kept, for two days at most", async () => {
  let answer = wellKnown("https://matrix.example.com");
  const { discovery, outbound, clock } = bench(() => answer);
  const name = server("example.com");
  await discovery.find(name);
  answer = respond(502, "");
  clock.advance(5 * HOUR);
  assert.equal((await discovery.find(name)).outcome, "found");
  assert.equal(outbound.requests.length, 2);
  clock.advance(43 * HOUR - 1);
  assert.equal((await discovery.find(name)).outcome, "found");
  clock.advance(30_001);
  assert.equal((await discovery.find(name)).outcome, "not-found");
});

Deno.test("many who ask at once ask once", async () => {
  const { discovery, outbound } = bench(() => Promise.resolve(wellKnown("https://matrix.example.com")));
  await Promise.all(Array.from({ length: 50 }, () => discovery.find(server("example.com"))));
  assert.equal(outbound.requests.length, 1);
});
