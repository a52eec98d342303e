// Writes docs/openapi.yaml from the description in tasks/openapi/; with --check it only tells whether the file is up to
// date. Either way the description must be whole: every route, status and error code of the service.
// Usage: deno run -A tasks/openapi.ts [--check]

import { repositoryRoot } from "./compile.ts";
import { DOCUMENT } from "./openapi/document.ts";
import { findGaps } from "./openapi/gaps.ts";
import { toYaml } from "./openapi/yaml.ts";

const FILE = `${repositoryRoot}docs/openapi.yaml`;
const HEAD = "# The HTTP interface of lk-jwt-service. Written by `deno task openapi` from tasks/openapi/.\n";

const gaps = findGaps(`${repositoryRoot}lib`);
for (const gap of gaps) console.error(`OpenAPI: ${gap}`);
if (gaps.length > 0) Deno.exit(1);

const text = `${HEAD}${toYaml(DOCUMENT)}`;
if (!Deno.args.includes("--check")) {
  Deno.writeTextFileSync(FILE, text);
} else if (Deno.readTextFileSync(FILE) !== text) {
  console.error("docs/openapi.yaml is not that of tasks/openapi/; run `deno task openapi`");
  Deno.exit(1);
}
