// The entry of lk-jwt-service: Matrix OpenID token in, LiveKit grant out. lib/cli.ts reads on from here.

import process from "node:process";
import { run } from "./lib/cli.ts";

if (import.meta.main) Deno.exit(await run(argumentsOf(Deno.args)));

// The image's old health check is a link to this binary: its name is the command.
function argumentsOf(args: readonly string[]): readonly string[] {
  return process.argv0.endsWith("-healthcheck") ? ["healthcheck"] : args;
}
