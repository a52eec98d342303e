// What the README tells people to type works as printed. Its proxy examples are run in tests/deploy.

import assert from "node:assert/strict";
import { parseConfig } from "../lib/config/config.ts";
import { parseKeyFile } from "../lib/config/key_file.ts";
import { VARIABLES } from "../lib/config/variables.ts";
import { assignments, codeBlocks, passedVariables } from "../testing/documents.ts";

const ROOT = new URL("..", import.meta.url).pathname;

const shell = codeBlocks("sh");
const dockerRun = shell.find((block) => block.includes("docker run")) ?? "";

Deno.test("the two commands of the README are tasks of this project", async () => {
  const manifest = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
  const commands = [...(shell[0] ?? "").matchAll(/^npx -y deno@(\S+) task (\w+)/gm)].map((
    [, version, task],
  ) => [version, task]);
  assert.deepEqual(commands, [["2.9.6", "demo"], ["2.9.6", "test"]]);
  for (const [, task] of commands) assert.ok(task !== undefined && task in manifest.tasks, `no task "${task}"`);
});

Deno.test("`deno task demo` plays its exchanges and all come out right", async () => {
  const demo = new Deno.Command(Deno.execPath(), { args: ["task", "demo", "--once"], cwd: ROOT, stdin: "null" });
  const { code, stdout, stderr } = await demo.output();
  assert.equal(code, 0, new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr));
});

Deno.test("the README's `docker run` starts a service that keeps its leave events, without a warning", () => {
  const parsed = parseConfig(passedVariables(dockerRun), () => "");
  assert.ok(parsed.ok);
  assert.deepEqual(parsed.warnings, []);
  assert.ok(dockerRun.includes(`:${parsed.config.stateDir}"`), "the state directory is a volume");
});

Deno.test("what the README has people run is shell", async () => {
  for (const block of shell) {
    const bash = new Deno.Command("bash", { args: ["-n", "-c", block] });
    assert.equal((await bash.output()).code, 0, block);
  }
});

Deno.test("image and downloads are named by the one variable that the README sets", () => {
  assert.equal(shell.filter((block) => /^REPO=/m.test(block)).length, 1);
  const places = shell.flatMap((block) => block.match(/(?:ghcr\.io|github\.com)\/\S*/g) ?? []);
  assert.ok(places.length >= 3);
  for (const place of places) assert.match(place, /^(?:ghcr\.io|github\.com)\/\$REPO/);
});

Deno.test("the files that the README downloads are those of a release", async () => {
  const release = await Deno.readTextFile(`${ROOT}.github/workflows/release.yaml`);
  const files = [...shell.join("").matchAll(/releases\/latest\/download\/([\w-]+)/g)].map(([, file]) => file);
  assert.equal(files.length, 2);
  for (const file of files) assert.ok(release.includes(`dist/${file}\n`), file);
});

const LEAST = { LIVEKIT_URL: "wss://sfu.example.com", LIVEKIT_KEY: "key", LIVEKIT_SECRET: "s".repeat(32) };
const PAGES = ["docs/development.md", "docs/homeservers.md"];

Deno.test("each block of variables in the documents starts the service, alone or beside the least set", () => {
  const blocks = PAGES.flatMap((page) => codeBlocks("sh", page)).map(assignments).filter((block) => block !== null);
  assert.equal(blocks.length, 3);
  for (const block of blocks) {
    const parsed = parseConfig({ ...("LIVEKIT_URL" in block ? {} : LEAST), ...block }, () => "");
    assert.ok(parsed.ok);
    const complaints = parsed.warnings.filter((warning) =>
      !/INSECURE_SKIP|JWT_PORT|under 32|not set: users of every/.test(warning)
    );
    assert.deepEqual(complaints, []);
    if ("LIVEKIT_JWT_PORT" in block) {
      assert.deepEqual(parsed.config.bind, { transport: "tcp", hostname: "::", port: 6080 });
    }
  }
});

Deno.test("the secret in LiveKit's example is long enough, and is the one that the service is given", () => {
  const [livekit = ""] = codeBlocks("yaml");
  assert.match(livekit, /^room:\n {2}auto_create: false$/m);
  const parsed = parseKeyFile(livekit.slice(livekit.indexOf("keys:\n") + "keys:\n".length));
  const keys = parsed.ok ? parsed.keys : null;
  const given = passedVariables(dockerRun);
  assert.equal(keys?.[0].name, given.LIVEKIT_KEY);
  assert.equal(keys?.[0].secret.reveal(), given.LIVEKIT_SECRET);
  assert.ok((given.LIVEKIT_SECRET?.length ?? 0) >= 32);
});

Deno.test("the well-known example is JSON with one LiveKit focus", () => {
  const document = JSON.parse(codeBlocks("json")[0] ?? "");
  const [focus] = document["org.matrix.msc4143.rtc_foci"];
  assert.equal(focus.type, "livekit");
  assert.equal(new URL(focus.livekit_service_url).protocol, "https:");
});

Deno.test("the README's table has every variable", async () => {
  const readme = await Deno.readTextFile(`${ROOT}README.md`);
  for (const variable of VARIABLES) {
    const { name } = variable;
    assert.equal(readme.includes(`| \`${name}\``), !("isOld" in variable), name);
  }
});
