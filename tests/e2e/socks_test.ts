// HTTPS_PROXY through real SOCKS servers, microsocks and Dante: they resolve the homeserver's name, which only they can,
// and what the service must not reach it does not ask them for. Needs root, or sudo, for a hosts file of
// their own.

import assert from "node:assert/strict";
import { BackgroundProcess } from "../../testing/child_process.ts";
import { CertificateAuthority } from "../../testing/certificates.ts";
import { DevelopmentHomeserver } from "../../testing/fake_homeserver.ts";
import { DevelopmentSfu } from "../../testing/fake_sfu.ts";
import { freePort } from "../../testing/free_port.ts";
import { ServiceProcess, type Variables } from "../../testing/service_process.ts";
import { requestGrant, TemporaryDirectory } from "../../testing/surroundings.ts";

// No name server knows it, and no hosts file but that of the SOCKS servers.
const HOST = "homeserver.internal.example";
const USER = "operator";
const PASSWORD = "p@ss:word/1";
const LOGIN = `${USER}:${encodeURIComponent(PASSWORD)}@`;
const START_TIMEOUT_MS = 10_000;

interface Scene extends AsyncDisposable {
  readonly homeserver: DevelopmentHomeserver;
  readonly variables: Variables;
  /** Where the SOCKS server listens. */
  readonly address: string;
  readonly proxy: BackgroundProcess;
}

type Program = (port: number, folder: string) => readonly string[];

const microsocks: Program = (port) => ["microsocks", "-i", "127.0.0.1", "-p", `${port}`];
const microsocksWithLogin: Program = (port, folder) => [...microsocks(port, folder), "-u", USER, "-P", PASSWORD];
const dante: Program = (port, folder) => {
  const rules = "{ from: 0.0.0.0/0 to: 0.0.0.0/0 log: connect error }";
  const lines = [
    "logoutput: stdout",
    `internal: 127.0.0.1 port = ${port}`,
    "external: lo",
    "clientmethod: none",
    "socksmethod: none",
    "user.privileged: root",
    "user.unprivileged: nobody",
    `client pass ${rules}`,
    `socks pass ${rules}`,
  ];
  Deno.writeTextFileSync(`${folder}/danted.conf`, `${lines.join("\n")}\n`);
  return ["danted", "-f", `${folder}/danted.conf`, "-p", `${folder}/danted.pid`];
};

async function startScene(program: Program): Promise<Scene> {
  await using parts = new AsyncDisposableStack();
  const directory = parts.use(new TemporaryDirectory());
  const folder = directory.path;
  const authority = await CertificateAuthority.create();
  await Deno.writeTextFile(`${folder}/ca.pem`, authority.certificate);
  const certificate = await authority.issue({ dnsNames: [HOST] });
  const homeserverPort = await freePort();
  const serverName = `${HOST}:${homeserverPort}`;
  const homeserver = parts.use(await DevelopmentHomeserver.start({ certificate, port: homeserverPort, serverName }));
  const sfu = parts.use(await DevelopmentSfu.start());

  const port = await freePort();
  await Deno.writeTextFile(`${folder}/hosts`, `127.0.0.1 ${HOST}\n`);
  const ownHosts = `mount --bind ${folder}/hosts /etc/hosts && exec "$@"`;
  const proxy = parts.use(
    new BackgroundProcess({
      name: "SOCKS server",
      program: Deno.uid() === 0 ? "unshare" : "sudo",
      args: [
        ...(Deno.uid() === 0 ? [] : ["-n", "unshare"]),
        "--mount",
        "sh",
        "-c",
        ownHosts,
        "sh",
        ...program(port, folder),
      ],
      logFile: `${folder}/socks.log`,
    }),
  );
  await proxy.untilReady(async () => {
    using _connection = await Deno.connect({ hostname: "127.0.0.1", port });
    return true;
  }, START_TIMEOUT_MS);

  const variables = {
    LIVEKIT_URL: sfu.url,
    LIVEKIT_KEY: sfu.apiKey,
    LIVEKIT_SECRET: sfu.apiSecret,
    LIVEKIT_JWT_BIND: "127.0.0.1:0",
    LIVEKIT_FULL_ACCESS_HOMESERVERS: serverName,
    LIVEKIT_EXTRA_CA_FILE: `${folder}/ca.pem`,
  };
  const all = parts.move();
  return {
    homeserver,
    variables,
    address: `127.0.0.1:${port}`,
    proxy,
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** Status of an exchange of one user. */
async function exchange({ homeserver }: Scene, service: ServiceProcess): Promise<number> {
  const response = await requestGrant(service, homeserver.mintOpenIdToken("alice"));
  await response.body?.cancel();
  return response.status;
}

const MICROSOCKS_CONNECTS = new RegExp(`connected to ${HOST.replaceAll(".", "\\.")}`);

const SERVERS: [what: string, program: Program, scheme: string, login: string, connects: RegExp][] = [
  ["microsocks", microsocks, "socks5h", "", MICROSOCKS_CONNECTS],
  ["microsocks, under the name socks5", microsocks, "socks5", "", MICROSOCKS_CONNECTS],
  ["microsocks with user and password", microsocksWithLogin, "socks5h", LOGIN, MICROSOCKS_CONNECTS],
  ["Dante", dante, "socks5h", "", /tcp\/connect/],
];

for (const [what, program, scheme, login, connects] of SERVERS) {
  Deno.test(`an exchange goes through ${what}, which alone can resolve the homeserver's name`, async () => {
    await using scene = await startScene(program);
    await using direct = await ServiceProcess.start(scene.variables);
    assert.equal(await exchange(scene, direct), 401);

    const HTTPS_PROXY = `${scheme}://${login}${scene.address}`;
    await using service = await ServiceProcess.start({ ...scene.variables, HTTPS_PROXY });
    for (let i = 0; i < 3; i++) assert.equal(await exchange(scene, service), 200);
    assert.equal(scene.homeserver.userInfoRequests, 3);
    assert.match(scene.proxy.output(), connects);
  });
}

Deno.test("a wrong password, or none, is a 401 whose log tells why and shows no password", async () => {
  await using scene = await startScene(microsocksWithLogin);
  const refusals = { "": /user and password/, [`${USER}:wrong-password@`]: /user or password refused/ };
  for (const [login, reason] of Object.entries(refusals)) {
    const HTTPS_PROXY = `socks5h://${login}${scene.address}`;
    await using service = await ServiceProcess.start({ ...scene.variables, HTTPS_PROXY });
    assert.equal(await exchange(scene, service), 401);
    await service.waitFor(reason);
    assert.ok(!service.output.includes("wrong-password"));
  }
});

Deno.test("an internal address that stands in a name is refused before the SOCKS server is asked", async () => {
  await using scene = await startScene(microsocks);
  const HTTPS_PROXY = `socks5h://${scene.address}`;
  await using service = await ServiceProcess.start({ ...scene.variables, HTTPS_PROXY });
  for (const matrix_server_name of ["10.0.0.1", "[fd00::1]:8448", "167772161:8448", "169.254.169.254"]) {
    const token = { ...scene.homeserver.mintOpenIdToken("alice"), matrix_server_name };
    const response = await requestGrant(service, token);
    await response.body?.cancel();
    assert.equal(response.status, 401);
  }
  assert.doesNotMatch(scene.proxy.output(), /connected to/);
  assert.equal(await exchange(scene, service), 200);
  assert.match(scene.proxy.output(), MICROSOCKS_CONNECTS);
});
