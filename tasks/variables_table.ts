// Writes the table of environment variables into the README, from lib/config/variables.ts; with --check it only tells whether
// the README is up to date.

import { VARIABLES } from "../lib/config/variables.ts";

const README = new URL("../README.md", import.meta.url);
const BEGIN = "<!-- variables: written by `deno task variables` -->";
const END = "<!-- end of variables -->";

const rows = VARIABLES.map(({ name, fallback, meaning }) =>
  `| \`${name}\` | ${fallback ?? "**required**"} | ${meaning} |`
);
const table = ["| Variable | Unset means | Meaning |", "| --- | --- | --- |", ...rows].join("\n");

const readme = Deno.readTextFileSync(README);
const begin = readme.indexOf(BEGIN);
const end = readme.indexOf(END);
if (begin < 0 || end < begin) throw new Error(`Cannot find "${BEGIN}" and "${END}" in the README`);
const updated = `${readme.slice(0, begin + BEGIN.length)}\n\n${table}\n\n${readme.slice(end)}`;

if (!Deno.args.includes("--check")) Deno.writeTextFileSync(README, updated);
else if (unpadded(updated) !== unpadded(readme)) {
  console.error("README.md: the table of variables is not that of lib/config/variables.ts; run `deno task variables`");
  Deno.exit(1);
}

// `deno fmt` pads the columns.
function unpadded(text: string): string {
  return text.replace(/ +/g, " ").replace(/-+/g, "-");
}
