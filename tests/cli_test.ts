// The commands that are over at once: version, help, and what is none.

import assert from "node:assert/strict";
import manifest from "../deno.json" with { type: "json" };
import { ServiceProcess } from "../testing/service_process.ts";

async function run(...args: string[]): Promise<[code: number, output: string]> {
  await using command = ServiceProcess.spawn({}, { args });
  return [await command.exitCode(), command.output];
}

Deno.test("--version and version print the version", async () => {
  const expected = [0, `lk-jwt-service ${manifest.version} (Deno ${Deno.version.deno})\n`];
  for (const command of ["--version", "version"]) assert.deepEqual(await run(command), expected);
});

Deno.test("--help, -h and help print every command", async () => {
  for (const command of ["--help", "-h", "help"]) {
    const [code, output] = await run(command);
    assert.equal(code, 0);
    assert.match(output, /^Usage: lk-jwt-service \[command\]\n/);
    for (const named of ["healthcheck", "--version", "--help"]) assert.ok(output.includes(`  ${named}  `), named);
  }
});

for (const args of [["start"], ["--port", "8080"], ["healthcheck", "now"]]) {
  Deno.test(`"${args.join(" ")}" is no command: exit code 2, with the usage`, async () => {
    const [code, output] = await run(...args);
    assert.equal(code, 2);
    assert.match(output, new RegExp(`^Cannot run "${args.join(" ")}": .*\\nUsage: `));
  });
}
