// What holds for every workflow beyond actionlint's grammar: pinned actions, one pinned Deno, tasks that exist.

import assert from "node:assert/strict";
import manifest from "../../deno.json" with { type: "json" };
import { repositoryRoot, targets } from "../../tasks/compile.ts";

const directory = `${repositoryRoot}.github/workflows`;
const workflows = [...Deno.readDirSync(directory)].map(({ name }) => ({
  name,
  text: Deno.readTextFileSync(`${directory}/${name}`),
}));
const release = workflows.find(({ name }) => name === "release.yaml")?.text ?? "";

for (const { name, text } of workflows) {
  Deno.test(`${name} pins every action to a commit and says which version that is`, () => {
    const uses = text.match(/uses:.*/g) ?? [];
    assert.ok(uses.length > 0);
    for (const line of uses) assert.match(line, /^uses: [\w-]+\/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
  });

  Deno.test(`${name} takes no permission for all its jobs but to read the repository`, () => {
    assert.match(text, /^permissions:\n {2}contents: read\n\n/m);
  });

  Deno.test(`${name} uses the Deno that the tests run on`, () => {
    assert.deepEqual(text.match(/DENO_VERSION: .*/g), [`DENO_VERSION: "${Deno.version.deno}"`]);
    assert.deepEqual([...new Set(text.match(/deno-version: .*/g))], ["deno-version: ${{ env.DENO_VERSION }}"]);
  });

  Deno.test(`${name} runs tasks that deno.json has`, () => {
    const tasks = [...text.matchAll(/deno task ([\w:-]+)/g)].map(([, task = ""]) => task);
    assert.deepEqual(tasks.filter((task) => !Object.hasOwn(manifest.tasks, task)), []);
  });
}

Deno.test("two workflows pin the same action to the same commit", () => {
  const pins = new Map<string, string>();
  for (const [, action = "", pin = ""] of workflows.flatMap(({ text }) => [...text.matchAll(/uses: (\S+)@(.*)/g)])) {
    assert.equal(pins.get(action) ?? pin, pin, action);
    pins.set(action, pin);
  }
});

Deno.test("a release has both executables, what they are made of, and the checksums of all, and fails when one is missing", () => {
  const files = /softprops\/action-gh-release[^]*?files: \|\n((?: {12}\S+\n)+)/.exec(release)?.[1]?.trim().split(/\s+/);
  const executables = Object.keys(targets).map((architecture) => `dist/lk-jwt-service_linux_${architecture}`);
  const listed = [...executables, "dist/lk-jwt-service.spdx.json"];
  assert.deepEqual(files, [...listed, "dist/SHA256SUMS"]);
  assert.deepEqual(
    /sha256sum (.*) >/.exec(manifest.tasks.checksums.command)?.[1]?.split(" ").map((name) => `dist/${name}`),
    listed,
  );
  assert.match(release, /fail_on_unmatched_files: true/);
});

Deno.test("an image is built for every platform that has an executable, with provenance and SBOM", () => {
  const platforms = Object.keys(targets).map((architecture) => `linux/${architecture}`).join(",");
  assert.ok(release.includes(`platforms: ${platforms}\n`));
  assert.match(release, /provenance: mode=max\n +sbom: true\n/);
});

Deno.test("an image is called latest, X.Y and X.Y.Z", () => {
  assert.match(release, /type=semver,pattern=\{\{version\}\}\n/);
  assert.match(release, /type=semver,pattern=\{\{major\}\}\.\{\{minor\}\}\n/);
  assert.doesNotMatch(release, /latest=false/); // "latest" follows from the two above
});

Deno.test("a pull request pushes, attests and releases nothing", () => {
  assert.match(release, /\n {10}push: \$\{\{ github\.ref_type == 'tag' \}\}\n/);
  const steps = release.split(/\n {6}- /);
  for (const action of ["docker/login-action", "actions/attest-build-provenance", "softprops/action-gh-release"]) {
    const using = steps.filter((step) => step.includes(`uses: ${action}@`));
    assert.ok(using.length > 0);
    for (const step of using) {
      const job = release.slice(0, release.indexOf(step)).split(/\n {2}(?=\w+:\n)/).at(-1) ?? "";
      const guarded = step.startsWith("if: github.ref_type == 'tag'\n") ||
        job.includes("\n    if: github.ref_type == 'tag'\n");
      assert.ok(guarded, step);
    }
  }
});
