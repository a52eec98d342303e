// What deployments rely on in the image, read from the Dockerfile: building it needs a container engine.

import assert from "node:assert/strict";
import { repositoryRoot, targets } from "../../tasks/compile.ts";
import { parseDockerfile, textsOf } from "./dockerfile.ts";

const stages = parseDockerfile(await Deno.readTextFile(`${repositoryRoot}Dockerfile`));
const [layout = [], image = [], ...others] = stages;

Deno.test("the image is built in two stages: one that lays out the files, one that is shipped", () => {
  assert.equal(stages.length, 2);
  assert.deepEqual(others, []);
});

Deno.test("the image is distroless with glibc, which the executable needs", () => {
  assert.deepEqual(textsOf(image, "FROM"), ["gcr.io/distroless/cc-debian12:nonroot"]);
});

Deno.test("the image starts the service by an exec-form CMD that deployments can replace as a whole", () => {
  assert.deepEqual(textsOf(image, "CMD"), ['["/lk-jwt-service"]']);
  assert.deepEqual(textsOf(image, "ENTRYPOINT"), []);
});

Deno.test("the image runs as a numeric user that is not root", () => {
  assert.deepEqual(textsOf(image, "USER"), ["65532:65532"]);
});

Deno.test("the image checks its health by the executable itself", () => {
  const [check = "", ...more] = textsOf(image, "HEALTHCHECK");
  assert.deepEqual(more, []);
  assert.match(check, / CMD \["\/lk-jwt-service", "healthcheck"\]$/);
});

Deno.test("the image names the port of the service and nothing else", () => {
  assert.deepEqual(textsOf(image, "EXPOSE"), ["8080"]);
});

Deno.test("the runtime in the image follows the container's memory limit", () => {
  assert.deepEqual(textsOf(image, "ENV"), ["DENO_USE_CGROUPS=1"]);
});

Deno.test("the image says what it is", () => {
  const labels = textsOf(image, "LABEL").join(" ");
  for (const label of ["title", "description", "licenses"]) {
    assert.match(labels, new RegExp(`org\\.opencontainers\\.image\\.${label}="[^"]+"`));
  }
});

Deno.test("the image has the executable of its platform once, and the health check's old path as a link to it", () => {
  assert.deepEqual(textsOf(layout, "COPY"), [
    "--chmod=0755 dist/lk-jwt-service_linux_${TARGETARCH} /layout/lk-jwt-service",
  ]);
  assert.deepEqual(textsOf(layout, "RUN"), ["ln -s lk-jwt-service /layout/lk-jwt-service-healthcheck"]);
  assert.deepEqual(textsOf(image, "COPY"), ["--from=layout /layout/ /"]);
  assert.deepEqual(textsOf(image, "RUN"), [], "distroless has no shell to run anything");
});

Deno.test("building the image runs nothing of a foreign platform", () => {
  const [from = ""] = textsOf(layout, "FROM");
  assert.match(from, /^--platform=\$BUILDPLATFORM \S+ AS layout$/);
});

Deno.test("the build context has the executables of every platform, and nothing else of the checkout", async () => {
  const lines = (await Deno.readTextFile(`${repositoryRoot}.dockerignore`))
    .split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  const executables = Object.keys(targets).map((architecture) => `!dist/lk-jwt-service_linux_${architecture}`);
  assert.deepEqual(lines, ["*", ...executables]);
});
