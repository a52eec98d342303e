// Runs the service, and on each SIGUSR1 tries beside it what a fault in the code could try in a process that listens;
// prints what came of it as one line of JSON. The folder to write into is LIVEKIT_STATE_DIR.

import { run } from "../../lib/cli.ts";

// Kept from the start, since the environment is gone later.
const folder = Deno.env.get("LIVEKIT_STATE_DIR") ?? "/nowhere";
const probes: Readonly<Record<string, () => unknown>> = {
  run: () => new Deno.Command(Deno.execPath(), { args: ["--version"] }).outputSync(),
  shell: () => new Deno.Command("/bin/sh", { args: ["-c", ":"] }).outputSync(),
  ffi: () => Deno.dlopen("libc.so.6", {}),
  "one variable": () => Deno.env.get("LIVEKIT_SECRET"),
  "all variables": () => Object.keys(Deno.env.toObject())[0],
  "set a variable": () => Deno.env.set("LIVEKIT_URL", "x"),
  environ: () => Deno.readTextFileSync("/proc/self/environ"),
  memory: () => Deno.openSync("/proc/self/mem", { read: true, write: true }),
  "write a new file": () => Deno.writeTextFileSync(`${folder}/new`, "x"),
  "write a temporary file": () => Deno.makeTempFileSync(),
  "write beside the store": () =>
    [...Deno.readDirSync(folder)].forEach(({ name }) => Deno.removeSync(`${folder}/${name}`)),
  "make a folder": () => Deno.mkdirSync(`${folder}/folder`),
  link: () => Deno.symlinkSync("/etc/passwd", `${folder}/link`),
  "change a mode": () => Deno.chmodSync(folder, 0o777),
  rename: () => Deno.renameSync(folder, `${folder}-moved`),
  hostname: () => Deno.hostname(),
  "network interfaces": () => Deno.networkInterfaces(),
  user: () => Deno.uid(),
};

Deno.addSignalListener("SIGUSR1", () => {
  const outcomes = Object.entries(probes).map(([name, probe]) => [name, outcomeOf(probe)]);
  console.log(`probed ${JSON.stringify(Object.fromEntries(outcomes))}`);
});
Deno.exit(await run([]));

function outcomeOf(probe: () => unknown): string {
  try {
    const value = probe();
    return value === undefined ? "unseen" : "done";
  } catch (error) {
    return error instanceof Error ? error.name : "thrown";
  }
}
