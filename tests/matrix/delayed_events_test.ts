// Calls of delayed events: where they go, and what each answer means.

import assert from "node:assert/strict";
import { ClientDiscovery } from "../../lib/matrix/client_discovery.ts";
import { DelayedEvents } from "../../lib/matrix/delayed_events.ts";
import { parseServerName, type ServerName } from "../../lib/matrix/server_name.ts";
import { OutboundError } from "../../lib/net/client.ts";
import { type Answer, FakeOutbound, respond } from "../http/fake_outbound.ts";

const WELL_KNOWN = JSON.stringify({ "m.homeserver": { base_url: "https://matrix.example.com/" } });

function name(text: string): ServerName {
  const parsed = parseServerName(text);
  assert.ok(parsed !== null);
  return parsed;
}

function build(answer: Answer, overrides = new Map<string, URL>()) {
  const outbound = new FakeOutbound((request) =>
    request.path.startsWith("/.well-known/") ? respond(200, WELL_KNOWN) : answer(request)
  );
  const discovery = new ClientDiscovery({ outbound, ruleFor: () => "public", monotonicNow: () => 0, overrides });
  return { outbound, discovery, events: new DelayedEvents({ outbound, discovery }) };
}

const act = (events: DelayedEvents) =>
  events.act(name("example.com"), "syd/1?", "send", new AbortController().signal).then(({ outcome }) => outcome.kind);

const ANSWERS: readonly (readonly [number, object, string])[] = [
  [200, {}, "done"],
  [404, { errcode: "M_NOT_FOUND" }, "gone"],
  [404, { errcode: "M_UNRECOGNIZED" }, "refused"],
  [404, {}, "failed"],
  [409, { errcode: "M_UNKNOWN" }, "gone"],
  [403, { errcode: "M_FORBIDDEN" }, "refused"],
  [401, { errcode: "M_MISSING_TOKEN" }, "refused"],
  [429, { errcode: "M_LIMIT_EXCEEDED", retry_after_ms: 1500 }, "limited"],
  [500, { errcode: "M_UNKNOWN" }, "failed"],
  [503, {}, "failed"],
];

for (const [status, body, kind] of ANSWERS) {
  Deno.test(`${status} ${JSON.stringify(body)} is "${kind}"`, async () => {
    const { events } = build(() => respond(status, JSON.stringify(body)));
    assert.equal(await act(events), kind);
  });
}

Deno.test("a call goes to the base URL of the well-known document, its ID encoded, without authentication", async () => {
  const { events, outbound } = build(() => respond(200, "{}"));
  await act(events);
  const [, call] = outbound.requests;
  assert.equal(call?.hostHeader, "matrix.example.com");
  assert.equal(call?.path, "/_matrix/client/unstable/org.matrix.msc4140/delayed_events/syd%2F1%3F/send");
  assert.equal(call?.headers?.authorization, undefined);
});

Deno.test("no connection is a failure, not an end", async () => {
  const { events } = build(() => {
    throw new OutboundError("connect", "refused");
  });
  assert.equal(await act(events), "failed");
});

Deno.test("an override goes before discovery, and may be plain HTTP", async () => {
  const { outbound, events } = build(
    () => respond(200, "{}"),
    new Map([["example.com", new URL("http://synapse:8008/base/")]]),
  );
  await act(events);
  assert.deepEqual([outbound.requests.length, outbound.requests[0]?.host], [1, "synapse"]);
  assert.match(outbound.requests[0]?.path ?? "", /^\/base\/_matrix\//);
});

for (
  const [what, document] of [
    ["is not https", { "m.homeserver": { base_url: "http://inner" } }],
    ["is no URL", { "m.homeserver": { base_url: "matrix" } }],
    ["is missing", {}],
  ] as const
) {
  Deno.test(`a base URL that ${what} is no client-server API`, async () => {
    const outbound = new FakeOutbound(() => respond(200, JSON.stringify(document)));
    const discovery = new ClientDiscovery({
      outbound,
      ruleFor: () => "public",
      monotonicNow: () => 0,
      overrides: new Map(),
    });
    assert.equal((await discovery.find(name("example.com:8448"))).outcome, "not-found");
    assert.deepEqual(outbound.requests.map(({ port }) => port), [443, 8448]);
  });
}

Deno.test("a server says whether it has delayed events, or is not understood", async () => {
  const signal = new AbortController().signal;
  const supports = (body: string, status = 200) =>
    build(() => respond(status, body)).events.supports(name("example.com"), signal);
  assert.equal(await supports(JSON.stringify({ unstable_features: { "org.matrix.msc4140": true } })), true);
  assert.equal(await supports(JSON.stringify({ versions: [] })), false);
  assert.equal(await supports("nothing", 500), null);
});
