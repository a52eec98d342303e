// Checks the workflows in .github/workflows with actionlint, a linter that knows GitHub's schema and expressions.
// The pinned version is built from the Go module proxy on first use and kept in the user's cache directory.
// Usage: deno task actionlint      (needs go)
import { repositoryRoot } from "./compile.ts";

const version = "v1.7.12";

/** Where the tool is kept: one directory per version, so that a new pin never meets an old build. */
function toolDirectory(): string {
  const cache = Deno.env.get("XDG_CACHE_HOME") || `${Deno.env.get("HOME")}/.cache`;
  return `${cache}/lk-jwt-service-tools/actionlint-${version}`;
}

async function installed(directory: string): Promise<string> {
  const executable = `${directory}/actionlint`;
  try {
    await Deno.stat(executable);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    await run("go", ["install", `github.com/rhysd/actionlint/cmd/actionlint@${version}`], {
      env: { GOBIN: directory, GOFLAGS: "-mod=mod" },
    });
  }
  return executable;
}

/** Runs a command; ends the process with its exit code when that is not 0. */
async function run(command: string, args: string[], options: Deno.CommandOptions = {}): Promise<void> {
  let status: Deno.CommandStatus;
  try {
    status = await new Deno.Command(command, { ...options, args, stdin: "null" }).spawn().status;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(`Cannot run "${command}": not found on PATH, expected it to be installed`);
  }
  if (status.code !== 0) Deno.exit(status.code);
}

if (import.meta.main) {
  const actionlint = await installed(toolDirectory());
  // shellcheck and pyflakes run only where they happen to be installed: off, so that the outcome is the same everywhere.
  await run(actionlint, ["-shellcheck=", "-pyflakes=", "-color"], { cwd: repositoryRoot });
  console.log("actionlint: no problems in .github/workflows");
}
