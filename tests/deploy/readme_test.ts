// The proxy examples that the README prints are what nginx and Caddy understand.

import assert from "node:assert/strict";
import { codeBlocks } from "../../testing/documents.ts";

async function assertAccepted(program: string, args: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args: [...args] }).output();
  assert.equal(code, 0, new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr));
}

Deno.test("the README's nginx locations are accepted by nginx inside a server", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const [locations = ""] = codeBlocks("nginx");
    const configuration = `pid ${folder}/pid; error_log stderr; events {} http { access_log off;
      server { listen unix:${folder}/socket; ${locations} } }`;
    assert.match(locations, /location \/livekit\/jwt\/ /);
    await Deno.writeTextFile(`${folder}/nginx.conf`, configuration);
    await assertAccepted("nginx", ["-t", "-p", folder, "-c", `${folder}/nginx.conf`]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the README's Caddyfile is accepted by Caddy", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/Caddyfile`, codeBlocks("caddyfile")[0] ?? "");
    await assertAccepted("caddy", ["adapt", "--adapter", "caddyfile", "--config", `${folder}/Caddyfile`]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
