// The bill of materials of a release: what SPDX's own tools say of it, and that nothing is left out.

import assert from "node:assert/strict";
import { packagesOfService } from "../../tasks/packages.ts";
import { documentOf } from "../../tasks/sbom.ts";
import { runToEnd } from "../../testing/child_process.ts";
import { ensureInstalled } from "../../testing/installation.ts";
import { pythonOf, pythonTool } from "../../testing/python_tool.ts";

const VALIDATOR = pythonTool({
  name: "spdx-tools",
  version: "0.8.5",
  effort: "pip install, less than 1 minute",
  describe: "import importlib.metadata as m, spdx_tools.spdx; print('spdx-tools', m.version('spdx-tools'))",
});

async function validate(document: object): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "lk-jwt-service-sbom-" });
  try {
    await Deno.writeTextFile(`${folder}/sbom.spdx.json`, JSON.stringify(document));
    const python = pythonOf(await ensureInstalled(VALIDATOR));
    await runToEnd(python, ["-m", "spdx_tools.spdx.clitools.pyspdxtools", "-i", `${folder}/sbom.spdx.json`]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const packages = await packagesOfService();
const document = documentOf(packages, "2026-01-01T00:00:00Z");

Deno.test("SPDX's tools find no fault with the bill of materials", async () => {
  await validate(document);
});

Deno.test("SPDX's tools would tell a licence that is none", async () => {
  const [own, ...rest] = document.packages;
  await assert.rejects(validate({ ...document, packages: [{ ...own, licenseDeclared: "no such licence" }, ...rest] }));
});

Deno.test("the bill of materials has the service, its runtime and each package", () => {
  const names = document.packages.map(({ name, versionInfo }) => `${name} ${versionInfo}`);
  for (const { name, version } of packages) assert.ok(names.includes(`${name} ${version}`), name);
  assert.ok(names.includes(`deno ${Deno.version.deno}`));
  assert.equal(names.length, packages.length + 2);
});
