// What LIVEKIT_REDIS_URL can lead to, with the whole service as a process: each kind of connection works, and what does
// not work is told in the log while the service is up.

import assert from "node:assert/strict";
import { CertificateAuthority } from "../../testing/certificates.ts";
import { freePort, ServiceProcess, type Variables } from "../../testing/service_process.ts";
import { requestGrant, Surroundings, TemporaryDirectory } from "../../testing/surroundings.ts";
import { RedisServer } from "../../testing/redis_server.ts";

const PASSWORD = "sikrit:of redis";

interface Stage {
  readonly around: Surroundings;
  readonly server: RedisServer;
  readonly tlsUrl: string;
  readonly caFile: string;
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
  await test({ around, server, tlsUrl: `rediss://localhost:${tlsPort}`, caFile });
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
      assert.doesNotMatch(service.output, /Redis is away|sikrit/);
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
