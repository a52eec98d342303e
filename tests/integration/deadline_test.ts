// Bodies that come too slowly, not at all, or far too long, and servers that stay silent: neither the server underneath
// nor anybody else has bounds, the service has.

import assert from "node:assert/strict";
import { ServiceProcess } from "../../testing/service_process.ts";
import { requestGrant, Surroundings } from "../../testing/surroundings.ts";

const HALF_SENT = 50;
// Were each kept in the buffer in which it came, they would take over a gigabyte.
const CHUNKS = 20_000;
const MAX_PEAK_MIB = 500;

async function connect(service: ServiceProcess): Promise<Deno.TcpConn> {
  const { hostname, port } = new URL(service.url);
  return await Deno.connect({ hostname, port: Number(port) });
}

function send(connection: Deno.TcpConn, text: string): Promise<number> {
  return connection.write(new TextEncoder().encode(text));
}

async function readHead(connection: Deno.TcpConn): Promise<string> {
  const chunk = new Uint8Array(4096);
  const length = await connection.read(chunk) ?? 0;
  return new TextDecoder().decode(chunk.subarray(0, length));
}

Deno.test("at 10 s half-sent bodies and one that drips are 408, a silent homeserver is 401 and a silent SFU 500", async () => {
  await using around = await Surroundings.start();
  await using service = await ServiceProcess.start(around.variables);
  const alice = around.homeserver.mintOpenIdToken("alice");
  const connections = await Promise.all(Array.from({ length: HALF_SENT }, () => connect(service)));
  const startedAt = performance.now();
  for (const connection of connections) {
    await send(connection, 'POST /sfu/get HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"room":');
  }
  const dripped = drip(service);
  // Somebody else is served meanwhile.
  const other = await requestGrant(service, alice);
  assert.equal(other.status, 200);
  await other.body?.cancel();

  around.homeserver.faults.inject({ kind: "hang" });
  around.sfu.faults.inject({ kind: "hang" });
  const silences = [
    requestGrant(service, around.homeserver.mintOpenIdToken("bob")),
    requestGrant(service, alice, "!other:example.com"),
  ];
  const heads = await Promise.all([...connections.map(readHead), dripped]);
  for (const head of heads) {
    assert.match(head, /^HTTP\/1\.1 408 /);
    assert.match(head, /\r\naccess-control-allow-origin: \*\r\n/i);
  }
  for (const connection of connections) connection.close();
  const answers = await Promise.all(silences);
  const tookMs = performance.now() - startedAt;
  assert.ok(tookMs > 9000 && tookMs < 20_000, `${tookMs} ms`);
  assert.deepEqual(await Promise.all(answers.map(async (answer) => [answer.status, await answer.json()])), [
    [401, { errcode: "M_UNAUTHORIZED", error: "The request could not be authorised." }],
    [500, { errcode: "M_UNKNOWN", error: "Unable to create room on SFU" }],
  ]);
  await service.waitFor(/Cannot verify an OpenID token.*No answer from localhost:\d+ in time/, 5000);
  await service.waitFor(/Cannot create a room on the SFU.*failure=timeout/, 5000);
  assert.doesNotMatch(service.output, /this is a bug/);

  service.kill("SIGTERM"); // which would hang if any of them were still held
  assert.equal(await service.exitCode(), 0);
});

async function drip(service: ServiceProcess): Promise<string> {
  using connection = await connect(service);
  await send(connection, "POST /get_token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  let isAnswered = false;
  const answer = readHead(connection).finally(() => isAnswered = true);
  for (let sent = 0; sent < 60 && !isAnswered; sent++) {
    await send(connection, "1\r\n \r\n").catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  return await answer;
}

Deno.test("a body of very many chunks takes no more memory than its bytes", async () => {
  await using around = await Surroundings.start();
  await using service = await ServiceProcess.start(around.variables);
  using connection = await connect(service);
  const chunks = "1\r\n \r\n".repeat(CHUNKS);
  const request = `POST /sfu/get HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`;
  const written = connection.writable.getWriter().write(new TextEncoder().encode(request));
  assert.match(await readHead(connection), /^HTTP\/1\.1 400 /);
  await written;
  const peakMiB = peakMemoryMiB(service.pid);
  assert.ok(peakMiB < MAX_PEAK_MIB, `${peakMiB} MiB`);
});

/** The most memory that a process had at any time. */
function peakMemoryMiB(pid: number): number {
  const kiB = /^VmHWM:\s+(\d+) kB$/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1];
  assert.ok(kiB !== undefined);
  return Number(kiB) / 1024;
}

Deno.test("a body over 64 KiB is 413, declared or in chunks, and one of 64 KiB is read", async () => {
  await using around = await Surroundings.start();
  await using service = await ServiceProcess.start(around.variables);
  const tooLong = new Uint8Array(65_537).fill(32);
  const chunked = new ReadableStream({
    start(controller) {
      for (let at = 0; at < tooLong.length; at += 1000) controller.enqueue(tooLong.subarray(at, at + 1000));
      controller.close();
    },
  });
  for (const body of [tooLong, chunked]) {
    const response = await fetch(`${service.url}/sfu/get`, { method: "POST", body });
    assert.equal(response.headers.get("access-control-allow-origin"), "*");
    assert.deepEqual([response.status, (await response.json()).errcode], [413, "M_TOO_LARGE"]);
  }
  const full = await fetch(`${service.url}/sfu/get`, { method: "POST", body: `{}${" ".repeat(65_534)}` });
  assert.deepEqual([full.status, (await full.json()).error], [400, "Missing room parameter"]);
});

Deno.test("a client that goes away in the middle of its body does no harm", async () => {
  await using around = await Surroundings.start();
  await using service = await ServiceProcess.start({ ...around.variables, LIVEKIT_LOG_LEVEL: "debug" });
  for (let times = 0; times < 20; times++) {
    const connection = await connect(service);
    await send(connection, 'POST /sfu/get HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"room":');
    connection.close();
  }
  const response = await requestGrant(service, around.homeserver.mintOpenIdToken("alice"));
  assert.equal(response.status, 200);
  await response.body?.cancel();
  assert.doesNotMatch(service.output, /this is a bug/);
});
