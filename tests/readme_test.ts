// What the README tells people to type works as printed. Its proxy examples are run in tests/deploy.

import assert from "node:assert/strict";
import { parseConfig } from "../lib/config/config.ts";
import { parseKeyFile } from "../lib/config/key_file.ts";
import { VARIABLES } from "../lib/config/variables.ts";
import { assignments, codeBlocks } from "../testing/readme.ts";

const ROOT = new URL("..", import.meta.url).pathname;
const LEAST = { LIVEKIT_URL: "wss://sfu.example.com", LIVEKIT_KEY: "key", LIVEKIT_SECRET: "s".repeat(32) };

const shell = codeBlocks("sh");
const variableBlocks = shell.map(assignments).filter((block) => block !== null);

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

Deno.test("each block of variables in the README starts the service, alone or beside the least set", () => {
  assert.equal(variableBlocks.length, 3);
  for (const block of variableBlocks) {
    const { warnings } = parseConfig({ ...("LIVEKIT_URL" in block ? {} : LEAST), ...block }, () => "");
    const complaints = warnings.filter((warning) =>
      !/INSECURE_SKIP|JWT_PORT|under 32|not set: users of every/.test(warning)
    );
    assert.deepEqual(complaints, []);
  }
});

Deno.test("the set-up beside Element Call's backend listens on port 6080", () => {
  const block = variableBlocks.find((variables) => "LIVEKIT_JWT_PORT" in variables);
  const parsed = parseConfig(block ?? {}, () => "");
  assert.ok(parsed.ok);
  assert.deepEqual(parsed.config.bind, { transport: "tcp", hostname: "::", port: 6080 });
});

Deno.test("the secret in LiveKit's example is long enough, and is the one that the service is given", () => {
  const [livekit = ""] = codeBlocks("yaml");
  assert.match(livekit, /^room:\n {2}auto_create: false$/m);
  const parsed = parseKeyFile(livekit.slice(livekit.indexOf("keys:\n") + "keys:\n".length));
  const keys = parsed.ok ? parsed.keys : null;
  const given = variableBlocks.find((variables) => "LIVEKIT_SECRET" in variables);
  assert.equal(keys?.[0].name, given?.LIVEKIT_KEY);
  assert.equal(keys?.[0].secret.reveal(), given?.LIVEKIT_SECRET);
  assert.ok((given?.LIVEKIT_SECRET?.length ?? 0) >= 32);
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
