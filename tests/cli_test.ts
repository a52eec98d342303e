// The commands that are over at once: version, help, and what is none.

import assert from "node:assert/strict";
import manifest from "../deno.json" with { type: "json" };
import { VARIABLE_GROUPS, VARIABLES } from "../lib/config/variables.ts";
import { ServiceProcess } from "../testing/service_process.ts";

async function run(...args: string[]): Promise<[code: number, output: string]> {
  await using command = ServiceProcess.spawn({}, { args });
  return [await command.exitCode(), command.output];
}

Deno.test("--version and version print the version, and what it was built with", async () => {
  const { deno, v8 } = Deno.version;
  const build = `Deno ${deno}, V8 ${v8}, ${Deno.build.target}, from source`;
  const expected = [0, `lk-jwt-service ${manifest.version} (${build})\n`];
  for (const command of ["--version", "version"]) assert.deepEqual(await run(command), expected);
});

Deno.test("--help, -h and help print every command with its exit codes, and every variable in its group", async () => {
  for (const command of ["--help", "-h", "help"]) {
    const [code, output] = await run(command);
    assert.equal(code, 0);
    assert.match(output, /^Usage: lk-jwt-service \[command\]\n/);
    for (const named of ["healthcheck", "--version", "--help"]) {
      assert.match(output, new RegExp(`^  ${named} .* 0`, "m"));
    }
    const [, ...groups] = output.split(new RegExp(`^(?:${VARIABLE_GROUPS.join("|")})$`, "m"));
    for (const variable of VARIABLES) {
      const place = groups.findIndex((text) => new RegExp(`^  ${variable.name}( |$)`, "m").test(text));
      assert.equal(place, "isOld" in variable ? -1 : VARIABLE_GROUPS.indexOf(variable.group), variable.name);
    }
    assert.match(output, /^ {2}LIVEKIT_JWT_BIND \[:8080\]\n {6}Where to listen: :8080/m);
    assert.doesNotMatch(output, /[`]|\*\*/);
  }
});

for (const args of [["start"], ["--port", "8080"], ["healthcheck", "now"]]) {
  Deno.test(`"${args.join(" ")}" is no command: exit code 2, and where to read on`, async () => {
    const [code, output] = await run(...args);
    assert.equal(code, 2);
    assert.match(
      output,
      new RegExp(`^Cannot run "${args.join(" ")}": .*\nRun "lk-jwt-service --help" for the commands\n$`),
    );
  });
}
