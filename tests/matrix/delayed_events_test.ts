// Every answer of a homeserver about a delayed event, told apart; and how it is asked.

import assert from "node:assert/strict";
import fc from "fast-check";
import type { ActionOutcome, CallFailure } from "../../lib/matrix/delayed_events.ts";
import { DelayedEvents } from "../../lib/matrix/delayed_events.ts";
import type { ServerName } from "../../lib/matrix/server_name.ts";
import type { OutboundResponse } from "../../lib/net/client.ts";
import { OutboundError, type OutboundFailure } from "../../lib/net/outbound_error.ts";
import { FakeOutbound, respond } from "../../testing/fake_outbound.ts";
import { anyText } from "../../testing/texts.ts";

const HOMESERVER = "example.com" as ServerName;
const PATH = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events";
const signal = () => new AbortController().signal;

function bench(answer: () => OutboundResponse | Promise<OutboundResponse>, baseUrl = "https://matrix.example.com") {
  const outbound = new FakeOutbound(answer);
  const api = { baseUrl: new URL(baseUrl), rule: "public" } as const;
  const discovery = { find: () => Promise.resolve({ outcome: "found", api } as const) };
  return { outbound, delayedEvents: new DelayedEvents({ outbound, discovery }) };
}

const matrix = (status: number, errcode: string, more: Readonly<Record<string, unknown>> = {}, headers = {}) =>
  respond(status, JSON.stringify({ errcode, error: "…", ...more }), headers);
const limit = (more: Readonly<Record<string, unknown>>, headers = {}) => matrix(429, "M_LIMIT_EXCEEDED", more, headers);
const limited = (retryAfterMs: number): ActionOutcome => ({ kind: "limited", retryAfterMs });
const refused = (why: "unauthorized" | "forbidden" | "unsupported" | "other"): ActionOutcome => (
  { kind: "refused", why }
);
const DONE: ActionOutcome = { kind: "done" };
const NOT_FOUND: ActionOutcome = { kind: "gone", how: "not-found" };
const CONFLICT: ActionOutcome = { kind: "gone", how: "conflict" };
const FAILED: ActionOutcome = { kind: "failed", how: "wrong-answer" };
const BARE_404: ActionOutcome = { kind: "failed", how: "bare-404" };
const DATES = { date: "Tue, 24 Nov 2026 12:00:00 GMT", "retry-after": "Tue, 24 Nov 2026 12:00:07 GMT" };

const ANSWERS: readonly (readonly [name: string, response: OutboundResponse, outcome: ActionOutcome])[] = [
  ["200 {}", respond(200, "{}"), DONE],
  ["200 with more in it", respond(200, '{"future":1}'), DONE],
  ["404 M_NOT_FOUND", matrix(404, "M_NOT_FOUND"), NOT_FOUND],
  ["409", respond(409, ""), CONFLICT],
  ["409 with an errcode", matrix(409, "M_UNKNOWN"), CONFLICT],
  ["404 M_UNRECOGNIZED", matrix(404, "M_UNRECOGNIZED"), refused("unsupported")],
  ["405 M_UNRECOGNIZED", matrix(405, "M_UNRECOGNIZED"), refused("unsupported")],
  ["403 M_FORBIDDEN", matrix(403, "M_FORBIDDEN"), refused("forbidden")],
  ["401 M_MISSING_TOKEN", matrix(401, "M_MISSING_TOKEN"), refused("unauthorized")],
  ["401 M_UNKNOWN_TOKEN", matrix(401, "M_UNKNOWN_TOKEN"), refused("unauthorized")],
  ["400 M_INVALID_PARAM", matrix(400, "M_INVALID_PARAM"), refused("other")],
  ["429 with ms", limit({ retry_after_ms: 964 }, { "retry-after": "1" }), limited(964)],
  ["429 with the header alone", limit({}, { "retry-after": "3" }), limited(3000)],
  ["429 with a date", limit({}, DATES), limited(7000)],
  ["429 with neither", respond(429, ""), limited(1000)],
  ["429 with nonsense", limit({ retry_after_ms: "soon" }, { "retry-after": "later" }), limited(1000)],
  ["429 with less than nothing", limit({ retry_after_ms: -5 }, { "retry-after": "2" }), limited(2000)],
  ["429 for now", limit({ retry_after_ms: 0 }), limited(100)],
  ["429 for a year", limit({ retry_after_ms: 31_536_000_000 }), limited(300_000)],
  ["500 M_UNKNOWN", matrix(500, "M_UNKNOWN"), FAILED],
  ["502 of a proxy", respond(502, "<html>Bad gateway</html>"), FAILED],
  ["404 of a proxy", respond(404, "<html>Not found</html>"), FAILED],
  ["404 with a JSON object without errcode", respond(404, "{}"), BARE_404],
  ["404 with a JSON object that says something else", respond(404, '{"detail":"Not Found"}'), BARE_404],
  ["404 with a JSON text", respond(404, '"Not Found"'), FAILED],
  ["404 with an errcode that is none", respond(404, '{"errcode":"not found"}'), FAILED],
  ["404 with a strange field", matrix(404, "M_NOT_FOUND", { retry_after_ms: "x" }), NOT_FOUND],
  ["403 of a proxy", respond(403, "<html>Forbidden</html>"), FAILED],
  ["401 of a proxy", respond(401, "", { "www-authenticate": "Basic" }), FAILED],
  ["408", respond(408, ""), FAILED],
  ["a redirect", respond(302, "", { location: "https://elsewhere.example/" }), FAILED],
  ["200 of a web page for every URL", respond(200, "<!doctype html>"), FAILED],
  ["200 with a text", respond(200, '"ok"'), FAILED],
  ["200 with nothing", respond(200, ""), FAILED],
];
for (const [name, response, outcome] of ANSWERS) {
  Deno.test(`${name} is "${outcome.kind}", for restart, send and cancel alike`, async () => {
    const { delayedEvents, outbound } = bench(() => response);
    for (const action of ["restart", "send", "cancel"] as const) {
      const result = await delayedEvents.act(HOMESERVER, "syd_1", action, signal());
      assert.deepEqual(result.outcome, outcome);
      assert.ok(result.step.startsWith(`status ${response.status}`));
    }
    assert.equal(outbound.requests.length, 3, "nothing is followed or repeated here");
  });
}

const NO_ANSWERS: readonly (readonly [OutboundFailure, CallFailure])[] = [
  ["blocked", "unreachable"],
  ["dns", "unreachable"],
  ["connect", "unreachable"],
  ["tls", "unreachable"],
  ["reset", "silent"],
  ["timeout", "silent"],
  ["too-large", "wrong-answer"],
  ["protocol", "wrong-answer"],
];
for (const [failure, how] of NO_ANSWERS) {
  Deno.test(`a request that fails by "${failure}" is a failure, ${how}, with its cause`, async () => {
    const { delayedEvents } = bench(() => Promise.reject(new OutboundError(failure, "its cause")));
    const result = await delayedEvents.act(HOMESERVER, "syd_1", "send", signal());
    assert.deepEqual(result, { outcome: { kind: "failed", how }, step: "its cause" });
  });
}

Deno.test("events are kept at the host and port of the API, whatever the server is called", async () => {
  const ported = bench(() => respond(200, "{}"), "https://matrix.example.com:8448/base/");
  assert.equal(await ported.delayedEvents.apiOf(HOMESERVER), "matrix.example.com:8448");
  assert.equal(await bench(() => respond(200, "{}")).delayedEvents.apiOf(HOMESERVER), "matrix.example.com");
  const find = () => Promise.resolve({ outcome: "not-found", steps: [] } as const);
  const lost = new DelayedEvents({ outbound: new FakeOutbound(), discovery: { find } });
  assert.equal(await lost.apiOf(HOMESERVER), HOMESERVER);
});

Deno.test("a homeserver whose API cannot be found is a failure, not an end", async () => {
  const outbound = new FakeOutbound();
  const find = () => Promise.resolve({ outcome: "not-found", steps: ["example.com: status 500"] } as const);
  const delayedEvents = new DelayedEvents({ outbound, discovery: { find } });
  const result = await delayedEvents.act(HOMESERVER, "syd_1", "send", signal());
  assert.deepEqual(result.outcome, { kind: "failed", how: "unreachable" });
  assert.match(result.step, /example\.com: status 500/);
  assert.equal(outbound.requests.length, 0);
});

Deno.test("an event is asked for by POST with {}, below the API's path, without authentication", async () => {
  const { delayedEvents, outbound } = bench(() => respond(200, "{}"), "https://matrix.example.com/base/");
  await delayedEvents.act(HOMESERVER, "syd_1", "restart", signal());
  const [request] = outbound.requests;
  assert.ok(request !== undefined);
  assert.deepEqual([request.method, request.path, request.rule], ["POST", `/base${PATH}/syd_1/restart`, "public"]);
  assert.equal(new TextDecoder().decode(request.body), "{}");
  assert.ok(!Object.keys(request.headers ?? {}).some((name) => name.toLowerCase() === "authorization"));
});

Deno.test("no delay ID leaves its place in the path", async () => {
  const ids = fc.oneof(anyText({ minLength: 1 }), fc.constantFrom("../x", "a/b", "?", "#", "%2e%2e"));
  await fc.assert(fc.asyncProperty(ids.filter((id) => id !== "." && id !== ".."), async (id) => {
    const { delayedEvents, outbound } = bench(() => respond(200, "{}"));
    await delayedEvents.act(HOMESERVER, id, "send", signal());
    const url = new URL(`https://matrix.example.com${outbound.requests[0]?.path}`);
    assert.deepEqual([url.search, url.hash], ["", ""]);
    const segments = url.pathname.split("/");
    assert.equal(segments.at(-1), "send");
    assert.equal(decodeURIComponent(segments.at(-2) ?? ""), id);
    assert.equal(segments.slice(0, -2).join("/"), PATH);
  }));
});

const VERSIONS: readonly (readonly [name: string, response: OutboundResponse, supports: boolean | null])[] = [
  ["with the flag", respond(200, '{"versions":[],"unstable_features":{"org.matrix.msc4140":true}}'), true],
  ["with the flag off", respond(200, '{"versions":[],"unstable_features":{"org.matrix.msc4140":false}}'), false],
  ["without the flag", respond(200, '{"versions":["v1.11"],"unstable_features":{}}'), false],
  ["without features", respond(200, '{"versions":["v1.11"]}'), false],
  ["that is no JSON", respond(200, "<html>"), null],
  ["that is an error", respond(502, ""), null],
];
for (const [name, response, supports] of VERSIONS) {
  Deno.test(`an answer of /versions ${name} means ${supports}`, async () => {
    const { delayedEvents, outbound } = bench(() => response);
    assert.equal(await delayedEvents.supports(HOMESERVER, signal()), supports);
    assert.deepEqual([outbound.requests[0]?.method, outbound.requests[0]?.path], ["GET", "/_matrix/client/versions"]);
  });
}

Deno.test("/versions that cannot be asked for means null", async () => {
  const { delayedEvents } = bench(() => Promise.reject(new OutboundError("timeout", "no answer in time")));
  assert.equal(await delayedEvents.supports(HOMESERVER, signal()), null);
});
