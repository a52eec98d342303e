// The systemd unit: what systemd itself thinks of it, and what it must say.

import assert from "node:assert/strict";
import { repositoryRoot } from "../../tasks/compile.ts";
import { runToEnd } from "../../testing/child_process.ts";

const unitFile = `${repositoryRoot}deploy/systemd/lk-jwt-service.service`;
const unit = await Deno.readTextFile(unitFile);

// In tenths of the figure that systemd prints, from 0 (locked up) to 100 (unconfined). systemd 252 says 13, others weigh
// a little differently.
const EXPOSURE_LIMIT = 20;

function analyze(...args: string[]): Promise<string> {
  return runToEnd("systemd-analyze", args, {
    env: { LC_ALL: "C", NO_COLOR: "1" },
    toInstall: "install the package systemd",
  });
}

/** All values of a setting, in their order. */
function settings(name: string): string[] {
  return [...unit.matchAll(new RegExp(`^${name}=(.*)$`, "gm"))].map(([, value = ""]) => value);
}

// systemd wants to see the program. The test has no business in /usr/local/bin, so it checks a copy that starts another.
async function verify(text: string): Promise<string> {
  const directory = await Deno.makeTempDir({ prefix: "lk-jwt-service-unit-" });
  try {
    const copy = `${directory}/lk-jwt-service.service`;
    await Deno.writeTextFile(
      copy,
      text.replace("ExecStart=/usr/local/bin/lk-jwt-service", `ExecStart=${Deno.execPath()}`),
    );
    return await analyze("verify", "--man=no", "--recursive-errors=yes", copy);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("systemd finds no fault with the unit", async () => {
  await verify(unit);
});

Deno.test("systemd would tell a mistyped setting in the unit", async () => {
  await assert.rejects(verify(unit.replace("ProtectHome=", "ProtectHoem=")), /Unknown key.*ProtectHoem/);
});

Deno.test("systemd rates the unit's exposure as low", async () => {
  await analyze("security", "--offline=true", `--threshold=${EXPOSURE_LIMIT}`, unitFile);
});

Deno.test("the unit starts the executable where its own instructions put it", () => {
  const [command = ""] = settings("ExecStart");
  assert.equal(command, "/usr/local/bin/lk-jwt-service");
  assert.ok(unit.includes(`#   install -m 755 lk-jwt-service_linux_amd64 ${command}`));
});

Deno.test("the unit hands over the key file as a credential, and no secret stands in the environment", () => {
  const [credential = ""] = settings("LoadCredential");
  const [name, path] = credential.split(":");
  assert.ok(settings("Environment").includes(`LIVEKIT_KEY_FILE=%d/${name}`));
  assert.doesNotMatch(unit, /LIVEKIT_SECRET/);
  assert.ok(unit.includes(`#   install -m 600 /dev/stdin ${path} <<'EOF'`), "its instructions make that file");
});

Deno.test("a reload of the unit has the service read its keys again", () => {
  assert.deepEqual(settings("ExecReload"), ["/bin/kill -HUP $MAINPID"]);
});

Deno.test("the unit takes the operator's variables from a file that may be missing", () => {
  assert.deepEqual(settings("EnvironmentFile"), ["-/etc/lk-jwt-service.env"]);
});

Deno.test("the unit lets V8 make memory executable, and says why", () => {
  assert.match(unit, /^# V8 .*\nMemoryDenyWriteExecute=false$/m);
});

Deno.test("the unit lets V8 live with a system call that is refused, and says why", () => {
  assert.match(unit, /^# V8 .*\nSystemCallErrorNumber=EPERM$/m);
});

Deno.test("the unit gives the service longer to stop than it takes for its requests", () => {
  const [timeout = ""] = settings("TimeoutStopSec");
  assert.match(timeout, /^\d+s$/);
  assert.ok(parseInt(timeout) > 8);
});
