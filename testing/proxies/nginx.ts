// A real nginx with one of the project's examples inside the smallest http block that can hold it.

import { existsSync } from "node:fs";
import { runToEnd } from "../child_process.ts";
import { adaptExample, EXAMPLE_HOST, PROXY_HOST, type ProxyOptions, type ReverseProxy, startProxy } from "./proxy.ts";

// Debian keeps it where only root's PATH leads.
const DEBIAN_PROGRAM = "/usr/sbin/nginx";
const PROGRAM = existsSync(DEBIAN_PROGRAM) ? DEBIAN_PROGRAM : "nginx";

/** @throws MissingProgram */
export async function assertNginx(): Promise<void> {
  await runToEnd(PROGRAM, ["-v"], { toInstall: "install nginx (Debian: nginx)" });
}

/** Starts nginx with an example of `deploy/nginx/`. */
export function startNginx(options: ProxyOptions): Promise<ReverseProxy> {
  return startProxy(options, async ({ folder, certificateFile, keyFile, port, addresses }) => {
    const hasIpv6 = addresses.includes("::1");
    const site = await adaptExample(options.example, {
      "127.0.0.1:8080": options.serviceAddress,
      "127.0.0.1:7880": options.sfuAddress,
      "listen 443 ssl;": `listen 127.0.0.1:${port} ssl;`,
      "listen [::]:443 ssl;": hasIpv6 ? `listen [::1]:${port} ssl;` : "",
      [EXAMPLE_HOST]: PROXY_HOST,
      "/etc/ssl/matrix-rtc/fullchain.pem": certificateFile,
      "/etc/ssl/matrix-rtc/privkey.pem": keyFile,
    });
    await Deno.writeTextFile(`${folder}/site.conf`, site);
    await Deno.writeTextFile(`${folder}/nginx.conf`, mainConfig(folder));
    return { name: "nginx", program: PROGRAM, args: ["-e", "stderr", "-p", folder, "-c", `${folder}/nginx.conf`] };
  });
}

// One process: workers would outlive a master that is killed.
function mainConfig(folder: string): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  return `
daemon off;
master_process off;
pid ${folder}/nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
${temporary.map((name) => `    ${name}_temp_path ${folder}/${name};`).join("\n")}
    include ${folder}/site.conf;
}
`;
}
