// Runs the service, and once it listens does beside it what a fault in the code could do: tries to read the environment
// and to write, and leaves failures that nobody handles.

import { run } from "../../lib/cli.ts";

const ending = run([]);
setTimeout(() => {
  console.log(`env: ${attempt(() => Deno.env.get("LIVEKIT_SECRET") ?? "unseen")}`);
  console.log(`write: ${attempt(() => Deno.writeTextFileSync(Deno.makeTempFileSync(), "x"))}`);
  void Promise.reject(new Error("stray rejection"));
  setTimeout(() => {
    throw new Error("stray exception");
  }, 50);
}, 500);
Deno.exit(await ending);

function attempt(act: () => unknown): string {
  try {
    return String(act());
  } catch (error) {
    return error instanceof Error ? error.name : "thrown";
  }
}
