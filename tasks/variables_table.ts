// Writes the table of environment variables into the README, from lib/config/variables.ts; with --check it only tells whether
// the README is up to date.

import { VARIABLE_GROUPS, VARIABLES } from "../lib/config/variables.ts";

const README = new URL("../README.md", import.meta.url);
const BEGIN = "<!-- variables: written by `deno task variables` -->";
const END = "<!-- end of variables -->";

const tables = VARIABLE_GROUPS.map((group) => {
  const rows = VARIABLES.flatMap((variable) => {
    if (variable.group !== group || "isOld" in variable) return [];
    const { name, fallback, meaning } = variable;
    const unset = "unset" in variable ? variable.unset : fallback === null ? "unset" : `\`${fallback}\``;
    return [`| \`${name}\` | ${unset} | ${meaning} |`];
  });
  return [`### ${group}\n`, "| Variable | Unset means | Meaning |", "| --- | --- | --- |", ...rows].join("\n");
});
const table = tables.join("\n\n");

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
