// Idle connections: kept for the next request, and only so many of them, whatever number of hosts was asked.

import assert from "node:assert/strict";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { IdleConnections } from "../../lib/net/idle_connections.ts";

/** Servers that count their connections. */
class Servers implements AsyncDisposable {
  readonly servers: http.Server[] = [];
  opened = 0;

  static async start(count: number): Promise<Servers> {
    const started = new Servers();
    for (let index = 0; index < count; index++) {
      const server = http.createServer((_, response) => response.end("ok"));
      server.on("connection", () => started.opened++);
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      started.servers.push(server);
    }
    return started;
  }

  portOf(index: number): number {
    const address = this.servers[index]?.address();
    assert.ok(isAddress(address));
    return address.port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.servers) {
      await new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      });
    }
  }
}

function isAddress(address: AddressInfo | string | null | undefined): address is AddressInfo {
  return typeof address === "object" && address !== null;
}

async function get(agent: http.Agent, port: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    http.get({ agent, host: "127.0.0.1", port }, (response) => {
      response.resume();
      response.on("end", resolve);
    }).on("error", reject);
  });
  await new Promise((resolve) => setTimeout(resolve, 10)); // until the connection is back in its pool
}

Deno.test("the connection that has been idle for longest is closed for a new one, over all agents and hosts", async () => {
  await using servers = await Servers.start(3);
  const idle = new IdleConnections(2);
  const agents = [new http.Agent({ keepAlive: true }), new http.Agent({ keepAlive: true })] as const;
  try {
    for (const agent of agents) idle.govern(agent);
    const [one, other] = agents;
    await get(one, servers.portOf(0));
    await get(other, servers.portOf(1));
    await get(one, servers.portOf(0)); // used again, and so the younger one
    assert.deepEqual([idle.size, servers.opened], [2, 2]);
    await get(one, servers.portOf(2));
    assert.deepEqual([idle.size, servers.opened], [2, 3]);
    await get(one, servers.portOf(0)); // still there
    assert.deepEqual([idle.size, servers.opened], [2, 3]);
    await get(other, servers.portOf(1)); // had to go
    assert.deepEqual([idle.size, servers.opened], [2, 4]);
  } finally {
    for (const agent of agents) agent.destroy();
  }
});

Deno.test("a connection that its other end closes is no longer counted", async () => {
  await using servers = await Servers.start(1);
  const idle = new IdleConnections(2);
  const agent = new http.Agent({ keepAlive: true });
  try {
    idle.govern(agent);
    await get(agent, servers.portOf(0));
    assert.equal(idle.size, 1);
    servers.servers[0]?.closeAllConnections();
    for (let turn = 0; turn < 200 && idle.size > 0; turn++) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(idle.size, 0);
  } finally {
    agent.destroy();
  }
});
