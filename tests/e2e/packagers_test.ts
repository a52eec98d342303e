// The compiled executable as each packager starts it, on real parts: a Synapse, a LiveKit that creates no room by itself,
// and nginx with TLS in front of both. Whoever joins must be let in by that LiveKit, and the packager's own probe must pass.
//
// An executable on the base of an older Deno (see testing/executable.ts) opens no TLS connection to a homeserver or to
// an SFU: it is told their internal addresses, and the same bundle runs a second time, confined in the same way and
// with nothing but the packager's variables, on the pinned Deno. A release's executable runs once, without that. Needs
// root.

import assert from "node:assert/strict";
import { dirname } from "node:path";
import { CertificateAuthority } from "../../testing/certificates.ts";
import { Container } from "../../testing/container.ts";
import { type Executable, provideExecutable, provideRuntime, type Runtime } from "../../testing/executable.ts";
import { freePort } from "../../testing/free_port.ts";
import { createMemoryGroup } from "../../testing/memory_group.ts";
import { startNginx } from "../../testing/proxies/nginx.ts";
import type { Probed } from "./packager_probes.ts";
import { CA_BUNDLE, DEVELOPMENT_KEY, type Packager, PACKAGERS, type Parts } from "./packagers.ts";
import { type LiveKit, startLiveKit } from "./stack/livekit.ts";
import type { MatrixUser } from "./stack/matrix.ts";
import { aliasOf, bodyOf, grantFor } from "./stack/requests.ts";
import { startSynapse } from "./stack/synapse.ts";

const MEMORY_LIMIT_BYTES = 200 * 1024 * 1024;
const START_TIMEOUT_MS = 60_000;
const IMAGE_PATH = "/lk-jwt-service";
const BUNDLE_FOLDER = "/bundle";
const ALIAS = "mrtc.example.com";

/** What is confined: a file, its arguments, and what it needs besides the packager's set-up. */
interface Subject {
  readonly name: string;
  readonly file: string;
  readonly args: readonly string[];
  /** What comes along, to {@link BUNDLE_FOLDER}. */
  readonly folder?: string;
  readonly variables: Readonly<Record<string, string>>;
  readonly surplusBytes: number;
}

interface Scene {
  readonly parts: Parts;
  readonly sfu: LiveKit;
  readonly alice: MatrixUser;
  readonly fetchProxied: Probed["proxied"];
  readonly subjects: readonly Subject[];
  readonly folder: string;
}

const started = new AsyncDisposableStack();
let scene: Scene;

Deno.test.beforeAll(async () => {
  scene = await startScene();
});

Deno.test.afterAll(() => started.disposeAsync());

for (const packager of PACKAGERS) {
  Deno.test(`a user joins a call, and the probe passes, in the set-up of ${packager.who}`, async (test) => {
    for (const subject of scene.subjects) {
      await test.step(subject.name, () => tryOut(packager, subject));
    }
  });
}

async function tryOut(packager: Packager, subject: Subject): Promise<void> {
  const { parts, sfu, alice, fetchProxied, folder } = scene;
  const { who, uid, path = IMAGE_PATH, systemdFilters, isSelfSigned, setUp, probe } = packager;
  const { variables: own, understood, files = {}, entrypoint } = setUp(parts);
  await using memory = await createMemoryGroup(MEMORY_LIMIT_BYTES + subject.surplusBytes);
  const variables = { ...own, ...subject.variables };
  const command = [path, ...subject.args];
  const texts = {
    ...(isSelfSigned ? {} : { [CA_BUNDLE]: parts.caCertificate }),
    ...files,
    ...(entrypoint === undefined ? {} : { "/entrypoint.sh": entrypoint(command.join(" ")) }),
  };
  const root = {
    [path]: subject.file,
    [`${IMAGE_PATH}-healthcheck`]: subject.file,
    ...(subject.folder === undefined ? {} : { [BUNDLE_FOLDER]: subject.folder }),
    ...await writeFor(uid, texts, folder),
  };
  const confine = async (command: readonly string[]) =>
    new Container({
      executable: subject.file,
      command,
      variables,
      logFile: await Deno.makeTempFile({ dir: folder, suffix: ".log" }),
      memoryProcessesFile: memory?.processesFile,
      uid,
      root,
      ...(systemdFilters === undefined ? {} : { systemdFilters }),
    });

  await using container = await confine(entrypoint === undefined ? command : ["/bin/bash", "/entrypoint.sh"]);
  const host = Object.values(variables).some((value) => value.startsWith("[::")) ? "[::1]" : "127.0.0.1";
  const url = `http://${host}:${parts.port}`;
  await container.process.untilReady(async (signal) => {
    const response = await fetch(`${url}/healthz`, { signal });
    await response.body?.cancel();
    return response.ok;
  }, START_TIMEOUT_MS);
  try {
    await assertConfined(await container.pid(), packager);
    const settings = container.process.output().split("\n").find((line) => / lk-jwt-service \d/.test(line)) ?? "";
    for (const text of understood) assert.ok(settings.includes(` ${text}`), `expected ${text} in: ${settings}`);

    const service = {
      async post(path: string, body: unknown) {
        const response = await fetch(`${url}${path}`, { method: "POST", body: JSON.stringify(body) });
        return { status: response.status, body: await response.json() };
      },
    };
    const seat = { user: alice, roomId: await alice.createRoom(), deviceId: alice.deviceId };
    for (const route of ["/sfu/get", "/get_token"] as const) {
      const grant = await grantFor(service, route, seat);
      assert.equal(grant.url, own.LIVEKIT_URL ?? parts.sfuUrl);
      assert.deepEqual(await sfu.validate(grant.jwt), { status: 200, text: "success" });
    }
    assert.equal(await sfu.hasRoom(aliasOf(seat.roomId)), true);

    const token = { ...await alice.openIdToken(), access_token: "AbCdEfGhIjKlMnOpQrStUvWx" };
    const answered = await probe({
      url,
      proxied: fetchProxied,
      async healthcheck(name) {
        const isByName = name !== "healthcheck" && subject.args.length === 0; // a bundle does not know its program's name
        await using other = await confine(isByName ? [name] : [...command, "healthcheck"]);
        return await other.process.ended;
      },
      bodyWithUnknownToken: { ...bodyOf("/get_token", seat), openid_token: token },
    });
    console.log(`${who}\n  ${subject.name}, user ${uid}, ${Object.keys(variables).join(" ")}\n  ${answered}`);
    assert.equal(await container.stop(), 0);
    if (memory !== null) assert.equal(await memory.killCount(), 0);
  } catch (error) {
    console.log(`The service's log ends:\n${container.process.output()}`);
    throw error;
  }
}

/** Writes texts that one user alone may read; gives where each one is, by its place. */
async function writeFor(uid: number, texts: Readonly<Record<string, string>>, folder: string) {
  const files: Record<string, string> = {};
  for (const [place, text] of Object.entries(texts)) {
    const file = files[place] = await Deno.makeTempFile({ dir: folder });
    await Deno.writeTextFile(file, text);
    await Deno.chmod(file, 0o400);
    await Deno.chown(file, uid, uid);
  }
  return files;
}

async function assertConfined(pid: number, { uid, systemdFilters }: Packager): Promise<void> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  assert.match(status, new RegExp(`^Uid:\\t${uid}\\t${uid}\\t${uid}\\t${uid}$`, "m"));
  assert.match(status, /^CapEff:\t0+$/m);
  assert.match(status, /^NoNewPrivs:\t1$/m);
  if (systemdFilters !== undefined) assert.match(status, /^Seccomp:\t2$/m);
  const atRoot = [...Deno.readDirSync(`/proc/${pid}/root/`)].map(({ name }) => name);
  assert.ok(!atRoot.includes("tmp") && !atRoot.includes("home"), atRoot.join(" "));
  assert.match(await Deno.readTextFile(`/proc/${pid}/mountinfo`), /^\S+ \S+ \S+ \/ \/ ro,/m);
}

async function startScene(): Promise<Scene> {
  const folder = await Deno.makeTempDir({ prefix: "lk-jwt-service-packagers-" });
  await Deno.chmod(folder, 0o755);
  started.defer(() => Deno.remove(folder, { recursive: true }));
  const [executable, runtime] = [started.use(await provideExecutable()), started.use(await provideRuntime())];
  const ca = await CertificateAuthority.create();
  const [port, internalPort] = [await freePort(), await freePort()];
  const synapse = started.use(await startSynapse({ host: "localhost", ca, internalPort }));
  const [key, secret] = ["packagers-key", "packagers-secret-of-32-characters"];
  const sfu = started.use(
    await startLiveKit({
      apiKey: key,
      apiSecret: secret,
      furtherKeys: { [DEVELOPMENT_KEY.key]: DEVELOPMENT_KEY.secret },
      webhookUrls: [`http://127.0.0.1:${port}/sfu_webhook`],
    }),
  );
  const nginx = started.use(
    await startNginx({
      example: "nginx/prefix_stripped.conf",
      serviceAddress: `127.0.0.1:${port}`,
      sfuAddress: new URL(sfu.url).host,
      certificate: await ca.issue({ dnsNames: ["localhost", ALIAS], addresses: ["127.0.0.1", "::1"] }),
      caCertificate: ca.certificate,
    }),
  );
  const client = Deno.createHttpClient({ caCerts: [ca.certificate] });
  started.defer(() => client.close());
  const sfuUrl = `wss://localhost:${nginx.port}/livekit/sfu`;
  const internalApi = `http://127.0.0.1:${internalPort}`;
  return {
    parts: {
      port,
      server: synapse.serverName,
      internalApi,
      sfuUrl,
      aliasedSfuUrl: `wss://${ALIAS}:${nginx.port}/livekit/sfu`,
      hosts: `127.0.0.1 localhost\n127.0.0.1 ${ALIAS}\n`,
      key,
      secret,
      required: { LIVEKIT_URL: sfuUrl, LIVEKIT_KEY: key, LIVEKIT_SECRET: secret },
      caCertificate: ca.certificate,
    },
    sfu,
    alice: await synapse.register("alice", "ALICEDEV"),
    fetchProxied: (path, init) => fetch(`${nginx.url}/livekit/jwt${path}`, { client, ...init }),
    subjects: subjectsOf(executable, runtime, {
      LIVEKIT_FEDERATION_URL_OVERRIDES: `${synapse.serverName}=${internalApi}`,
      LIVEKIT_INTERNAL_URL: sfu.url,
    }),
    folder,
  };
}

function subjectsOf(executable: Executable, runtime: Runtime, pastTls: Subject["variables"]): Subject[] {
  const isPinned = runtime.args.length === 0;
  const compiled = {
    name: "the executable",
    file: executable.path,
    args: [],
    variables: isPinned ? {} : pastTls,
    surplusBytes: 0,
  };
  if (isPinned) return [compiled];
  const folder = dirname(runtime.path);
  const inside = (text: string) => text.replaceAll(folder, BUNDLE_FOLDER);
  const variables = Object.fromEntries(Object.entries(runtime.variables).map(([name, value]) => [name, inside(value)]));
  return [compiled, {
    name: "its bundle on the pinned Deno",
    file: runtime.path,
    args: runtime.args.map(inside),
    folder,
    variables,
    surplusBytes: runtime.surplusBytes,
  }];
}
