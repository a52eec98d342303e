// A real Caddy with one of the project's examples. It gets a certificate instead of asking a public authority for one.

import { runToEnd } from "../child_process.ts";
import { adaptExample, EXAMPLE_HOST, PROXY_HOST, type ProxyOptions, type ReverseProxy, startProxy } from "./proxy.ts";

const PROGRAM = "caddy";

/** @throws MissingProgram */
export async function assertCaddy(): Promise<void> {
  await runToEnd(PROGRAM, ["version"], { toInstall: "install Caddy (Debian: caddy)" });
}

/** Starts Caddy with an example of `deploy/caddy/`, or with that of `deploy/compose/`. */
export function startCaddy(options: ProxyOptions): Promise<ReverseProxy> {
  return startProxy(options, async ({ folder, certificateFile, keyFile, port, addresses }) => {
    const tls = `tls ${certificateFile} ${keyFile}`;
    const site = options.example.startsWith("compose/")
      ? await adaptExample(options.example, {
        "lk-jwt-service:8080": options.serviceAddress,
        "livekit:7880": options.sfuAddress,
        "{$RTC_HOST} {": `https://${PROXY_HOST}:${port} {\n\t${tls}`,
        // Asked for by the header alone: the certificate does not name it.
        "{$CALL_HOST} {": `https://call.localhost:${port} {\n\t${tls}`,
        "{$SERVER_NAME} {": `https://127.0.0.1:${port} {\n\t${tls}`,
      })
      : await adaptExample(options.example, {
        "127.0.0.1:8080": options.serviceAddress,
        "127.0.0.1:7880": options.sfuAddress,
        [`${EXAMPLE_HOST} {`]: `${PROXY_HOST}:${port} {\n\t${tls}`,
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
      env: {
        HOME: folder,
        XDG_DATA_HOME: folder,
        XDG_CONFIG_HOME: folder,
        // What the example of deploy/compose takes from its own environment.
        CALL_HOST: "call.example.com",
        RTC_HOST: EXAMPLE_HOST,
        SERVER_NAME: "example.com",
      },
    };
  });
}
