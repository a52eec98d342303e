// What goes out is counted by purpose and outcome, in a bounded number of words.

import assert from "node:assert/strict";
import fc from "fast-check";
import { Registry } from "prom-client";
import { MeasuredOutbound, purposeOf } from "../../lib/metrics/outbound.ts";
import { OutboundError } from "../../lib/net/outbound_error.ts";
import { FakeOutbound, respond } from "../../testing/fake_outbound.ts";
import { ManualClock } from "../../testing/manual_clock.ts";

const request = {
  method: "GET",
  secure: true,
  host: "matrix.example.com",
  port: 443,
  path: "/_matrix/federation/v1/openid/userinfo?access_token=secret",
  hostHeader: "matrix.example.com",
  tlsName: "matrix.example.com",
  rule: "public",
  maxResponseBytes: 1000,
  signal: new AbortController().signal,
} as const;

async function metricsAfter(answer: FakeOutbound["answer"]): Promise<string> {
  const registry = new Registry();
  const measured = new MeasuredOutbound(new FakeOutbound(answer), registry, new ManualClock());
  await measured.send(request).catch((error: unknown) => assert.ok(error instanceof OutboundError));
  return await registry.metrics();
}

const OUTCOMES: ReadonlyArray<readonly [name: string, answer: FakeOutbound["answer"], outcome: string]> = [
  ["200", () => respond(200, "{}"), "2xx"],
  ["401", () => respond(401, "{}"), "401"],
  ["502", () => respond(502, ""), "5xx"],
  ["a refused connection", () => {
    throw new OutboundError("connect", "refused");
  }, "connect"],
  ["the guard's refusal", () => {
    throw new OutboundError("blocked", "internal");
  }, "blocked"],
];

for (const [name, answer, outcome] of OUTCOMES) {
  Deno.test(`${name} counts as ${outcome}, and no token gets into a label`, async () => {
    const text = await metricsAfter(answer);
    assert.ok(text.includes(`lk_jwt_outbound_requests_total{purpose="userinfo",outcome="${outcome}"} 1`), text);
    assert.ok(text.includes('lk_jwt_outbound_request_duration_seconds_count{purpose="userinfo"} 1'));
    assert.ok(!text.includes("secret"));
  });
}

Deno.test("whatever the path, the purpose is one of a handful of words", () => {
  const purposes = new Set<string>();
  const segment = fc.oneof(
    fc.constantFrom("_matrix", "client", "delayed_events", "send", "twirp", "openid"),
    fc.string(),
  );
  fc.assert(fc.property(fc.array(segment), (segments) => {
    purposes.add(purposeOf(`/${segments.join("/")}`));
  }));
  for (
    const path of ["/_matrix/client/x/delayed_events/ID/send", "/twirp/livekit.RoomService/CreateRoom", "/a?b=/send"]
  ) {
    purposes.add(purposeOf(path));
  }
  assert.ok(purposes.size <= 12);
  assert.equal(purposeOf("/a?b=/send"), "other");
  assert.equal(purposeOf("/somebody/elses/send"), "other");
  assert.equal(purposeOf("/_matrix/client/unstable/org.matrix.msc4140/delayed_events/ID/send"), "leave_send");
});
