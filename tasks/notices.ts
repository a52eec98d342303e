// Writes THIRD_PARTY_NOTICES: the licence of every package that main.ts imports, directly or through others, at the
// versions of deno.lock, with the texts from the packages themselves. With --check it only tells whether the file is up
// to date.
// Usage: deno run -A tasks/notices.ts [--check]

import { repositoryRoot } from "./compile.ts";
import { licenceOf, nameOf, type Package, packagesOfService } from "./packages.ts";

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

function section(one: Package): string {
  const licence = licenceOf(one);
  const text = textsOf(one);
  // The licence of this very project: its text stands in LICENSE, and once is enough.
  const isOwn = licence === OWN_LICENCE &&
    text.includes("TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION");
  return `${nameOf(one)}\nLicence: ${licence}\n\n${isOwn ? "The text is that of the file LICENSE." : text}\n`;
}

if (import.meta.main) {
  const packages = await packagesOfService();
  const notices = [HEAD, ...packages.map(section)].join(RULE);
  if (!Deno.args.includes("--check")) {
    Deno.writeTextFileSync(FILE, notices);
  } else if (Deno.readTextFileSync(FILE) !== notices) {
    console.error(`THIRD_PARTY_NOTICES is not that of main.ts and deno.lock; run \`deno task notices\``);
    Deno.exit(1);
  }
}
