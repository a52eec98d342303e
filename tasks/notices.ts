// Writes THIRD_PARTY_NOTICES: the licence of every package that main.ts imports, directly or through others, at the
// versions of deno.lock, with the texts from the packages themselves. With --check it only tells whether the file is up
// to date.
// Usage: deno run -A tasks/notices.ts [--check]

import * as v from "valibot";
import { repositoryRoot } from "./compile.ts";

const Graph = v.object({
  modules: v.array(v.object({ npmPackage: v.optional(v.string()) })),
  npmPackages: v.record(
    v.string(),
    v.object({ name: v.string(), version: v.string(), dependencies: v.array(v.string()), localPath: v.string() }),
  ),
});
const Lock = v.object({ npm: v.record(v.string(), v.unknown()) });
const Manifest = v.object({ license: v.string() });

type Package = v.InferOutput<typeof Graph>["npmPackages"][string];

const LICENCE_FILE = /^(licen[cs]e|copying|notice)(\.\w+)?$/i;
// What follows it belongs to the file, not to the licence.
const END_OF_APACHE_HEAD = /(limitations under the License\.)\n[^]*/;
const OWN_LICENCE = "Apache-2.0";
const FILE = `${repositoryRoot}THIRD_PARTY_NOTICES`;
const RULE = `\n${"-".repeat(80)}\n\n`;

const HEAD = `lk-jwt-service contains the packages below, each under its own licence.

The executables of a release also contain the Deno runtime (MIT licence, Copyright 2018-2026 the Deno authors) with the
V8 engine (BSD-3-Clause) and the Rust crates that it is made of; their texts are with the source of Deno ${Deno.version.deno}.

Written by \`deno task notices\`.
`;

/** The packages of a graph that its own modules lead to, by name. */
export function reachable({ modules, npmPackages }: v.InferOutput<typeof Graph>): Package[] {
  const found = new Map<string, Package>();
  const visit = (id: string) => {
    const one = npmPackages[id];
    if (one === undefined) throw new Error(`Cannot find the package "${id}" in the module graph`);
    if (found.has(id)) return;
    found.set(id, one);
    one.dependencies.forEach(visit);
  };
  for (const { npmPackage } of modules) if (npmPackage !== undefined) visit(npmPackage);
  return [...found.values()].sort((left, right) => nameOf(left) < nameOf(right) ? -1 : 1);
}

function nameOf({ name, version }: Package): string {
  return `${name} ${version}`;
}

async function readGraph(): Promise<v.InferOutput<typeof Graph>> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", "main.ts"],
    cwd: repositoryRoot,
    stdin: "null",
  }).output();
  if (!success) throw new Error(`Cannot read the module graph: ${new TextDecoder().decode(stderr)}`);
  return v.parse(Graph, JSON.parse(new TextDecoder().decode(stdout)));
}

function assertLocked(packages: readonly Package[]): void {
  const lock = v.parse(Lock, JSON.parse(Deno.readTextFileSync(`${repositoryRoot}deno.lock`)));
  const missing = packages.filter(({ name, version }) => !(`${name}@${version}` in lock.npm)).map(nameOf);
  if (missing.length > 0) throw new Error(`Cannot find in deno.lock: ${missing.join(", ")}`);
}

/** The texts of one package: its licence and notice files, or what the heads of its source files say. */
function textsOf({ name, localPath }: Package): string {
  const files = [...Deno.readDirSync(localPath)]
    .filter((entry) => entry.isFile && LICENCE_FILE.test(entry.name))
    .map((entry) => entry.name)
    .sort();
  const texts = files.length > 0
    ? files.map((file) => Deno.readTextFileSync(`${localPath}/${file}`))
    : sourceHeads(localPath);
  if (texts.length === 0) throw new Error(`Cannot find a licence text in the package "${name}"`);
  return texts.map(tidy).join("\n\n");
}

// A package without a licence file says it in its source files; the same head counts once.
function sourceHeads(folder: string): string[] {
  const heads = new Set<string>();
  for (const file of sourceFiles(folder)) {
    const head = /^(?:\/\/.*\n)+/.exec(Deno.readTextFileSync(file))?.[0] ?? "";
    const text = head.replace(/^\/\/ ?/gm, "").replace(END_OF_APACHE_HEAD, "$1");
    if (/copyright/i.test(text)) heads.add(text);
  }
  return [...heads].sort();
}

function* sourceFiles(folder: string): Generator<string> {
  for (const entry of Deno.readDirSync(folder)) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) yield* sourceFiles(path);
    else if (/\.m?js$/.test(entry.name)) yield path;
  }
}

function tidy(text: string): string {
  return text.replaceAll("\r", "").replace(/[ \t]+$/gm, "").trim();
}

function licenceOf({ name, localPath }: Package): string {
  const manifest = v.safeParse(Manifest, JSON.parse(Deno.readTextFileSync(`${localPath}/package.json`)));
  if (!manifest.success) throw new Error(`Cannot find the licence of the package "${name}" in its package.json`);
  return manifest.output.license;
}

function section(one: Package): string {
  const licence = licenceOf(one);
  const text = textsOf(one);
  // The licence of this very project: its text stands in LICENSE, and once is enough.
  const isOwn = licence === OWN_LICENCE &&
    text.includes("TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION");
  return `${nameOf(one)}\nLicence: ${licence}\n\n${isOwn ? "The text is that of the file LICENSE." : text}\n`;
}

if (import.meta.main) {
  const packages = reachable(await readGraph());
  assertLocked(packages);
  const notices = [HEAD, ...packages.map(section)].join(RULE);
  if (!Deno.args.includes("--check")) {
    Deno.writeTextFileSync(FILE, notices);
  } else if (Deno.readTextFileSync(FILE) !== notices) {
    console.error(`THIRD_PARTY_NOTICES is not that of main.ts and deno.lock; run \`deno task notices\``);
    Deno.exit(1);
  }
}
