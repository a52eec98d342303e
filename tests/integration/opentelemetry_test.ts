// What the runtime's own telemetry tells a collector about exchanges: the requests that come in, and never a token.

import assert from "node:assert/strict";
import { ServiceProcess } from "../../testing/service_process.ts";
import { requestGrant, Surroundings } from "../../testing/surroundings.ts";

/** A collector that keeps what it is sent by OTLP over HTTP, as JSON. */
function startCollector() {
  const received: { readonly path: string; readonly text: string }[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    received.push({ path: new URL(request.url).pathname, text: await request.text() });
    return Response.json({});
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    /** All of one kind of signal, or of every kind. */
    textOf: (path = "") => received.filter((part) => part.path.startsWith(path)).map(({ text }) => text).join("\n"),
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

Deno.test("with OTEL_DENO=true a collector learns of each request and its status, and of no token", async () => {
  await using around = await Surroundings.start();
  await using collector = startCollector();
  await using service = await ServiceProcess.start({
    ...around.variables,
    OTEL_DENO: "true",
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
    OTEL_SERVICE_NAME: "lk-jwt-service",
  });
  const token = around.homeserver.mintOpenIdToken("alice");
  const granted = await requestGrant(service, token);
  const { jwt } = await granted.json();
  const refused = await requestGrant(service, { ...token, access_token: "sikrit-of-nobody" });
  assert.deepEqual([granted.status, refused.status], [200, 401]);
  await refused.body?.cancel();
  service.kill("SIGTERM");
  assert.equal(await service.exitCode(), 0);

  const spans = collector.textOf("/v1/traces");
  assert.match(spans, /"lk-jwt-service"/);
  assert.equal(spans.match(/"url.path"/g)?.length, 2, "one span per request that came in, none for what was asked");
  assert.match(spans, /\/sfu\/get/);
  for (const status of ["200", "401"]) assert.ok(spans.includes(`"${status}"`), status);
  assert.match(collector.textOf("/v1/metrics"), /http\.server\.request\.duration/);
  const everything = collector.textOf();
  for (const secret of [token.access_token, "sikrit-of-nobody", jwt, around.sfu.apiSecret, "access_token"]) {
    assert.ok(!everything.includes(secret), `${secret.slice(0, 20)} reached the collector`);
  }
});
