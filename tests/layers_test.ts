// Nothing imports upward, and nothing in a circle: the order of the rooms, read from every import there is.

import assert from "node:assert/strict";
import { dirname, join, relative } from "node:path";

const ROOT = new URL("..", import.meta.url).pathname;

/** The rooms of lib/, from the top floor to the ground. Rooms of one floor may use each other, one way only. */
const FLOORS: readonly (readonly string[])[] = [
  ["cli", "healthcheck", "signals", "usage"],
  ["service"],
  ["operator_side"],
  ["doctor", "metrics"],
  ["clients"],
  ["config", "platform", "version"],
  ["http"],
  ["exchange"],
  ["leave", "admission", "appservice"],
  ["matrix", "livekit"],
  ["net"],
  ["redis"],
  ["async", "cache", "log", "secret", "matrix_error"],
];

/** Who may read the whole configuration; everybody else gets what it needs by name. */
const READERS_OF_CONFIG = ["cli", "healthcheck", "usage", "service", "operator_side", "doctor", "clients", "config"];

/** What each folder beside lib/ may import, apart from itself. Demo and tasks have tests, and what runs the executable builds it. */
const BESIDE: Readonly<Record<string, readonly string[]>> = {
  lib: [],
  testing: ["lib", "tasks"],
  demo: ["testing", "lib"],
  bench: ["testing", "lib", "tasks"],
  tasks: ["lib"],
  tests: ["testing", "lib", "demo", "tasks"],
};

interface Import {
  readonly from: string;
  readonly to: string;
}

function typescriptIn(folder: string): string[] {
  return [...Deno.readDirSync(ROOT + folder)].flatMap(({ name, isDirectory }) => {
    const path = `${folder}/${name}`;
    return isDirectory ? typescriptIn(path) : name.endsWith(".ts") ? [path] : [];
  });
}

/** Imports of types count: who names another's type knows it. */
function importsOf(file: string): Import[] {
  const text = Deno.readTextFileSync(ROOT + file);
  return [...text.matchAll(/\b(?:from|import)\s*\(?\s*"(\.[^"]+\.ts)"/g)].map(([, path = ""]) => ({
    from: file,
    to: relative(ROOT, join(ROOT, dirname(file), path)),
  }));
}

const imports = Object.keys(BESIDE).flatMap(typescriptIn).flatMap(importsOf);

const folderOf = (file: string) => file.split("/")[0] ?? "";
const roomOf = (file: string) => (file.split("/")[1] ?? "").replace(/\.ts$/, "");
const floorOf = (file: string) => FLOORS.findIndex((rooms) => rooms.includes(roomOf(file)));
const show = ({ from, to }: Import) => `${from} -> ${to}`;

const insideLib = imports.filter(({ from, to }) => folderOf(from) === "lib" && folderOf(to) === "lib");

/** The first circle in a graph, as the path that closes it; null where there is none. */
function findCircle(edges: readonly Import[]): string[] | null {
  const targets = Map.groupBy(edges, ({ from }) => from);
  const done = new Set<string>();
  function visit(node: string, path: readonly string[]): string[] | null {
    if (path.includes(node)) return [...path.slice(path.indexOf(node)), node];
    if (done.has(node)) return null;
    for (const { to } of targets.get(node) ?? []) {
      const circle = visit(to, [...path, node]);
      if (circle !== null) return circle;
    }
    done.add(node);
    return null;
  }
  for (const node of targets.keys()) {
    const circle = visit(node, []);
    if (circle !== null) return circle;
  }
  return null;
}

Deno.test("every room of lib/ has its floor, and the imports of all of them are read", () => {
  const files = typescriptIn("lib");
  assert.deepEqual(files.filter((file) => floorOf(file) < 0), []);
  const importing = new Set(insideLib.map(({ from }) => from));
  assert.ok(importing.size > files.length / 2, "few files import anything: is the pattern of this test right?");
});

Deno.test("no room of lib/ imports from a floor above it", () => {
  const upward = insideLib.filter(({ from, to }) => floorOf(from) > floorOf(to)).map(show);
  assert.deepEqual(upward, []);
});

Deno.test("only the command line, the composition root and the doctor read the configuration", () => {
  const readers = insideLib.filter(({ from, to }) =>
    roomOf(to) === "config" && !READERS_OF_CONFIG.includes(roomOf(from))
  )
    .map(show);
  assert.deepEqual(readers, []);
});

Deno.test("no rooms of one floor import each other both ways", () => {
  const rooms = insideLib.filter(({ from, to }) => floorOf(from) === floorOf(to) && roomOf(from) !== roomOf(to));
  assert.equal(findCircle(rooms.map(({ from, to }) => ({ from: roomOf(from), to: roomOf(to) }))), null);
});

Deno.test("no files import each other in a circle", () => {
  assert.equal(findCircle(imports), null);
});

Deno.test("demo, tests and benchmarks share what is in testing/, and nothing of each other", () => {
  const strange = imports.filter(({ from, to }) => {
    const [importer, imported] = [folderOf(from), folderOf(to)];
    return importer !== imported && !BESIDE[importer]?.includes(imported);
  });
  assert.deepEqual(strange.map(show), []);
});
