// The packages of npm that the service is made of: those that main.ts imports, directly or through others.

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

/** One of them, and where it is unpacked. */
export type Package = v.InferOutput<typeof Graph>["npmPackages"][string];

/** The packages of a graph that its own modules lead to, by name. */
function reachable({ modules, npmPackages }: v.InferOutput<typeof Graph>): Package[] {
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

/** Name and version. */
export function nameOf({ name, version }: Package): string {
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

/**
 * All packages of the service, by name.
 *
 * @throws When one of them is not in deno.lock.
 */
export async function packagesOfService(): Promise<Package[]> {
  const packages = reachable(await readGraph());
  const lock = v.parse(Lock, JSON.parse(Deno.readTextFileSync(`${repositoryRoot}deno.lock`)));
  const missing = packages.filter(({ name, version }) => !(`${name}@${version}` in lock.npm)).map(nameOf);
  if (missing.length > 0) throw new Error(`Cannot find in deno.lock: ${missing.join(", ")}`);
  return packages;
}

/**
 * The licence that its package.json names, an SPDX expression.
 *
 * @throws When there is none.
 */
export function licenceOf({ name, localPath }: Package): string {
  const manifest = v.safeParse(Manifest, JSON.parse(Deno.readTextFileSync(`${localPath}/package.json`)));
  if (!manifest.success) throw new Error(`Cannot find the licence of the package "${name}" in its package.json`);
  return manifest.output.license;
}
