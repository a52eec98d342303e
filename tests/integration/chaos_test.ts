// Everything goes wrong at once, and everybody else's calls do not notice: each broken homeserver and each broken room
// is answered with the right status inside the deadline, while other users' exchanges go on in the same process.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { Chaos } from "../../testing/chaos.ts";
import { ServiceProcess } from "../../testing/service_process.ts";
import { TemporaryDirectory } from "../../testing/surroundings.ts";

const DEADLINE_MS = 10_000;
// A process that shares its cores with others is late with its timers.
const GRACE_MS = 3000;
const WELL_WITHIN_MS = 5000;
const WORKERS = 4;
const ERRCODES: Readonly<Record<number, string>> = { 200: "", 401: "M_UNAUTHORIZED", 500: "M_UNKNOWN" };

interface Answer {
  readonly status: number;
  readonly errcode: string;
  readonly tookMs: number;
}

async function ask(service: ServiceProcess, room: string, openid_token: unknown): Promise<Answer> {
  const startedAt = performance.now();
  const body = JSON.stringify({ room, openid_token, device_id: "DEVICE" });
  const response = await fetch(`${service.url}/sfu/get`, { method: "POST", body });
  const { errcode = "" } = await response.json();
  return { status: response.status, errcode, tookMs: performance.now() - startedAt };
}

/** Exchanges of users whose homeserver and rooms are well, one after another until they are told to end. */
async function ordinaryTraffic(
  service: ServiceProcess,
  { homeserver }: Chaos,
  isOver: () => boolean,
): Promise<Answer[]> {
  const answers: Answer[] = [];
  while (!isOver()) {
    const n = answers.length;
    answers.push(await ask(service, `!well-${crypto.randomUUID()}`, homeserver.mintOpenIdToken(`user-${n}`)));
    await sleep(50);
  }
  return answers;
}

Deno.test("whatever breaks is answered in time with the right status, and nobody else notices", async () => {
  await using chaos = await Chaos.start();
  await using directory = new TemporaryDirectory();
  await Deno.writeTextFile(`${directory.path}/ca.pem`, chaos.caCertificate);
  await using service = await ServiceProcess.start({
    LIVEKIT_URL: chaos.sfuUrl,
    LIVEKIT_KEY: "devkey",
    LIVEKIT_SECRET: "a secret of at least 32 characters",
    LIVEKIT_JWT_BIND: "127.0.0.1:0",
    LIVEKIT_FULL_ACCESS_HOMESERVERS: chaos.homeserver.serverName,
    LIVEKIT_FEDERATION_ALLOW_NETWORKS: "127.0.0.0/8,::1",
    LIVEKIT_EXTRA_CA_FILE: `${directory.path}/ca.pem`,
  });
  await ask(service, "!first", chaos.homeserver.mintOpenIdToken("first"));

  let isOver = false;
  const ordinary = Array.from({ length: WORKERS }, () => ordinaryTraffic(service, chaos, () => isOver));
  const broken = await Promise.all([
    ...chaos.homeservers.map(async ({ what, status, token }) => ({
      what: `a homeserver that ${what}`,
      status,
      answer: await ask(service, "!room", token),
    })),
    ...chaos.rooms.map(async ({ what, status, roomId }) => ({
      what: `an SFU that ${what}`,
      status,
      answer: await ask(service, roomId, chaos.homeserver.mintOpenIdToken("alice")),
    })),
  ]);
  isOver = true;
  const answers = (await Promise.all(ordinary)).flat();

  for (const { what, status, answer } of broken) {
    assert.deepEqual([answer.status, answer.errcode], [status, ERRCODES[status]], what);
    assert.ok(answer.tookMs < DEADLINE_MS + GRACE_MS, `${what}: ${answer.tookMs} ms`);
  }
  assert.ok(answers.length >= 20 * WORKERS, `${answers.length} exchanges of others`);
  assert.deepEqual(answers.filter(({ status }) => status !== 200), []);
  const slowest = Math.max(...answers.map(({ tookMs }) => tookMs));
  assert.ok(slowest < WELL_WITHIN_MS, `the slowest exchange of others took ${slowest} ms`);
  assert.doesNotMatch(service.output, /this is a bug/);
  service.kill("SIGTERM");
  assert.equal(await service.exitCode(), 0);
});
