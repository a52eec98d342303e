// Servers with made-up names, each of which leaves as much as it can in everything that is remembered: redirects with the
// longest URLs, delegations, SRV answers, addresses of client-server APIs, verified tokens, rooms, jobs, and clients that
// are counted.

import https from "node:https";
import { CertificateAuthority } from "../certificates.ts";
import { DEVELOPMENT_API_SECRET } from "../fake_sfu.ts";
import { startNameServer } from "./name_server.ts";
import { startOthers } from "./people.ts";
import { inLoops, post, type Pressure } from "./pressure.ts";

const LOOPS = 96;
const COUNTED_CLIENT_LOOPS = 16;
const REDIRECT_CHARACTERS = 15_000;
const BASE_URL_CHARACTERS = 15_000;
const DELAY_MS = 60 * 60_000;
const HTTPS_PORT = 443;

// With a first label of 63 characters a name has 229: user IDs have 255 at most.
const SUFFIX = `${"b".repeat(63)}.${"c".repeat(63)}.${"d".repeat(22)}.hostile.test`;

const KINDS = ["redirects", "delegates", "has SRV records", "is well"] as const;

/** Caches at their worst. */
export const hostileCaches: Pressure = {
  what: "thousands of made-up server names that leave as much as they can in each cache",
  async prepare(parts, { directory }) {
    // An address of its own, since the ports are given: kinds of pressure run side by side.
    const [second, third, fourth] = crypto.getRandomValues(new Uint8Array(3)).map((byte) => 1 + byte % 254);
    const address = `127.${second}.${third}.${fourth}`;
    const authority = await CertificateAuthority.create();
    const { certificate, privateKey } = await authority.issue({ dnsNames: [`*.${SUFFIX}`], addresses: [] });
    await startNameServer(
      parts,
      address,
      (name) => name.startsWith("_matrix") && kindOf(name.split(".")[2] ?? "") === 2,
    );
    const server = https.createServer({ cert: certificate, key: privateKey }, (request, response) => {
      const host = request.headers.host ?? "";
      const { pathname, searchParams } = new URL(`https://x${request.url}`);
      response.setHeader("content-type", "application/json");
      if (pathname.endsWith("/userinfo")) {
        const user = "u".repeat(255 - host.length - 2);
        return response.end(JSON.stringify({ sub: `@${user}:${searchParams.get("access_token")}` }));
      }
      if (pathname.endsWith("/client")) {
        const base_url = `https://${host}/${"p".repeat(BASE_URL_CHARACTERS)}`;
        return response.end(JSON.stringify({ "m.homeserver": { base_url } }));
      }
      const kind = kindOf(host);
      if (pathname.startsWith("/.well-known/matrix/server") && kind === 1) {
        return response.end(JSON.stringify({ "m.server": `h${host.slice(1)}` }));
      }
      if (pathname.startsWith("/.well-known/matrix/server") && kind === 3) {
        return response.end(JSON.stringify({ "m.server": `${host}:${HTTPS_PORT}` }));
      }
      if (pathname.startsWith("/.well-known") && kind === 0) {
        const hop = Number(/hop(\d)/.exec(pathname)?.[1] ?? 0);
        response.statusCode = 302;
        response.setHeader("location", `/.well-known/hop${hop + 1}${"r".repeat(REDIRECT_CHARACTERS)}`);
        return response.end();
      }
      response.statusCode = 404;
      response.end("{}");
    });
    await new Promise<void>((resolve) => server.listen(HTTPS_PORT, address, resolve));
    parts.defer(() => {
      server.closeAllConnections();
      server.close();
    });
    const caFile = `${directory}/ca.pem`;
    await Deno.writeTextFile(caFile, authority.certificate);
    const resolverFile = `${directory}/resolv.conf`;
    await Deno.writeTextFile(resolverFile, `nameserver ${address}\n`);
    return {
      resolverFile,
      variables: {
        LIVEKIT_URL: startOthers(parts).replace("http", "ws"),
        LIVEKIT_KEY: "devkey",
        LIVEKIT_SECRET: DEVELOPMENT_API_SECRET,
        LIVEKIT_LOG_LEVEL: "error",
        LIVEKIT_FEDERATION_ALLOW_NETWORKS: "127.0.0.0/8",
        LIVEKIT_FULL_ACCESS_HOMESERVERS: "*",
        LIVEKIT_EXTRA_CA_FILE: caFile,
        LIVEKIT_RATE_LIMIT: "100000/60m",
        LIVEKIT_TRUSTED_PROXIES: "127.0.0.0/8",
        // Where an older runtime serves as base, which can add no authority by itself.
        DENO_CERT: caFile,
      },
      async press(url, over) {
        const names = new Map<number, number>();
        let n = 0;
        const strangers = inLoops(LOOPS, over, async () => {
          const name = `${KINDS[n % KINDS.length]?.[0]}${String(n++).padStart(62, "0")}.${SUFFIX}`;
          const status = await post(`${url}/sfu/get`, {
            room: `!${n}:${name}`,
            device_id: "DEVICE",
            // Whose it is stands in it.
            openid_token: { access_token: name, matrix_server_name: name },
            delay_id: `d${n}-`.padEnd(255, "x"),
            delay_timeout: DELAY_MS,
          }, over);
          names.set(status, (names.get(status) ?? 0) + 1);
        });
        let clients = 0;
        const counted = inLoops(COUNTED_CLIENT_LOOPS, over, async () => {
          const client = `2001:db8:${(clients >> 16).toString(16)}:${(clients++ & 0xffff).toString(16)}::1`;
          const response = await fetch(`${url}/sfu/get`, {
            method: "POST",
            headers: { "x-forwarded-for": client },
            body: '{"room":"r","device_id":"d","openid_token":{"access_token":"t","matrix_server_name":"no name"}}',
            signal: over,
          });
          await response.body?.cancel();
        });
        return `${await strangers} server names (by status: ${JSON.stringify(Object.fromEntries(names))}), ` +
          `${await counted} clients that were counted`;
      },
    };
  },
};

/** What a server of a name does, by its first letter. */
function kindOf(host: string): number {
  return KINDS.findIndex((kind) => host.startsWith(kind[0] ?? ""));
}
