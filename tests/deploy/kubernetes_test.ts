// The manifests of deploy/kubernetes: what Kubernetes' own schemas say of them, and what they must have.

import assert from "node:assert/strict";
import { parseEnv } from "node:util";
import * as v from "valibot";
import { parse } from "yaml";
import { parseConfig } from "../../lib/config/config.ts";
import { ensureInstalled } from "../../testing/installation.ts";
import { runToEnd } from "../../testing/child_process.ts";
import { pythonTool } from "../../testing/python_tool.ts";

const FOLDER = new URL("../../deploy/kubernetes/", import.meta.url).pathname;
// Old enough to be everywhere, and with every API that is used.
const KUBERNETES = "1.33";

const VALIDATOR = pythonTool({
  name: "kubernetes-validate",
  version: "1.37.0",
  effort: "pip install, less than 1 minute",
  describe:
    "import importlib.metadata as m, kubernetes_validate; print('kubernetes-validate', m.version('kubernetes-validate'))",
});

const Kustomization = v.object({
  resources: v.array(v.string()),
  configMapGenerator: v.tuple([v.object({ name: v.string(), envs: v.array(v.string()) })]),
});
const Probe = v.object({
  httpGet: v.object({ path: v.string() }),
  periodSeconds: v.number(),
  timeoutSeconds: v.number(),
  failureThreshold: v.number(),
});
const Container = v.object({
  image: v.string(),
  env: v.array(v.object({ name: v.string(), value: v.optional(v.string(), "from the secret") })),
  startupProbe: Probe,
  readinessProbe: Probe,
  livenessProbe: Probe,
  resources: v.object({ limits: v.object({ memory: v.string() }) }),
  securityContext: v.object({ readOnlyRootFilesystem: v.literal(true), allowPrivilegeEscalation: v.literal(false) }),
});
const Deployment = v.object({
  spec: v.object({
    replicas: v.number(),
    template: v.object({
      spec: v.object({
        enableServiceLinks: v.literal(false),
        terminationGracePeriodSeconds: v.number(),
        securityContext: v.object({ runAsNonRoot: v.literal(true), runAsUser: v.number() }),
        containers: v.tuple([Container]),
      }),
    }),
  }),
});

const read = (name: string) => Deno.readTextFileSync(FOLDER + name);
const kustomization = v.parse(Kustomization, parse(read("kustomization.yaml")));
const [firstDocument = ""] = read("deployment.yaml").split("\n---\n");
const { replicas, template: { spec: pod } } = v.parse(Deployment, parse(firstDocument)).spec;
const [container] = pod.containers;

async function validate(files: readonly string[]): Promise<string> {
  const folder = await ensureInstalled(VALIDATOR);
  return await runToEnd(`${folder}/bin/python`, [
    "-m",
    "kubernetes_validate",
    ...["-k", KUBERNETES, "--strict"],
    ...files,
  ]);
}

Deno.test("Kubernetes' schemas find no fault with the manifests, and every manifest is applied", async () => {
  await validate(kustomization.resources.map((name) => FOLDER + name));
  const manifests = [...Deno.readDirSync(FOLDER)].map(({ name }) => name).filter((name) =>
    name.endsWith(".yaml") && name !== "kustomization.yaml"
  );
  assert.deepEqual(manifests.sort(), kustomization.resources.toSorted());
});

Deno.test("Kubernetes' schemas would tell a mistyped field", async () => {
  const file = await Deno.makeTempFile({ suffix: ".yaml" });
  try {
    await Deno.writeTextFile(file, firstDocument.replace("readOnlyRootFilesystem", "readOnlyRootFileystem"));
    await assert.rejects(validate([file]), /readOnlyRootFileystem/);
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("the settings and the secrets of the manifests start the service without a warning", () => {
  const given = Object.fromEntries(container.env.map(({ name, value }) => [name, value]));
  const parsed = parseConfig({ ...parseEnv(read("settings.env")), ...given }, () => "s".repeat(32));
  assert.ok(parsed.ok);
  assert.deepEqual(parsed.warnings, []);
  assert.notEqual(parsed.config.redis, null);
});

Deno.test("two replicas have the probes and limits of Element Server Suite, and time to stop", () => {
  assert.equal(replicas, 2);
  const probe = { httpGet: { path: "/healthz" }, periodSeconds: 10, timeoutSeconds: 1, failureThreshold: 3 };
  for (const name of ["startupProbe", "readinessProbe", "livenessProbe"] as const) {
    assert.deepEqual(container[name], probe);
  }
  assert.equal(container.resources.limits.memory, "200Mi");
  assert.ok(pod.terminationGracePeriodSeconds > 8);
});
