// A secret stays one, however it is printed.

import assert from "node:assert/strict";
import util from "node:util";
import { Secret } from "../lib/secret.ts";

const TEXT = "hunter2-hunter2";
const secret = new Secret(TEXT);

/** What console.log makes of values, in a process of its own. */
async function printed(): Promise<string> {
  const source = new URL("../lib/secret.ts", import.meta.url).href;
  const script = `import { Secret } from ${JSON.stringify(source)};
    const secret = new Secret(Deno.args[0]);
    console.log(secret, { secret }, [secret], new Map([["a", secret]]), \`\${secret}\`, new Error("x", { cause: secret }));
    console.error("%s %o %O %j", secret, secret, secret, secret);
    console.table([{ secret }]);
    console.dir({ secret }, { depth: 9, showHidden: true });`;
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(file, script);
    const args = ["run", "--no-config", "--no-prompt", "--allow-read", file, TEXT];
    const { stdout, stderr, success } = await new Deno.Command(Deno.execPath(), { args, env: { NO_COLOR: "1" } })
      .output();
    const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    assert.ok(success, text);
    return text;
  } finally {
    await Deno.remove(file);
  }
}

Deno.test("the console never shows a secret", async () => {
  const text = await printed();
  assert.ok(text.includes("[redacted]"));
  assert.ok(!text.includes("hunter"), text);
});

const FORMS: [how: string, print: () => string][] = [
  ["a template", () => `${secret}`],
  ["an addition", () => "" + secret],
  ["String", () => String(secret)],
  ["join", () => [secret].join()],
  ["toLocaleString", () => secret.toLocaleString()],
  ["JSON", () => JSON.stringify(secret)],
  ["JSON, nested", () => JSON.stringify({ a: [{ secret }] }, null, 2)],
  ["Deno.inspect", () => Deno.inspect(secret)],
  ["Deno.inspect, all it has", () => Deno.inspect({ a: [secret] }, { depth: 9, showHidden: true, getters: true })],
  ["node:util inspect", () => util.inspect(secret, { showHidden: true, depth: null, getters: true })],
  ["node:util format", () => util.format("%s %o %O %j", secret, secret, secret, secret)],
  ["an error's cause", () => Deno.inspect(new Error("x", { cause: secret }))],
];

for (const [how, print] of FORMS) {
  Deno.test(`${how} prints [redacted]`, () => {
    const text = print();
    assert.ok(text.includes("[redacted]"), text);
    assert.ok(!text.includes("hunter"), text);
  });
}

Deno.test("nothing of a secret can be listed or copied", () => {
  assert.deepEqual(Reflect.ownKeys(secret), []);
  assert.deepEqual({ ...secret }, {});
  assert.ok(!Deno.inspect(structuredClone(secret)).includes("hunter"));
});

Deno.test("reveal gives the text back", () => {
  assert.equal(secret.reveal(), TEXT);
});
