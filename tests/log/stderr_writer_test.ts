// The writer behind the log, in a process of its own: in order, in few writes, and indifferent to a reader that leaves.

import assert from "node:assert/strict";

const SOURCE = new URL("../../lib/log/stderr_writer.ts", import.meta.url).href;
const CONFIG = new URL("../../deno.json", import.meta.url).pathname;

/** Starts a script that has a writer called `writer`. */
async function start(script: string) {
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(
    file,
    `import { createStderrWriter } from ${JSON.stringify(SOURCE)};
    const writer = createStderrWriter();
    ${script}`,
  );
  const args = ["run", "--quiet", "--config", CONFIG, "--frozen", "--no-prompt", "--allow-read", "--allow-write", file];
  const child = new Deno.Command(Deno.execPath(), { args, stdin: "piped", stdout: "piped", stderr: "piped" }).spawn();
  return { child, file };
}

async function run(script: string): Promise<{ stdout: string; stderr: string; code: number }> {
  const { child, file } = await start(script);
  await child.stdin.close();
  const { stdout, stderr, code } = await child.output();
  await Deno.remove(file);
  return { stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr), code };
}

Deno.test("lines arrive in order and whole, those held at the end by a flush", async () => {
  const { stderr, code } = await run(`
    for (let i = 0; i < 1000; i++) writer.write(\`line \${i} é\\n\`);
    await new Promise((resolve) => setTimeout(resolve, 10));
    writer.write("last\\n");
    writer.flush();
    Deno.exit(7);
  `);
  assert.equal(code, 7);
  const expected = Array.from({ length: 1000 }, (_, i) => `line ${i} é\n`).join("");
  assert.equal(stderr, `${expected}last\n`);
});

Deno.test("lines of one turn go out in one write, and nothing is written for nothing", async () => {
  const { stdout } = await run(`
    let writes = 0;
    const writeSync = Deno.stderr.writeSync.bind(Deno.stderr);
    Deno.stderr.writeSync = (bytes) => { writes++; return writeSync(bytes); };
    for (let i = 0; i < 100; i++) writer.write("line\\n");
    const during = writes;
    await new Promise((resolve) => setTimeout(resolve, 20));
    const after = writes;
    writer.flush();
    writer.flush();
    console.log(JSON.stringify([during, after, writes]));
  `);
  assert.deepEqual(JSON.parse(stdout), [0, 1, 1]);
});

Deno.test("short writes are carried on until all is out", async () => {
  const { stderr } = await run(`
    const writeSync = Deno.stderr.writeSync.bind(Deno.stderr);
    Deno.stderr.writeSync = (bytes) => writeSync(bytes.subarray(0, 3));
    writer.write("a line of some length\\n");
    writer.flush();
  `);
  assert.equal(stderr, "a line of some length\n");
});

Deno.test("a reader that leaves does not end the service", async () => {
  const { child, file } = await start(`
    for await (const _ of Deno.stdin.readable) {
      for (let i = 0; i < 50; i++) writer.write("x".repeat(10_000) + "\\n");
      writer.flush();
      console.log("alive");
      break;
    }
  `);
  await child.stderr.cancel();
  const input = child.stdin.getWriter();
  await input.write(new Uint8Array([10]));
  await input.close();
  const stdout = await new Response(child.stdout).text();
  assert.equal((await child.status).code, 0);
  assert.equal(stdout, "alive\n");
  await Deno.remove(file);
});
