// The bounds for proxies that docs/security.md prints are what nginx and Caddy understand.

import assert from "node:assert/strict";
import { runToEnd } from "../../testing/child_process.ts";

const page = Deno.readTextFileSync(new URL("../../docs/security.md", import.meta.url));

function codeBlock(language: string): string {
  const text = page.split(`\`\`\`${language}\n`)[1]?.split("```")[0];
  assert.ok(text !== undefined, `docs/security.md has a block of ${language}`);
  return text;
}

async function withFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "lk-jwt-service-bounds-" });
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("docs/security.md's bounds are accepted by nginx, each in its block", async () => {
  await withFolder(async (folder) => {
    const [, http = "", server = "", location = ""] = codeBlock("nginx").split(/^# In .*:$/m);
    assert.match(location, /limit_conn lk_jwt/);
    await Deno.writeTextFile(
      `${folder}/nginx.conf`,
      `pid ${folder}/pid; error_log stderr; events {} http { access_log off; ${http}
        server { listen unix:${folder}/socket; ${server} location / { ${location} proxy_pass http://127.0.0.1:1/; } } }`,
    );
    await runToEnd("nginx", ["-t", "-p", folder, "-c", `${folder}/nginx.conf`]);
  });
});

Deno.test("docs/security.md's bounds are accepted by Caddy, and reach its server", async () => {
  await withFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/Caddyfile`, codeBlock("caddyfile"));
    const json = await runToEnd("caddy", ["adapt", "--adapter", "caddyfile", "--config", `${folder}/Caddyfile`]);
    assert.match(json, /"read_timeout":10000000000,"read_header_timeout":10000000000/);
    assert.match(json, /"handler":"request_body","max_size":1000000/);
  });
});
