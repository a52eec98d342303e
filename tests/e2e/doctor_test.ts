// The doctor, and the checks at the start, on real parts: a clean bill where all is right, and the mistake that nobody
// notices otherwise.

import assert from "node:assert/strict";
import * as v from "valibot";
import { CertificateAuthority } from "../../testing/certificates.ts";
import { type LiveKit, startLiveKit } from "./stack/livekit.ts";
import { startNginx } from "../../testing/proxies/nginx.ts";
import { freeBind, runCommand, startService } from "./stack/service.ts";
import { startSynapse } from "./stack/synapse.ts";

const API_KEY = "e2e-key";
const API_SECRET = "e2e-secret-of-more-than-32-characters";
const Report = v.object({
  version: v.string(),
  outcome: v.picklist(["ok", "warning", "error"]),
  checks: v.array(
    v.looseObject({ id: v.string(), outcome: v.string(), answered: v.string(), fix: v.nullable(v.string()) }),
  ),
});
type Report = v.InferOutput<typeof Report>;

let parts: AsyncDisposable | undefined;
let variables: Record<string, string> = {};
let openSfu: LiveKit | undefined;

/** The very set-up that the documentation describes, with a proxy that speaks TLS. */
Deno.test.beforeAll(async () => {
  await using started = new AsyncDisposableStack();
  const ca = await CertificateAuthority.create();
  const bind = await freeBind();
  const metricsBind = await freeBind();
  const livekit = { apiKey: API_KEY, apiSecret: API_SECRET, webhookUrls: [`http://${bind}/sfu_webhook`] };
  const sfu = started.use(await startLiveKit(livekit));
  openSfu = started.use(await startLiveKit({ ...livekit, autoCreate: true }));
  const proxy = started.use(
    await startNginx({
      example: "nginx/prefix_stripped.conf",
      serviceAddress: bind,
      sfuAddress: sfu.url.replace("ws://", ""),
      certificate: await ca.issue({ dnsNames: ["localhost"] }),
      caCertificate: ca.certificate,
    }),
  );
  const serviceUrl = `${proxy.url}/livekit/jwt`;
  const homeserver = started.use(
    await startSynapse({
      host: "localhost",
      ca,
      settings: {
        extra_well_known_client_content: {
          "org.matrix.msc4143.rtc_foci": [{ type: "livekit", livekit_service_url: serviceUrl }],
        },
      },
    }),
  );
  const caFile = await Deno.makeTempFile({ prefix: "lk-jwt-service-ca-", suffix: ".crt" });
  started.defer(() => Deno.remove(caFile));
  await Deno.writeTextFile(caFile, ca.certificate);
  const stateDir = await Deno.makeTempDir({ prefix: "lk-jwt-service-state-" });
  started.defer(() => Deno.remove(stateDir, { recursive: true }));
  variables = {
    LIVEKIT_URL: `${proxy.url.replace("https://", "wss://")}/livekit/sfu`,
    LIVEKIT_INTERNAL_URL: sfu.url,
    LIVEKIT_KEY: API_KEY,
    LIVEKIT_SECRET: API_SECRET,
    LIVEKIT_FULL_ACCESS_HOMESERVERS: homeserver.serverName,
    LIVEKIT_EXTRA_CA_FILE: caFile,
    LIVEKIT_STATE_DIR: stateDir,
    LIVEKIT_METRICS_BIND: metricsBind,
    LIVEKIT_JWT_BIND: bind,
  };
  started.use(await startService(variables));
  parts = started.move();
});

Deno.test.afterAll(async () => {
  await parts?.[Symbol.asyncDispose]();
});

async function examine(changes: Readonly<Record<string, string>>): Promise<Report & { readonly code: number }> {
  const { code, stdout } = await runCommand(["doctor", "--json"], { ...variables, ...changes });
  return { code, ...v.parse(Report, JSON.parse(stdout)) };
}

const wrong = ({ checks }: Report) => checks.filter(({ outcome }) => outcome === "warning" || outcome === "error");

Deno.test("a set-up as documented gets a clean bill, beside the running service", async () => {
  const report = await examine({});
  // Nobody has been in a call yet, so that no webhook can have come.
  assert.deepEqual(wrong(report).map(({ id }) => id), ["own.webhooks"], JSON.stringify(wrong(report), null, 1));
  assert.equal(report.code, 3);
  for (const id of ["sfu.auto_create", "homeserver.userinfo", "homeserver.server_name", "public.post"]) {
    assert.ok(report.checks.some((check) => check.id === id && check.outcome === "ok"), id);
  }
});

Deno.test("LiveKit with auto_create is an error, with its fix", async () => {
  assert.ok(openSfu !== undefined);
  const report = await examine({ LIVEKIT_INTERNAL_URL: openSfu.url });
  const found = report.checks.find(({ id }) => id === "sfu.auto_create");
  assert.equal(found?.outcome, "error");
  assert.match(found?.fix ?? "", /auto_create: false/);
  assert.equal(report.code, 4);
  const rooms = await openSfu.identities("lk-jwt-service-check");
  assert.deepEqual(rooms, []);
});

Deno.test("a secret that is not LiveKit's is named as such by a real LiveKit", async () => {
  const report = await examine({ LIVEKIT_SECRET: "another-secret-of-more-than-32-characters" });
  const found = report.checks.find(({ id }) => id === "sfu.api");
  assert.equal(found?.outcome, "error");
  assert.match(found?.fix ?? "", /livekit\.yaml/);
});

Deno.test("a service that starts beside a LiveKit with auto_create says so in its log", async () => {
  assert.ok(openSfu !== undefined);
  const { LIVEKIT_METRICS_BIND: _bind, LIVEKIT_STATE_DIR: _dir, ...others } = variables;
  await using service = await startService({
    ...others,
    LIVEKIT_INTERNAL_URL: openSfu.url,
    LIVEKIT_JWT_BIND: await freeBind(),
  });
  while (!service.output().includes("check=sfu.auto_create")) await new Promise((resolve) => setTimeout(resolve, 50));
  assert.match(service.output(), /ERROR +The set-up has a mistake check=sfu\.auto_create .*auto_create: false/);
});
