// The compiled executable, driven as operators and container runtimes drive it. One file, because the executable is
// compiled once for all of it.

import assert from "node:assert/strict";
import manifest from "../../deno.json" with { type: "json" };
import { freePort } from "../../testing/free_port.ts";
import { BackgroundProcess } from "../../testing/child_process.ts";
import { childrenOf, writableFiles } from "../../testing/process_view.ts";
import { RedisServer } from "../../testing/redis_server.ts";
import { startBackend } from "./backend.ts";
import { Container, CONTAINER_UID } from "../../testing/container.ts";
import { compileInto, type Executable, provideExecutable } from "../../testing/executable.ts";
import { createMemoryGroup } from "../../testing/memory_group.ts";
import { confinedAsBySystemd } from "../../testing/systemd_filters.ts";

const START_TIMEOUT_MS = 10_000;
const STOP_GRACE_MS = 15_000;

// What packagers allow (Helm charts and compose files).
const MEMORY_LIMIT_BYTES = 200 * 1024 * 1024;

const DELAY_ID = "syd_outlives_a_process";

const LOAD_EXCHANGES = 2000;
const LOAD_IN_FLIGHT = 32;

let executable: Executable;
let directory: string;
const provided = new AsyncDisposableStack();

Deno.test.beforeAll(async () => {
  executable = provided.use(await provideExecutable());
  directory = await Deno.makeTempDir({ prefix: "lk-jwt-service-smoke-" });
  provided.defer(() => Deno.remove(directory, { recursive: true }));
});

Deno.test.afterAll(() => provided.disposeAsync());

Deno.test("the same sources give the same executable, byte for byte", async () => {
  const digests: string[] = [];
  for (const name of ["first", "second"]) {
    await compileInto(directory, `${directory}/${name}`);
    const bytes = await Deno.readFile(`${directory}/${name}`);
    digests.push(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex());
    await Deno.remove(`${directory}/${name}`);
  }
  assert.equal(digests[0], digests[1]);
});

Deno.test("the executable prints the version in deno.json", async () => {
  const { code, stdout } = await runExecutable({ args: ["--version"] });
  assert.equal(code, 0);
  assert.ok(stdout.startsWith(`lk-jwt-service ${manifest.version} `), stdout);
});

Deno.test("the executable tells every problem of its environment on a line of its own and ends with 1", async () => {
  const { code, stderr } = await runExecutable({
    variables: { LIVEKIT_JWT_BIND: "nowhere", LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS: "soon" },
  });
  assert.equal(code, 1);
  const problems = stderr.trim().split("\n").filter((line) => line.includes(" ERROR "));
  const named = problems.map((line) => /LIVEKIT_[A-Z_]+/.exec(line)?.[0]);
  assert.deepEqual(named.toSorted(), [
    "LIVEKIT_JWT_BIND",
    "LIVEKIT_KEY",
    "LIVEKIT_SANITY_CHECK_INTERVAL_SECONDS",
    "LIVEKIT_SECRET",
    "LIVEKIT_URL",
  ]);
});

Deno.test("the executable serves whole exchanges with only the operator's variables and ends with 0 on SIGTERM", async () => {
  await using backend = await startBackend();
  const bind = `127.0.0.1:${await freePort()}`;
  await using service = new BackgroundProcess({
    name: "the executable",
    program: executable.path,
    args: [],
    env: { ...backend.variables, LIVEKIT_JWT_BIND: bind },
    clearEnv: true,
    logFile: `${directory}/serve.log`,
  });
  await service.untilReady(() => isHealthy(bind), START_TIMEOUT_MS);
  await backend.exchange(`http://${bind}`);
  assert.equal(await service.stop({ graceMs: STOP_GRACE_MS }), 0, service.output());
});

Deno.test("the executable checks the health of the service that its environment describes", async () => {
  await using backend = await startBackend();
  const port = await freePort();
  const variables = { ...backend.variables, LIVEKIT_JWT_BIND: `:${port}` };
  const checks = [{ args: ["healthcheck"] }, { path: executable.healthcheckPath }];
  for (const check of checks) assert.equal((await runExecutable({ ...check, variables })).code, 1);
  await using service = new BackgroundProcess({
    name: "the executable",
    program: executable.path,
    args: [],
    env: variables,
    clearEnv: true,
    logFile: `${directory}/healthcheck.log`,
  });
  await service.untilReady(() => isHealthy(`127.0.0.1:${port}`), START_TIMEOUT_MS);
  for (const check of checks) {
    const { code, stderr } = await runExecutable({ ...check, variables });
    assert.equal(code, 0, stderr);
  }
});

Deno.test("the executable runs in a container: process 1, any user, nothing writable, no rights, 200 MiB", async (test) => {
  await using backend = await startBackend();
  await using memory = await createMemoryGroup(MEMORY_LIMIT_BYTES);
  const bind = `127.0.0.1:${await freePort()}`;
  const variables = { ...backend.variables, LIVEKIT_JWT_BIND: bind, LIVEKIT_LOG_LEVEL: "warn" };
  await using container = new Container({
    executable: executable.path,
    variables,
    logFile: `${directory}/container.log`,
    memoryProcessesFile: memory?.processesFile,
  });
  await container.process.untilReady(() => isHealthy(bind), START_TIMEOUT_MS);
  const pid = await container.pid();

  await test.step("it is confined as meant", async () => {
    const status = await processStatus(pid);
    assert.match(status("NSpid"), /\t1$/);
    assert.deepEqual(new Set(status("Uid").split("\t")), new Set([String(CONTAINER_UID)]));
    assert.deepEqual([status("CapEff"), status("CapBnd")], ["0".repeat(16), "0".repeat(16)]);
    assert.equal(status("NoNewPrivs"), "1");
    const mounts = await Deno.readTextFile(`/proc/${pid}/mountinfo`);
    assert.match(mounts, /^\S+ \S+ \S+ \/ \/ ro,/m);
    const environment = (await Deno.readTextFile(`/proc/${pid}/environ`)).split("\0").filter((entry) => entry !== "");
    assert.deepEqual(environment.toSorted(), Object.entries(variables).map((entry) => entry.join("=")).toSorted());
  });

  await test.step("it serves a join storm below 200 MiB", async () => {
    let left = LOAD_EXCHANGES;
    await Promise.all(Array.from({ length: LOAD_IN_FLIGHT }, async () => {
      while (left-- > 0) await backend.exchange(`http://${bind}`);
    }));
    const peakBytes = parseInt((await processStatus(pid))("VmHWM")) * 1024;
    assert.ok(peakBytes > 0 && peakBytes < MEMORY_LIMIT_BYTES, `peak of ${peakBytes} bytes`);
    if (memory !== null) assert.equal(await memory.killCount(), 0);
  });

  await test.step("it has started no program and writes to no file but its log", () => {
    assert.deepEqual(childrenOf(pid), []);
    assert.deepEqual(writableFiles(pid).filter((path) => !path.endsWith("/container.log")), []);
  });

  await test.step("it ends with 0 on SIGTERM", async () => {
    assert.equal(await container.stop(), 0, container.process.output());
  });
});

for (const store of ["Redis", "a state directory"] as const) {
  Deno.test(`the executable takes charge of a leave event, keeps it in ${store}, and knows it after a kill`, async () => {
    await using backend = await startBackend();
    await using redis = store === "Redis" ? await RedisServer.start() : null;
    const stateDir = await Deno.makeTempDir({ dir: directory });
    const kept = redis === null ? { LIVEKIT_STATE_DIR: stateDir } : { LIVEKIT_REDIS_URL: redis.url };
    const bind = `127.0.0.1:${await freePort()}`;
    const start = async (logFile: string) => {
      const service = new BackgroundProcess({
        name: "the executable",
        program: executable.path,
        args: [],
        env: { ...backend.variables, ...kept, LIVEKIT_JWT_BIND: bind, LIVEKIT_LOG_LEVEL: "debug" },
        clearEnv: true,
        logFile: `${directory}/${logFile}`,
      });
      await service.untilReady(() => isHealthy(bind), START_TIMEOUT_MS);
      return service;
    };
    {
      await using service = await start("before.log");
      await backend.delegate(`http://${bind}`, DELAY_ID);
      await service.stop({ signal: "SIGKILL", graceMs: STOP_GRACE_MS });
    }
    await using service = await start("after.log");
    // By itself it asks the homeserver about the event once its delay is nearly over.
    await service.untilReady(() => Promise.resolve(service.output().includes(DELAY_ID.slice(0, 8))), START_TIMEOUT_MS);
    assert.equal(await service.stop({ graceMs: STOP_GRACE_MS }), 0, service.output());
  });
}

// What docs/troubleshooting.md says about a text that is seen when the executable does not start.
async function explanationOf(seen: string): Promise<string> {
  const page = await Deno.readTextFile(new URL("../../docs/troubleshooting.md", import.meta.url));
  return page.split("\n").find((line) => line.includes(seen)) ?? "";
}

Deno.test("where memory can't become executable, the executable ends with a text that is explained", async () => {
  // PR_SET_MDWE, as systemd sets it for MemoryDenyWriteExecute=true.
  const refuse = "import ctypes, os, sys\nif ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): sys.exit(94)\n" +
    "os.execv(sys.argv[1], sys.argv[1:])";
  const { code, stderr } = await new Deno.Command("python3", { args: ["-c", refuse, executable.path, "--version"] })
    .output();
  assert.notEqual(code, 94, "Cannot try it: the kernel has no PR_SET_MDWE (Linux 6.3)");
  const text = "Check failed: 12 == (*__errno_location ()).";
  assert.ok(new TextDecoder().decode(stderr).includes(text));
  assert.match(await explanationOf(text), /MemoryDenyWriteExecute/);
});

Deno.test({
  name:
    "where system calls are filtered, the executable runs if a refused one is an error, else it ends as is explained",
  ignore: Deno.build.arch !== "x86_64", // elsewhere V8 asks for no memory protection keys
  async fn() {
    const run = (others: "EPERM" | "kill") => {
      const [program, ...args] = confinedAsBySystemd(others);
      return new Deno.Command(program, { args: [...args, executable.path, "--version"] }).output();
    };
    assert.equal((await run("EPERM")).code, 0);
    assert.equal((await run("kill")).signal, "SIGSYS");
    assert.match(await explanationOf("status=31/SYS"), /SystemCallErrorNumber=EPERM/);
  },
});

interface RunOptions {
  readonly path?: string;
  readonly args?: readonly string[];
  readonly variables?: Readonly<Record<string, string>>;
}

async function runExecutable({ path = executable.path, args = [], variables = {} }: RunOptions) {
  const options = { args: [...args], env: { ...variables }, clearEnv: true };
  const { code, stdout, stderr } = await new Deno.Command(path, options).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

async function isHealthy(address: string): Promise<boolean> {
  const response = await fetch(`http://${address}/healthz`);
  await response.body?.cancel();
  return response.status === 200;
}

/** The fields of `/proc/<pid>/status`, by name. */
async function processStatus(pid: number): Promise<(name: string) => string> {
  const text = await Deno.readTextFile(`/proc/${pid}/status`);
  return (name) => new RegExp(`^${name}:\\s*(.*)$`, "m").exec(text)?.[1]?.trim() ?? "";
}
