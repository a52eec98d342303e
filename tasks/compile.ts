// Makes the executables of a release: bundles main.ts once with the running Deno, then compiles the bundle per platform.
// The bundle comes first because `deno compile` of the sources embeds whole npm packages; a bundle is small, starts
// faster and gives the same bytes on every build.
// Usage: deno task compile [amd64] [arm64]      (both by default; DENORT_BIN names another runtime base)
import { decode, encode, type SourceMapSegment } from "@jridgewell/sourcemap-codec";
import { fileURLToPath } from "node:url";
import * as v from "valibot";

/** The repository's root directory. */
export const repositoryRoot = fileURLToPath(new URL("..", import.meta.url));

/** The platforms that get an executable, by the name that images and release assets use. */
export const targets = {
  amd64: { triple: "x86_64-unknown-linux-gnu", elfMachine: 0x3e },
  arm64: { triple: "aarch64-unknown-linux-gnu", elfMachine: 0xb7 },
} as const;

/** A platform as images and release assets name it. */
export type Architecture = keyof typeof targets;

/**
 * V8's memory limits, frozen into the executable: no environment variable sets them later.
 *
 * Left alone, V8 sizes its heap by the host's memory: 20,000 exchanges at 64 in flight then end at 197 MB, with these
 * limits at 116 to 130 MB for the same CPU time, in containers that packagers allow 200 MiB. Semi-spaces of 4 MiB cost a
 * quarter more CPU, those of 16 MiB ten more megabytes. An old generation of 108 MiB holds the 37 MiB of jobs that may be
 * at work, everything else that is remembered and what is under way; young generation, code and buffers come on top.
 *
 * Further threads help to collect the garbage: without them a fifth less CPU is needed, and bodies of 1 MB pile up until
 * the process is killed.
 */
export const v8Flags = ["--max-old-space-size=108", "--max-semi-space-size=8"] as const;

/** What one run of `deno compile` works on. All paths are absolute or relative to the current directory. */
export interface Compilation {
  /** The deno that compiles; its version decides which runtime base it asks for. */
  readonly deno: string;
  /** The configuration file with the permission set that "compile" names. */
  readonly config: string;
  /** The bundle made by {@linkcode bundle}. */
  readonly source: string;
  readonly architecture: Architecture;
  readonly output: string;
  /** Variables added to the compiler's environment, such as DENORT_BIN. */
  readonly env?: Readonly<Record<string, string>>;
}

/**
 * Bundles main.ts with all its dependencies, as deno.lock has them, into one JavaScript file.
 *
 * @throws {Error} when `deno bundle` fails, for example because deno.lock is out of date
 */
export async function bundle(output: string): Promise<void> {
  const options = ["--frozen", "--platform=deno", "--sourcemap=inline"];
  await run(Deno.execPath(), ["bundle", ...options, `--output=${output}`, "main.ts"], { cwd: repositoryRoot });
  await Deno.writeTextFile(output, withSmallSourceMap(await Deno.readTextFile(output)));
  await Deno.utime(output, 0, 0); // the executable records it: with the time of the build no two would be the same
}

const SourceMap = v.object({ version: v.literal(3), sources: v.array(v.string()), mappings: v.string() });

// The source map gives stack traces their original files and lines, and the runtime reads all of it at every start: copies
// of the sources would take 20 ms and 7 MB of memory, what it says of npm packages another 20 ms.
function withSmallSourceMap(script: string): string {
  const prefix = "//# sourceMappingURL=data:application/json;base64,";
  const start = script.lastIndexOf(prefix);
  if (start === -1) throw new Error(`Cannot read the bundle's source map: no "${prefix}", expected one at the end`);
  const encoded = script.slice(start + prefix.length).trim();
  const json: unknown = JSON.parse(new TextDecoder().decode(Uint8Array.fromBase64(encoded)));
  const sourceMap = JSON.stringify(ownPartOf(v.parse(SourceMap, json)));
  return `${script.slice(0, start)}${prefix}${new TextEncoder().encode(sourceMap).toBase64()}\n`;
}

function ownPartOf({ version, sources, mappings }: v.InferOutput<typeof SourceMap>): unknown {
  const own = sources.filter((source) => !source.includes("/npm/"));
  const ownSegment = ([column, source, line, sourceColumn]: SourceMapSegment): SourceMapSegment[] => {
    const index = source === undefined ? -1 : own.indexOf(sources[source] ?? "");
    return index < 0 || line === undefined || sourceColumn === undefined ? [] : [[column, index, line, sourceColumn]];
  };
  const ownMappings = decode(mappings).map((segments) => segments.flatMap(ownSegment));
  return { version, sources: own, names: [], mappings: encode(ownMappings) };
}

/**
 * Compiles a bundle into one executable that carries its own permissions.
 *
 * @throws {Error} when `deno compile` fails, or when DENORT_BIN is the base of another platform
 */
export async function compile(compilation: Compilation): Promise<void> {
  const { deno, config, source, architecture, output, env } = compilation;
  await run(deno, [
    "compile",
    "--permission-set", // the set that "compile" in the configuration names
    "--no-prompt", // on a terminal a missing permission must throw, not ask
    "--no-code-cache", // it would be loaded from a guessable name in a shared /tmp
    "--no-npm", // with --no-remote: the bundle must need nothing else
    "--no-remote",
    "--no-check", // generated JavaScript; the sources are checked by deno check
    `--v8-flags=${v8Flags.join(",")}`,
    `--config=${config}`,
    `--target=${targets[architecture].triple}`,
    `--output=${output}`,
    source,
  ], env === undefined ? {} : { env: { ...env } });
  await requireMachine(output, architecture);
}

async function run(command: string, args: string[], options: Deno.CommandOptions): Promise<void> {
  const { code } = await new Deno.Command(command, { ...options, args, stdin: "null" }).spawn().status;
  if (code !== 0) throw new Error(`Cannot ${args[0]} with "${command}": exit code "${code}", expected 0`);
}

// DENORT_BIN is one file for one platform, and `deno compile` takes it for any target without a look.
async function requireMachine(executable: string, architecture: Architecture): Promise<void> {
  using file = await Deno.open(executable);
  const header = new Uint8Array(20);
  await file.read(header);
  const machine = new DataView(header.buffer).getUint16(18, true);
  if (machine === targets[architecture].elfMachine) return;
  await Deno.remove(executable);
  throw new Error(
    `Cannot compile for ${architecture}: the base (DENORT_BIN?) is of ELF machine "${machine}", expected ${
      targets[architecture].elfMachine
    }`,
  );
}

function isArchitecture(name: string): name is Architecture {
  return Object.hasOwn(targets, name);
}

async function main(names: readonly string[]): Promise<void> {
  const unknown = names.find((name) => !isArchitecture(name));
  if (unknown !== undefined) {
    throw new Error(`Cannot compile for "${unknown}", expected one or more of: ${Object.keys(targets).join(" ")}`);
  }
  const source = `${repositoryRoot}dist/lk-jwt-service.js`;
  await bundle(source);
  const config = `${repositoryRoot}deno.json`;
  for (const architecture of names.filter(isArchitecture)) {
    const output = `${repositoryRoot}dist/lk-jwt-service_linux_${architecture}`;
    await compile({ deno: Deno.execPath(), config, source, architecture, output });
  }
}

if (import.meta.main) {
  try {
    await main(Deno.args.length > 0 ? Deno.args : Object.keys(targets));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    Deno.exit(1);
  }
}
