// A real Caddy with one of the project's examples. It gets a certificate instead of asking a public authority for one.

import { runToEnd } from "../../../testing/child_process.ts";
import { adaptExample, EXAMPLE_HOST, PROXY_HOST, type ProxyOptions, type ReverseProxy, startProxy } from "./proxy.ts";

const PROGRAM = "caddy";

/** @throws MissingProgram */
export async function assertCaddy(): Promise<void> {
  await runToEnd(PROGRAM, ["version"], { toInstall: "install Caddy (Debian: caddy)" });
}

/** Starts Caddy with `deploy/caddy/{example}.caddyfile`. */
export function startCaddy(options: ProxyOptions): Promise<ReverseProxy> {
  return startProxy(options, async ({ folder, certificateFile, keyFile, port, addresses }) => {
    const site = await adaptExample(`caddy/${options.example}.caddyfile`, {
      "127.0.0.1:8080": options.serviceAddress,
      "127.0.0.1:7880": options.sfuAddress,
      [`${EXAMPLE_HOST} {`]: `${PROXY_HOST}:${port} {\n\ttls ${certificateFile} ${keyFile}`,
    });
    // No listener but the site's: neither port 80 nor the administration's.
    const globals = `{
	admin off
	auto_https disable_redirects
	default_bind ${addresses.join(" ")}
}
`;
    await Deno.writeTextFile(`${folder}/Caddyfile`, globals + site);
    return {
      name: "Caddy",
      program: PROGRAM,
      args: ["run", "--config", `${folder}/Caddyfile`, "--adapter", "caddyfile"],
      env: { HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
    };
  });
}
