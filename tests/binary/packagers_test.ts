// The executable as each packager runs it: their variables with values that are no defaults, their user, file system and
// limits, a whole exchange, and the probe that they have.

import assert from "node:assert/strict";
import { freePort } from "../../testing/free_port.ts";
import { Container } from "../../testing/container.ts";
import { type Executable, provideExecutable } from "../../testing/executable.ts";
import { createMemoryGroup } from "../../testing/memory_group.ts";
import { type Backend, startBackend } from "./backend.ts";

const MEMORY_LIMIT_BYTES = 200 * 1024 * 1024;
const START_TIMEOUT_MS = 20_000;
const PROBE_TIMEOUT_MS = 1000;

/** What a packager's set-up is made from. */
interface Parts {
  readonly backend: Backend["variables"];
  readonly port: number;
  /** Writes a file that the service's user alone may read; gives its path. */
  readonly file: (name: string, text: string) => string;
}

interface Packager {
  readonly who: string;
  readonly uid: number;
  readonly onlyInternet?: true;
  readonly variables: (parts: Parts) => Record<string, string>;
  readonly probe: (url: string, variables: Readonly<Record<string, string>>) => Promise<void>;
}

const healthz = async (url: string) => {
  const response = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) });
  await response.body?.cancel();
  assert.equal(response.status, 200);
};

const healthcheck = async (_url: string, variables: Readonly<Record<string, string>>) => {
  const { code, stderr } = await new Deno.Command(executable.healthcheckPath, { env: { ...variables }, clearEnv: true })
    .output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
};

// "Do these routes exist?" as operators ask with curl.
const routes = async (url: string) => {
  const ask = async (method: string, path: string) => {
    const response = await fetch(`${url}${path}`, { method });
    await response.body?.cancel();
    return response.status;
  };
  const statuses = [
    await ask("POST", "/sfu_webhook"),
    await ask("POST", "/delegate_delayed_leave"),
    await ask("GET", "/sfu/get"),
  ];
  assert.deepEqual(statuses, [200, 400, 405]);
};

/** The variables of the fakes, less the API secret and the list of homeservers. */
function others({ LIVEKIT_SECRET: _secret, LIVEKIT_FULL_ACCESS_HOMESERVERS: _list, ...rest }: Backend["variables"]) {
  return rest;
}

const PACKAGERS: readonly Packager[] = [
  {
    who: "the ESS helm chart",
    uid: 10_033,
    variables: ({ backend, port, file }) => ({
      ...others(backend),
      LIVEKIT_SECRET_FROM_FILE: file("ELEMENT_CALL_LIVEKIT_SECRET", backend.LIVEKIT_SECRET ?? ""),
      LIVEKIT_FULL_ACCESS_HOMESERVERS: "example.com",
      LIVEKIT_JWT_BIND: `:${port}`,
      KUBERNETES_SERVICE_HOST: "10.0.0.1",
    }),
    probe: healthz,
  },
  {
    who: "matrix-docker-ansible-deploy",
    uid: 991,
    variables: ({ backend, port }) => ({
      ...backend,
      LIVEKIT_JWT_BIND: `0.0.0.0:${port}`,
      LIVEKIT_FULL_ACCESS_HOMESERVERS: "example.com,example.org",
      LIVEKIT_CS_API_URL_OVERRIDES: "",
    }),
    probe: routes,
  },
  {
    who: "the NixOS module, but for MemoryDenyWriteExecute",
    uid: 61_184,
    onlyInternet: true,
    variables: ({ backend, port, file }) => {
      const { LIVEKIT_KEY: key, ...rest } = others(backend);
      return {
        ...rest,
        LIVEKIT_KEY_FILE: file("livekit-secrets", `${key}: ${backend.LIVEKIT_SECRET}\n`),
        LIVEKIT_JWT_BIND: `:${port}`,
        LIVEKIT_FULL_ACCESS_HOMESERVERS: "*",
      };
    },
    probe: healthz,
  },
  {
    who: "the older NixOS module",
    uid: 61_185,
    onlyInternet: true,
    variables: ({ backend, port, file }) => {
      const { LIVEKIT_KEY: key, ...rest } = others(backend);
      return {
        ...rest,
        LIVEKIT_KEY_FILE: file("keys", `${key}: ${backend.LIVEKIT_SECRET}`),
        LIVEKIT_JWT_PORT: String(port),
        LIVEKIT_FULL_ACCESS_HOMESERVERS: "example.com",
      };
    },
    probe: healthz,
  },
  {
    who: "composes from before 0.2, with the names of then",
    uid: 65_534,
    variables: ({ backend, port }) => ({
      ...others(backend),
      LIVEKIT_SECRET: backend.LIVEKIT_SECRET ?? "",
      LK_JWT_PORT: String(port),
      LIVEKIT_LOCAL_HOMESERVERS: "example.com",
    }),
    probe: routes,
  },
  {
    who: "the guides of continuwuity and tuwunel",
    uid: 1000,
    variables: ({ backend, port }) => ({ ...backend, LIVEKIT_JWT_BIND: `:${port}` }),
    probe: healthz,
  },
  {
    who: "composes with a health check of their own",
    uid: 65_532,
    variables: ({ backend, port, file }) => {
      const { LIVEKIT_KEY: key, ...rest } = others(backend);
      return {
        ...rest,
        LIVEKIT_KEY_FROM_FILE: file("key", `${key}\n`),
        LIVEKIT_SECRET_FROM_FILE: file("secret", `${backend.LIVEKIT_SECRET}\n`),
        LIVEKIT_FULL_ACCESS_HOMESERVERS: "example.com",
        LIVEKIT_JWT_BIND: `127.0.0.1:${port}`,
        LIVEKIT_LOG_LEVEL: "debug",
        LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS: "60",
      };
    },
    probe: healthcheck,
  },
];

let executable: Executable;
let directory: string;
const provided = new AsyncDisposableStack();

Deno.test.beforeAll(async () => {
  executable = provided.use(await provideExecutable());
  directory = await Deno.makeTempDir({ prefix: "lk-jwt-service-packagers-" });
  await Deno.chmod(directory, 0o755);
  provided.defer(() => Deno.remove(directory, { recursive: true }));
});

Deno.test.afterAll(() => provided.disposeAsync());

for (const { who, uid, onlyInternet, variables: variablesOf, probe } of PACKAGERS) {
  Deno.test(`the executable starts, serves an exchange and passes the probe in the set-up of ${who}`, async () => {
    await using backend = await startBackend();
    await using memory = await createMemoryGroup(MEMORY_LIMIT_BYTES);
    const port = await freePort();
    const file = (name: string, text: string) => {
      const path = `${directory}/${name}-${uid}`;
      Deno.writeTextFileSync(path, text, { mode: 0o400 });
      Deno.chownSync(path, uid, uid);
      return path;
    };
    const variables = variablesOf({ backend: backend.variables, port, file });
    const url = `http://127.0.0.1:${port}`;
    await using container = new Container({
      executable: executable.path,
      variables,
      logFile: `${directory}/${uid}.log`,
      memoryProcessesFile: memory?.processesFile,
      uid,
      ...(onlyInternet === undefined ? {} : { onlyInternet }),
    });
    await container.process.untilReady(() => healthz(url).then(() => true), START_TIMEOUT_MS);
    const status = await Deno.readTextFile(`/proc/${await container.pid()}/status`);
    assert.match(status, onlyInternet ? /^Seccomp:\t2$/m : /^NoNewPrivs:\t1$/m);
    await backend.exchange(url);
    await probe(url, variables);
    assert.equal(await container.stop(), 0, container.process.output());
    if (memory !== null) assert.equal(await memory.killCount(), 0);
  });
}

Deno.test("where memory can't become executable, the executable ends with the text that docs/troubleshooting.md explains", async () => {
  // PR_SET_MDWE, as systemd sets it for MemoryDenyWriteExecute=true.
  const refuse = "import ctypes, os, sys\nif ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): sys.exit(94)\n" +
    "os.execv(sys.argv[1], sys.argv[1:])";
  const { code, stderr } = await new Deno.Command("python3", { args: ["-c", refuse, executable.path, "--version"] })
    .output();
  assert.notEqual(code, 94, "Cannot try it: the kernel has no PR_SET_MDWE (Linux 6.3)");
  const text = "Check failed: 12 == (*__errno_location ()).";
  assert.ok(new TextDecoder().decode(stderr).includes(text));
  const page = await Deno.readTextFile(new URL("../../docs/troubleshooting.md", import.meta.url));
  assert.match(page.split("\n").find((line) => line.includes(text)) ?? "", /MemoryDenyWriteExecute/);
});
