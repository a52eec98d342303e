// Where the service listens, and that the health check finds it there.

import assert from "node:assert/strict";
import http from "node:http";
import { parseBind } from "../../lib/config/bind.ts";
import { checkHealth } from "../../lib/healthcheck.ts";
import { Listener } from "../../lib/http/listener.ts";
import { ManualClock } from "../../testing/manual_clock.ts";
import { RecordingLog } from "../../testing/recording_log.ts";
import { freePort, ServiceProcess } from "../../testing/service_process.ts";
import { TemporaryDirectory } from "../../testing/surroundings.ts";

const LEAST = {
  LIVEKIT_URL: "wss://sfu.example.com",
  LIVEKIT_KEY: "devkey",
  LIVEKIT_SECRET: "a secret of at least 32 characters",
  LIVEKIT_FULL_ACCESS_HOMESERVERS: "example.com",
};

async function healthcheck(variables: Readonly<Record<string, string>>): Promise<[code: number, output: string]> {
  await using command = ServiceProcess.spawn(variables, { args: ["healthcheck"] });
  return [await command.exitCode(), command.output];
}

function statusOverUnix(path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    http.get({ socketPath: path, path: "/healthz", agent: false }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode ?? 0));
    }).on("error", reject);
  });
}

async function statusAt(hostname: string, port: number): Promise<number> {
  const response = await fetch(`http://${hostname}:${port}/healthz`);
  await response.body?.cancel();
  return response.status;
}

const BINDS: readonly (readonly [bind: (port: number) => string, reachableAt: readonly string[]])[] = [
  [(port) => `:${port}`, ["127.0.0.1", "[::1]"]],
  [(port) => `[::1]:${port}`, ["[::1]"]],
  [(port) => `0.0.0.0:${port}`, ["127.0.0.1"]],
  [(port) => `localhost:${port}`, ["localhost"]],
];

for (const [bindAt, reachableAt] of BINDS) {
  Deno.test(`a service at ${bindAt(8080)} is reachable at ${reachableAt.join(" and ")} and by its health check`, async () => {
    const port = freePort("::");
    const LIVEKIT_JWT_BIND = bindAt(port);
    const bind = parseBind(LIVEKIT_JWT_BIND);
    assert.ok(bind !== null);
    const handler = () => Promise.resolve(new Response());
    const listener = await Listener.open({ bind, handler, clock: new ManualClock(), log: new RecordingLog() });
    for (const hostname of reachableAt) assert.equal(await statusAt(hostname, port), 200);
    assert.equal(await checkHealth({ LIVEKIT_JWT_BIND }), null);
    await listener.shutdown();
    assert.match(await checkHealth({ LIVEKIT_JWT_BIND }) ?? "", /^Cannot reach \S+: ./);
  });
}

Deno.test("LIVEKIT_JWT_PORT still works, for the health check too, which fails once the service has ended", async () => {
  const LIVEKIT_JWT_PORT = String(freePort("::"));
  await using service = await ServiceProcess.start({ ...LEAST, LIVEKIT_JWT_PORT });
  assert.deepEqual(await healthcheck({ LIVEKIT_JWT_PORT }), [0, ""]);
  service.kill("SIGTERM");
  assert.equal(await service.exitCode(), 0);
  const [code, output] = await healthcheck({ LIVEKIT_JWT_PORT });
  assert.equal(code, 1);
  assert.match(output, /^Cannot reach \S+: .*\n$/);
});

Deno.test("port 0 takes any free port and says which", async () => {
  await using service = await ServiceProcess.start({ ...LEAST, LIVEKIT_JWT_BIND: "127.0.0.1:0" });
  assert.match(service.address, /^127\.0\.0\.1:[1-9]\d*$/);
  assert.equal(await statusAt("127.0.0.1", Number(new URL(service.url).port)), 200);
});

Deno.test("a unix socket on which another service listens is not taken from it", async () => {
  await using directory = new TemporaryDirectory();
  const path = `${directory.path}/jwt.sock`;
  const variables = { ...LEAST, LIVEKIT_JWT_BIND: `unix:${path}` };
  await using _first = await ServiceProcess.start(variables);
  await using second = ServiceProcess.spawn(variables);
  assert.equal(await second.exitCode(), 1);
  assert.match(second.output, /Cannot start: Another process listens on "unix:/);
  assert.equal(await statusOverUnix(path), 200);
});

Deno.test("a unix socket has mode 0660, takes the place of a stale one, and is removed at the end", async () => {
  await using directory = new TemporaryDirectory();
  const path = `${directory.path}/jwt.sock`;
  const variables = { ...LEAST, LIVEKIT_JWT_BIND: `unix:${path}` };

  await using killed = await ServiceProcess.start(variables);
  killed.kill("SIGKILL");
  await killed.exitCode();
  assert.ok(Deno.lstatSync(path).isSocket);

  await using service = await ServiceProcess.start(variables);
  assert.equal(service.address, `unix:${path}`);
  assert.equal((Deno.lstatSync(path).mode ?? 0) & 0o777, 0o660);
  assert.equal(await statusOverUnix(path), 200);
  assert.deepEqual(await healthcheck({ LIVEKIT_JWT_BIND: `unix:${path}` }), [0, ""]);
  service.kill("SIGTERM");
  assert.equal(await service.exitCode(), 0);
  assert.throws(() => Deno.lstatSync(path), Deno.errors.NotFound);
});

Deno.test("a health check that is answered otherwise than 200 fails and says so", async () => {
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    () => new Response(null, { status: 503 }),
  );
  const problem = await checkHealth({ LIVEKIT_JWT_BIND: `127.0.0.1:${server.addr.port}` });
  assert.match(problem ?? "", /answered 503, expected 200$/);
});

Deno.test("a health check of a bind that is none fails and says so", async () => {
  assert.equal(
    await checkHealth({ LIVEKIT_JWT_BIND: "8080" }),
    'LIVEKIT_JWT_BIND is "8080", expected :8080, host:port or unix:/path',
  );
});
