// What the process may do, and what it survives.

import assert from "node:assert/strict";
import { ServiceProcess } from "../../testing/service_process.ts";

const LEAST = {
  LIVEKIT_URL: "wss://sfu.example.com",
  LIVEKIT_KEY: "devkey",
  LIVEKIT_SECRET: "a secret of at least 32 characters",
  LIVEKIT_FULL_ACCESS_HOMESERVERS: "example.com",
  LIVEKIT_JWT_BIND: "127.0.0.1:0",
};

const BESIDE = new URL("./beside_service_probe.ts", import.meta.url);

Deno.test("the permission set lets the process run nothing, load nothing, and see no foreign variable", async () => {
  const module = new URL("./permission_probe.ts", import.meta.url);
  await using probe = ServiceProcess.spawn({ ...LEAST, https_proxy: "http://proxy", PATH: "/bin" }, { module });
  assert.equal(await probe.exitCode(), 0, probe.output);
  assert.deepEqual(JSON.parse(probe.output), {
    run: "NotCapable",
    ffi: "NotCapable",
    hostname: "NotCapable",
    home: null,
    path: null,
    environ: "NotCapable",
    livekit: "wss://sfu.example.com",
    proxy: "http://proxy",
    ca: true,
  });
});

Deno.test("once it listens, the process can neither read its environment nor write", async () => {
  await using service = await ServiceProcess.start(LEAST, { module: BESIDE });
  await service.waitFor(/env: .*\nwrite: .*\n/);
  assert.match(service.output, /env: (unseen|NotCapable)\nwrite: NotCapable\n/);
  assert.equal(service.output.includes(LEAST.LIVEKIT_SECRET), false);
});

Deno.test("an error that reaches no handler is logged and ends nothing", async () => {
  await using service = await ServiceProcess.start(LEAST, { module: BESIDE });
  await service.waitFor(/ERROR +An error reached no handler: this is a bug stack="Error: stray rejection.*count=1\n/);
  await service.waitFor(/ERROR +An error reached no handler: this is a bug stack="Error: stray exception.*count=2\n/);
  const response = await fetch(`${service.url}/healthz`);
  await response.body?.cancel();
  assert.equal(response.status, 200);
  service.kill("SIGTERM");
  assert.equal(await service.exitCode(), 0);
});
