// The executable under test: compiled from the sources as they are now, once per run and never kept, or the one that a
// release has just compiled (LK_JWT_SERVICE_EXECUTABLE).

import assert from "node:assert/strict";
import manifest from "../deno.json" with { type: "json" };
import { type Architecture, bundle, compile, repositoryRoot, v8Flags } from "../tasks/compile.ts";
import { runToEnd } from "./child_process.ts";

/** An executable in a directory of its own, beside the link that images have too. */
export interface Executable extends AsyncDisposable {
  readonly path: string;
  /** A link to it whose name makes it the health check. */
  readonly healthcheckPath: string;
}

/** What a service is started with. */
export interface Runtime extends AsyncDisposable {
  readonly path: string;
  readonly args: readonly string[];
  /** Variables that it needs by itself. */
  readonly variables: Readonly<Record<string, string>>;
  /** What it takes of the memory beyond the executable of a release, in bytes. */
  readonly surplusBytes: number;
}

// A whole Deno with its loader takes 25 MiB more than an executable when idle, and under pressure more, which is not known
// exactly: this leaves room, and each kind of pressure prints its peak.
const SURPLUS_OF_DENO_BYTES = 72 * 1024 * 1024;

/**
 * Provides what a release runs on: its executable where the pinned Deno compiles here, else the same bundle on the pinned
 * Deno, with the executable's flags and permissions. The base of an older Deno loses memory with each connection.
 */
export async function provideRuntime(): Promise<Runtime> {
  const isGiven = Boolean(Deno.env.get("LK_JWT_SERVICE_EXECUTABLE"));
  if (isGiven || await isPinned((await findCompiler()).deno)) {
    const executable = await provideExecutable();
    return { ...executable, args: [], variables: {}, surplusBytes: 0 };
  }
  console.log("Nothing here compiles an executable with the pinned Deno: its bundle runs on that Deno itself");
  const directory = await Deno.makeTempDir({ prefix: "lk-jwt-service-runtime-" });
  await Deno.chmod(directory, 0o755);
  const path = `${directory}/deno`; // of its own, so that its process can be told from others
  await Deno.copyFile(Deno.execPath(), path);
  await Deno.chmod(path, 0o755);
  const source = `${directory}/lk-jwt-service.js`;
  await bundle(source);
  const config = `${directory}/deno.json`;
  await Deno.writeTextFile(config, JSON.stringify({ permissions: manifest.permissions }));
  const flags = ["--no-prompt", "--no-lock", `--config=${config}`, "-P=service", `--v8-flags=${v8Flags.join(",")}`];
  return {
    path,
    args: ["run", ...flags, source],
    variables: { DENO_DIR: `${directory}/cache`, DENO_NO_UPDATE_CHECK: "1" },
    surplusBytes: SURPLUS_OF_DENO_BYTES,
    [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
  };
}

async function isPinned(deno: string): Promise<boolean> {
  return (await runToEnd(deno, ["--version"])).startsWith(`deno ${Deno.version.deno} `);
}

/**
 * Provides the executable of this machine's platform.
 *
 * @throws {Error} when nothing here can compile one
 */
export async function provideExecutable(): Promise<Executable> {
  const directory = await Deno.makeTempDir({ prefix: "lk-jwt-service-binary-" });
  try {
    await Deno.chmod(directory, 0o755); // other users run it
    const path = `${directory}/lk-jwt-service`;
    const given = Deno.env.get("LK_JWT_SERVICE_EXECUTABLE");
    if (given) await Deno.copyFile(given, path);
    else await compileInto(directory, path);
    await Deno.chmod(path, 0o755);
    await Deno.symlink("lk-jwt-service", `${path}-healthcheck`);
    return {
      path,
      healthcheckPath: `${path}-healthcheck`,
      [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
    };
  } catch (error) {
    await Deno.remove(directory, { recursive: true });
    throw error;
  }
}

/**
 * Compiles the sources as they are now, for this machine's platform.
 *
 * @param directory where bundle and configuration go
 * @throws {Error} when nothing here can compile
 */
export async function compileInto(directory: string, output: string): Promise<void> {
  const { deno, env } = await findCompiler();
  const config = `${directory}/deno.json`;
  await Deno.writeTextFile(config, await configurationFor(deno));
  const source = `${directory}/lk-jwt-service.js`;
  await bundle(source);
  await compile({ deno, env, config, source, architecture: architectureHere(), output });
}

interface Compiler {
  readonly deno: string;
  readonly env: Readonly<Record<string, string>>;
}

// Deno downloads the base of an executable (denort). Where it can't, a script beside the checkout makes one from npm
// packages, together with the older deno that fits it.
async function findCompiler(): Promise<Compiler> {
  const deno = Deno.env.get("DENO_COMPILE");
  if (deno) return { deno, env: {} }; // DENORT_BIN is inherited
  const script = `${repositoryRoot}../shared/tools/denort`;
  try {
    await Deno.stat(script);
  } catch {
    throw new Error(
      `Cannot compile the executable: "${script}" is not there; set DENO_COMPILE to the deno that compiles (and ` +
        "DENORT_BIN to a base of its version, where it can't download one), or LK_JWT_SERVICE_EXECUTABLE to a binary",
    );
  }
  const exports = Object.fromEntries(
    (await runToEnd("bash", [script], { toInstall: "it needs npm and python3 too" })).matchAll(/^export (\w+)=(.+)$/gm)
      .map(([, name, value]) => [name, value] as const),
  );
  const { DENORT_BIN, DENO_COMPILE } = exports;
  assert.ok(DENORT_BIN && DENO_COMPILE, `"${script}" must print DENORT_BIN and DENO_COMPILE`);
  return { deno: DENO_COMPILE, env: { DENORT_BIN } };
}

// An older deno refuses the narrow form of the one permission that the pinned one asks to be spelled out.
async function configurationFor(deno: string): Promise<string> {
  if (await isPinned(deno)) return JSON.stringify(manifest);
  const { service } = manifest.permissions;
  assert.deepEqual(service.sys, ["ca"]);
  return JSON.stringify({ ...manifest, permissions: { service: { ...service, sys: true } } });
}

function architectureHere(): Architecture {
  return Deno.build.arch === "aarch64" ? "arm64" : "amd64";
}
