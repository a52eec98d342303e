// The reverse proxies of deploy/ as real programs: an example configuration with nothing but its names, ports and
// certificate paths replaced, on loopback. What nginx, Caddy and Traefik have in common.

import type { ServerCertificate } from "../certificates.ts";
import { freePort, loopbackAddresses } from "../free_port.ts";
import { BackgroundProcess } from "../child_process.ts";

/** Name in the certificate and in the URL; the examples' own is {@link EXAMPLE_HOST}. */
export const PROXY_HOST = "localhost";

/** The name under which the examples serve. */
export const EXAMPLE_HOST = "matrix-rtc.example.com";

const DEPLOY = new URL("../../deploy/", import.meta.url);
const START_TIMEOUT_MS = 20_000;

/** Which example, and what stands behind it. */
export interface ProxyOptions {
  /** File below `deploy/`. */
  readonly example: string;
  /** Where lk-jwt-service listens or will listen, as `127.0.0.1:8080`. */
  readonly serviceAddress: string;
  /** Where the SFU listens, as `127.0.0.1:7880`. */
  readonly sfuAddress: string;
  /** A certificate for {@link PROXY_HOST}. */
  readonly certificate: ServerCertificate;
  /** PEM of the root that issued it. */
  readonly caCertificate: string;
}

/** What a proxy's configuration is made of. */
export interface Ground {
  /** Empty, but for the two files below. */
  readonly folder: string;
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly port: number;
  /** Loopback addresses to listen on. */
  readonly addresses: readonly string[];
}

/** How a proxy is run once its configuration is written. */
export interface ProxyProgram {
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A proxy that runs. */
export class ReverseProxy implements AsyncDisposable {
  /** `https://localhost:PORT`. */
  readonly url: string;
  readonly port: number;
  readonly #process: BackgroundProcess;
  readonly #folder: string;

  constructor(port: number, process: BackgroundProcess, folder: string) {
    this.port = port;
    this.url = `https://${PROXY_HOST}:${port}`;
    this.#process = process;
    this.#folder = folder;
  }

  /** The end of its log. */
  output(lines?: number): string {
    return this.#process.output(lines);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stop({ graceMs: 2000 });
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/**
 * Starts a proxy, and waits until it answers anything over verified TLS; what stands behind it need not be there yet.
 *
 * @param configure Writes the configuration.
 * @throws With its output, when it ends before.
 */
export async function startProxy(
  { certificate, caCertificate }: ProxyOptions,
  configure: (ground: Ground) => Promise<ProxyProgram>,
): Promise<ReverseProxy> {
  const folder = await Deno.makeTempDir({ prefix: "lk-jwt-service-proxy-" });
  const ground: Ground = {
    folder,
    certificateFile: `${folder}/tls.crt`,
    keyFile: `${folder}/tls.key`,
    port: await freePort(),
    addresses: loopbackAddresses(),
  };
  await Deno.writeTextFile(ground.certificateFile, certificate.certificate);
  await Deno.writeTextFile(ground.keyFile, certificate.privateKey);
  const process = new BackgroundProcess({ ...await configure(ground), logFile: `${folder}/proxy.log`, cwd: folder });
  const proxy = new ReverseProxy(ground.port, process, folder);
  try {
    using client = Deno.createHttpClient({ caCerts: [caCertificate] });
    await process.untilReady((signal) => answers(proxy.url, client, signal), START_TIMEOUT_MS);
    return proxy;
  } catch (error) {
    await proxy[Symbol.asyncDispose]();
    throw error;
  }
}

/**
 * Reads an example and replaces texts in it, comments left out.
 *
 * @param file Below `deploy/`.
 * @param replacements By the text that stands in the example.
 * @throws When the example does not hold one of them exactly once: a place that an operator would miss, a test would
 * miss too.
 */
export async function adaptExample(file: string, replacements: Readonly<Record<string, string>>): Promise<string> {
  const lines = (await Deno.readTextFile(new URL(file, DEPLOY))).split("\n");
  let text = lines.filter((line) => !line.trimStart().startsWith("#")).join("\n");
  for (const [from, to] of Object.entries(replacements)) {
    if (text.split(from).length !== 2) throw new Error(`Cannot adapt deploy/${file}: expected "${from}" in it once`);
    text = text.replace(from, to);
  }
  return text;
}

async function answers(url: string, client: Deno.HttpClient, signal: AbortSignal): Promise<boolean> {
  const response = await fetch(url, { client, signal });
  await response.body?.cancel();
  return true;
}
