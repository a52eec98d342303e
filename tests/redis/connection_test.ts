// What LIVEKIT_REDIS_URL can lead to, with the whole service as a process: each kind of connection works, and what does
// not work is told in the log while the service is up.

import assert from "node:assert/strict";
import { CertificateAuthority } from "../../testing/certificates.ts";
import { freePort, ServiceProcess, type Variables } from "../../testing/service_process.ts";
import { requestGrant, Surroundings, TemporaryDirectory } from "../../testing/surroundings.ts";
import { encodeJob } from "../../lib/leave/store/stored_job.ts";
import { sampleJob } from "../leave/sample_jobs.ts";
import { Replica, until } from "./replica.ts";
import { RedisServer } from "../../testing/redis_server.ts";

const PASSWORD = "sikrit:of redis";

interface Stage {
  readonly around: Surroundings;
  readonly server: RedisServer;
  readonly tlsUrl: string;
  readonly caFile: string;
  /** The port of a web server. */
  readonly web: number;
}

async function onStage(test: (stage: Stage) => Promise<void>): Promise<void> {
  await using around = await Surroundings.start();
  await using files = new TemporaryDirectory();
  const authority = await CertificateAuthority.create("Redis CA");
  const { certificate, privateKey } = await authority.issue({ dnsNames: ["localhost"] });
  const caFile = `${files.path}/ca.pem`;
  await Deno.writeTextFile(caFile, authority.certificate);
  await Deno.writeTextFile(`${files.path}/cert.pem`, certificate);
  await Deno.writeTextFile(`${files.path}/key.pem`, privateKey);
  const tlsPort = freePort();
  await using server = await RedisServer.start([
    ...["--requirepass", PASSWORD, "--tls-port", String(tlsPort), "--tls-auth-clients", "no"],
    ...["--tls-cert-file", `${files.path}/cert.pem`, "--tls-key-file", `${files.path}/key.pem`],
  ]);
  await using web = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => new Response("no Redis"));
  await test({ around, server, tlsUrl: `rediss://localhost:${tlsPort}`, caFile, web: web.addr.port });
}

const GOOD: Readonly<Record<string, (stage: Stage) => Variables>> = {
  "a password in its own variable": ({ server }) => ({
    LIVEKIT_REDIS_URL: server.url,
    LIVEKIT_REDIS_PASSWORD: PASSWORD,
  }),
  "a user and a password in the URL": ({ server }) => ({
    LIVEKIT_REDIS_URL: server.url.replace("//", `//default:${encodeURIComponent(PASSWORD)}@`),
  }),
  "a unix socket": ({ server }) => ({ LIVEKIT_REDIS_URL: server.socketUrl, LIVEKIT_REDIS_PASSWORD: PASSWORD }),
  "TLS with a CA of one's own": ({ tlsUrl, caFile }) => ({
    LIVEKIT_REDIS_URL: tlsUrl,
    LIVEKIT_REDIS_PASSWORD: PASSWORD,
    LIVEKIT_EXTRA_CA_FILE: caFile,
  }),
};

for (const [what, variables] of Object.entries(GOOD)) {
  Deno.test(`${what} is enough to reach Redis, and is not shown`, () =>
    onStage(async (stage) => {
      await using service = await ServiceProcess.start({ ...stage.around.variables, ...variables(stage) });
      await service.waitFor(/Redis answers/);
      assert.doesNotMatch(service.output, /sikrit/);
      service.kill("SIGTERM");
      assert.equal(await service.exitCode(), 0);
    }));
}

const BAD: Readonly<Record<string, (stage: Stage) => [Variables, RegExp]>> = {
  "without the password": ({ server }) => [{ LIVEKIT_REDIS_URL: server.url }, /NOAUTH/],
  "with another password": ({ server }) => [
    { LIVEKIT_REDIS_URL: server.url, LIVEKIT_REDIS_PASSWORD: "sikrit of another" },
    /WRONGPASS/,
  ],
  "with a CA that nobody trusts": ({ tlsUrl }) => [
    { LIVEKIT_REDIS_URL: tlsUrl, LIVEKIT_REDIS_PASSWORD: PASSWORD },
    /certificate/,
  ],
  "whose port expects TLS": ({ tlsUrl }) => [
    { LIVEKIT_REDIS_URL: tlsUrl.replace("rediss", "redis"), LIVEKIT_REDIS_PASSWORD: PASSWORD },
    /use rediss:/,
  ],
  "whose port has no TLS": ({ server }) => [
    { LIVEKIT_REDIS_URL: server.url.replace("redis", "rediss"), LIVEKIT_REDIS_PASSWORD: PASSWORD },
    /if this port has no TLS, use redis:/,
  ],
  "that is a web server": ({ web }) => [
    { LIVEKIT_REDIS_URL: `redis://127.0.0.1:${web}`, LIVEKIT_REDIS_PASSWORD: PASSWORD },
    /a web server answers there/,
  ],
  "where there is none": () => [{ LIVEKIT_REDIS_URL: "redis://127.0.0.1:1" }, /ECONNREFUSED/],
};

for (const [what, variables] of Object.entries(BAD)) {
  Deno.test(`a Redis ${what} is told in the log, and tokens are handed out all the same`, () =>
    onStage(async (stage) => {
      const { around } = stage;
      const [settings, cause] = variables(stage);
      await using service = await ServiceProcess.start({ ...around.variables, ...settings });
      await service.waitFor(/Redis is away/);
      const line = /^.*Redis is away.*$/m.exec(service.output)?.[0] ?? "";
      assert.match(line, cause);
      assert.doesNotMatch(service.output, /sikrit/);
      const response = await requestGrant(service, around.homeserver.mintOpenIdToken("alice"));
      await response.body?.cancel();
      assert.equal(response.status, 200);
    }));
}

Deno.test("a database that Redis does not have is an error at the start that names it, and no other one is touched", () =>
  onStage(async ({ around, server }) => {
    const entry = encodeJob(sampleJob(1));
    await server.cli("-a", PASSWORD, "HSET", "lk-jwt:jobs", entry.field, entry.value);
    await using service = ServiceProcess.spawn({
      ...around.variables,
      LIVEKIT_REDIS_URL: `${server.url}/99`,
      LIVEKIT_REDIS_PASSWORD: PASSWORD,
    });
    assert.equal(await service.exitCode(), 1);
    assert.match(service.output, /Cannot start: Cannot use database 99 .*DB index is out of range/);
    assert.doesNotMatch(service.output, /Redis answers|Listening/);
    assert.equal(await server.cli("-a", PASSWORD, "KEYS", "*"), "lk-jwt:jobs");
  }));

Deno.test("after a restart with fewer databases no other one is touched, and the jobs go on in memory", async () => {
  await using server = await RedisServer.start();
  await using replica = await Replica.open(`${server.url}/15`);
  await replica.accept(sampleJob(1));
  assert.equal(await server.cli("-n", "15", "HLEN", "lk-jwt:jobs"), "1");
  await server.kill();
  await server.run(["--databases", "4"]);
  assert.equal((await replica.accept(sampleJob(2))).isDurable, false);
  await until(() => replica.store.leaseMs(sampleJob(1).room) > 0 && !replica.connection.isUp);
  await until(() => /out of range/.test(replica.log.text));
  assert.equal(await server.cli("INFO", "keyspace"), "# Keyspace");
  await server.kill();
  await server.run();
  await until(async () => await server.cli("-n", "15", "HLEN", "lk-jwt:jobs") === "2");
});
