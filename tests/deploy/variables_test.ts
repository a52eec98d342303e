// Every example must set variables that exist: a mistyped one is a warning in a log that nobody reads.

import assert from "node:assert/strict";
import { findUnknownVariables } from "../../lib/config/unknown_variables.ts";
import { repositoryRoot } from "../../tasks/compile.ts";

const FILES = [
  "Dockerfile",
  "deploy/compose/compose.yaml",
  "deploy/kubernetes/deployment.yaml",
  "deploy/kubernetes/settings.env",
  "deploy/systemd/lk-jwt-service.service",
];

// LiveKit's own, in the same compose file.
const FOREIGN = new Set(["LIVEKIT_KEYS"]);

for (const file of FILES) {
  Deno.test(`${file} sets only variables that the service knows`, async () => {
    const text = await Deno.readTextFile(repositoryRoot + file);
    const names = [...text.matchAll(/\b(LIVEKIT_[A-Z_]+|LK_JWT_(?!SERVICE_IMAGE)[A-Z_]+)(?=[:=,])/g)]
      .flatMap(([, name = ""]) => FOREIGN.has(name) ? [] : [name]);
    assert.deepEqual(findUnknownVariables(Object.fromEntries(names.map((name) => [name, "set"]))), []);
    if (file !== "Dockerfile") assert.ok(names.length > 0, "no variable found: is the pattern of this test right?");
  });
}

Deno.test("the compose file asks for exactly the values that .env.example explains", async () => {
  const compose = await Deno.readTextFile(`${repositoryRoot}deploy/compose/compose.yaml`);
  const asked = new Set([...compose.matchAll(/\$\{([A-Z_]+)/g)].map(([, name]) => name));
  const example = await Deno.readTextFile(`${repositoryRoot}deploy/compose/.env.example`);
  const explained = new Set([...example.matchAll(/^([A-Z_]+)=/gm)].map(([, name]) => name));
  assert.deepEqual(asked, explained);
});

Deno.test("the Redis of the compose file wants the password that the service has", async () => {
  const compose = await Deno.readTextFile(`${repositoryRoot}deploy/compose/compose.yaml`);
  assert.match(compose, /^ +LIVEKIT_REDIS_PASSWORD: \$\{REDIS_PASSWORD:\?see \.env\.example\}$/m);
  assert.match(compose, /^ +command: \["redis-server", .*"--requirepass", "\$\{REDIS_PASSWORD\}"\]$/m);
});
