// Writes dist/lk-jwt-service.spdx.json: what the executables are made of, as a software bill of materials in SPDX 2.3.
// The same commit gives the same bytes.
// Usage: deno task sbom

import manifest from "../deno.json" with { type: "json" };
import { repositoryRoot } from "./compile.ts";
import { licenceOf, type Package, packagesOfService } from "./packages.ts";

const FILE = `${repositoryRoot}dist/lk-jwt-service.spdx.json`;
const ROOT_ID = "SPDXRef-lk-jwt-service";
const UNKNOWN = "NOASSERTION";

interface Entry {
  readonly SPDXID: string;
  readonly name: string;
  readonly versionInfo: string;
  readonly licenseDeclared: string;
  /** Package URL, https://github.com/package-url/purl-spec. */
  readonly purl: string;
}

function entryOf(one: Package): Entry {
  const { name, version } = one;
  return {
    SPDXID: `SPDXRef-npm-${name.replace(/[^A-Za-z0-9.-]+/g, "-")}-${version}`,
    name,
    versionInfo: version,
    licenseDeclared: licenceOf(one),
    purl: `pkg:npm/${name.replace("@", "%40")}@${version}`,
  };
}

/** The document, by the packages in it and the moment it tells of. */
export function documentOf(packages: readonly Package[], created: string) {
  const { name, version, license } = manifest;
  const own = {
    SPDXID: ROOT_ID,
    name,
    versionInfo: version,
    licenseDeclared: license,
    purl: `pkg:generic/${name}@${version}`,
  };
  const runtime = {
    SPDXID: "SPDXRef-deno",
    name: "deno",
    versionInfo: Deno.version.deno,
    licenseDeclared: "MIT",
    purl: `pkg:github/denoland/deno@v${Deno.version.deno}`,
  };
  const parts = [runtime, ...packages.map(entryOf)];
  return {
    spdxVersion: "SPDX-2.3",
    dataLicense: "CC0-1.0",
    SPDXID: "SPDXRef-DOCUMENT",
    name: `${name}-${version}`,
    documentNamespace: `https://spdx.org/spdxdocs/${name}-${version}-${created}`,
    creationInfo: { created, creators: [`Tool: ${name}-sbom`] },
    packages: [own, ...parts].map(({ purl, ...entry }) => ({
      ...entry,
      downloadLocation: UNKNOWN,
      licenseConcluded: UNKNOWN,
      copyrightText: UNKNOWN,
      filesAnalyzed: false,
      externalRefs: [{ referenceCategory: "PACKAGE-MANAGER", referenceType: "purl", referenceLocator: purl }],
    })),
    relationships: [
      { spdxElementId: "SPDXRef-DOCUMENT", relationshipType: "DESCRIBES", relatedSpdxElement: ROOT_ID },
      ...parts.map(({ SPDXID }) => ({
        spdxElementId: ROOT_ID,
        relationshipType: "CONTAINS",
        relatedSpdxElement: SPDXID,
      })),
    ],
  };
}

/** When the commit was made, in UTC. */
async function commitTime(): Promise<string> {
  const args = ["log", "-1", "--format=%ct"];
  const { success, stdout } = await new Deno.Command("git", { args, cwd: repositoryRoot }).output();
  if (!success) throw new Error("Cannot read the commit: expected a git checkout");
  return new Date(Number(new TextDecoder().decode(stdout)) * 1000).toISOString().replace(".000", "");
}

if (import.meta.main) {
  await Deno.mkdir(`${repositoryRoot}dist`, { recursive: true });
  const document = documentOf(await packagesOfService(), await commitTime());
  await Deno.writeTextFile(FILE, `${JSON.stringify(document, null, 2)}\n`);
}
