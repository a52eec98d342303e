// Connections that say nothing, or half of something: the server underneath lets them be, and the others are served.

import assert from "node:assert/strict";
import { ServiceProcess } from "../../testing/service_process.ts";

const LEAST = {
  LIVEKIT_URL: "wss://sfu.example.com",
  LIVEKIT_KEY: "devkey",
  LIVEKIT_SECRET: "a secret of at least 32 characters",
  LIVEKIT_FULL_ACCESS_HOMESERVERS: "example.com",
  LIVEKIT_JWT_BIND: "127.0.0.1:0",
};

const CONNECTIONS = 2000;
const HALF_A_HEAD = new TextEncoder().encode("POST /sfu/get HTTP/1.1\r\nHost: x\r\nContent-Le");

/** Connections that stay open until the end of their scope, every second one with half a request's head. */
class Silent implements Disposable {
  readonly connections: Deno.TcpConn[] = [];

  async open(service: ServiceProcess, count: number): Promise<void> {
    const { hostname, port } = new URL(service.url);
    for (let index = 0; index < count; index++) {
      const connection = await Deno.connect({ hostname, port: Number(port) });
      this.connections.push(connection);
      if (index % 2 === 0) await connection.write(HALF_A_HEAD);
    }
  }

  [Symbol.dispose](): void {
    for (const connection of this.connections.splice(0)) connection.close();
  }
}

async function healthAnswersWithinASecond(service: ServiceProcess): Promise<void> {
  const client = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
  try {
    const response = await fetch(`${service.url}/healthz`, { client, signal: AbortSignal.timeout(1000) });
    await response.body?.cancel();
    assert.equal(response.status, 200);
  } finally {
    client.close();
  }
}

Deno.test(`${CONNECTIONS} idle and half-headed connections do not keep /healthz from answering`, async () => {
  await using service = await ServiceProcess.start(LEAST);
  using silent = new Silent();
  await silent.open(service, CONNECTIONS);
  for (let times = 0; times < 3; times++) await healthAnswersWithinASecond(service);
  service.kill("SIGTERM"); // and they do not hold up the end
  assert.equal(await service.exitCode(), 0);
});

Deno.test("a service that has run out of file descriptors serves again as soon as it has some", async () => {
  await using service = await ServiceProcess.start(LEAST);
  const limit = await new Deno.Command("prlimit", { args: [`--pid=${service.pid}`, "--nofile=150:150"] }).output();
  assert.ok(limit.success);
  {
    using silent = new Silent();
    await silent.open(service, 300).catch(() => {}); // refused from some point on
    await service.waitFor(/ERROR +Cannot accept connections, trying on: .*cause=.*Too many open files/);
    assert.ok(silent.connections.length > 50);
  }
  for (let attempt = 0;; attempt++) {
    try {
      await healthAnswersWithinASecond(service);
      break;
    } catch (error) {
      if (attempt > 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  assert.doesNotMatch(service.output, /this is a bug/);
  service.kill("SIGTERM");
  assert.equal(await service.exitCode(), 0);
});
