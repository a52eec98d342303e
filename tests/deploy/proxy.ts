// Runs the example configurations of nginx and Caddy as they are, with only the site's name, its certificate and the
// two upstream addresses exchanged for ones on loopback.

import assert from "node:assert/strict";
import { connect } from "node:net";
import { CertificateAuthority } from "../../testing/certificates.ts";
import { repositoryRoot } from "../../tasks/compile.ts";
import { freePort } from "../../testing/free_port.ts";
import { BackgroundProcess, runToEnd } from "../../testing/child_process.ts";

const START_TIMEOUT_MS = 10_000;

/** A proxy that runs. */
export interface Proxy extends AsyncDisposable {
  readonly port: number;
  /** The root of its certificate, PEM; the certificate is for localhost and 127.0.0.1. */
  readonly certificateAuthority: string;
}

/** Where the proxy sends what. */
export interface Upstreams {
  readonly servicePort: number;
  readonly sfuPort: number;
}

interface Site extends Upstreams {
  readonly port: number;
  readonly directory: string;
  readonly certificateFile: string;
  readonly privateKeyFile: string;
}

/** Starts the program that an example under deploy/ is for. */
export async function startProxy(example: string, upstreams: Upstreams): Promise<Proxy> {
  const ca = await CertificateAuthority.create();
  const directory = await Deno.makeTempDir({ prefix: "lk-jwt-service-proxy-" });
  await using started = new AsyncDisposableStack();
  started.defer(() => Deno.remove(directory, { recursive: true }));

  const { certificate, privateKey } = await ca.issue({ dnsNames: ["localhost"], addresses: ["127.0.0.1"] });
  const certificateFile = `${directory}/fullchain.pem`;
  const privateKeyFile = `${directory}/privkey.pem`;
  await Deno.writeTextFile(certificateFile, certificate);
  await Deno.writeTextFile(privateKeyFile, privateKey);
  const site: Site = { ...upstreams, port: await freePort(), directory, certificateFile, privateKeyFile };

  const text = await Deno.readTextFile(`${repositoryRoot}deploy/${example}`);
  const process = started.use(await (example.startsWith("nginx/") ? startNginx(text, site) : startCaddy(text, site)));
  await process.untilReady(() => canConnect(site.port), START_TIMEOUT_MS);
  const parts = started.move();
  return {
    port: site.port,
    certificateAuthority: ca.certificate,
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

async function startNginx(example: string, site: Site): Promise<BackgroundProcess> {
  const { directory } = site;
  const adapted = adapt(example, [
    ["listen 443 ssl;", `listen 127.0.0.1:${site.port} ssl;`],
    ["listen [::]:443 ssl;", ""],
    ["matrix-rtc.example.com", "localhost"],
    ["/etc/ssl/matrix-rtc/fullchain.pem", site.certificateFile],
    ["/etc/ssl/matrix-rtc/privkey.pem", site.privateKeyFile],
    ["127.0.0.1:8080", `127.0.0.1:${site.servicePort}`],
    ["127.0.0.1:7880", `127.0.0.1:${site.sfuPort}`],
  ]);
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((name) => `${name}_temp_path ${directory}/${name};`).join("\n");
  await Deno.writeTextFile(
    `${directory}/nginx.conf`,
    `daemon off;\n${Deno.uid() === 0 ? "user root;\n" : ""}pid ${directory}/nginx.pid;\nerror_log stderr;\n` +
      `events {}\nhttp {\naccess_log off;\n${temporary}\n${adapted}\n}\n`,
  );
  const args = ["-e", "stderr", "-p", directory, "-c", `${directory}/nginx.conf`];
  await runToEnd("nginx", ["-t", ...args], { toInstall: "install the package nginx" });
  return new BackgroundProcess({ name: "nginx", program: "nginx", args, logFile: `${directory}/nginx.log` });
}

async function startCaddy(example: string, site: Site): Promise<BackgroundProcess> {
  const { directory, port } = site;
  const tls = `bind 127.0.0.1\n\ttls ${site.certificateFile} ${site.privateKeyFile}`;
  const adapted = adapt(
    example,
    example.includes("{$RTC_HOST} {")
      ? [
        ["{$RTC_HOST} {", `https://localhost:${port} {\n\t${tls}`],
        ["{$SERVER_NAME} {", `https://127.0.0.1:${port} {\n\t${tls}`],
        ["lk-jwt-service:8080", `127.0.0.1:${site.servicePort}`],
        ["livekit:7880", `127.0.0.1:${site.sfuPort}`],
      ]
      : [
        ["matrix-rtc.example.com {", `https://localhost:${port} {\n\t${tls}`],
        ["127.0.0.1:8080", `127.0.0.1:${site.servicePort}`],
        ["127.0.0.1:7880", `127.0.0.1:${site.sfuPort}`],
      ],
  );
  const file = `${directory}/Caddyfile`;
  await Deno.writeTextFile(file, `{\n\tadmin off\n\tauto_https disable_redirects\n}\n${adapted}`);
  const args = ["--adapter", "caddyfile", "--config", file];
  const env = {
    HOME: directory,
    XDG_CONFIG_HOME: directory,
    XDG_DATA_HOME: directory,
    RTC_HOST: "matrix-rtc.example.com",
    SERVER_NAME: "example.com",
  };
  await runToEnd("caddy", ["validate", ...args], { env, toInstall: "install the package caddy" });
  const logFile = `${directory}/caddy.log`;
  return new BackgroundProcess({ name: "Caddy", program: "caddy", args: ["run", ...args], env, logFile });
}

// Each value stands in an example once: a place that an operator would miss, a test would miss too.
function adapt(example: string, values: readonly (readonly [from: string, to: string])[]): string {
  const settings = example.split("\n").filter((line) => !line.trimStart().startsWith("#")).join("\n");
  return values.reduce((text, [from, to]) => {
    assert.equal(text.split(from).length, 2, `the example must have "${from}" once`);
    return text.replace(from, to);
  }, settings);
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port }, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", reject);
  });
}
