// The example configurations of deploy/ at work: the real nginx and Caddy in front of the service and the SFU, and a
// real browser whose page, of another origin, does what Element Call does. Whatever a proxy does to paths, headers,
// preflights or the WebSocket, the browser shows it.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import * as v from "valibot";
import { CertificateAuthority, type ServerCertificate } from "../../testing/certificates.ts";
import { assertChromium, type ClientPage, startBrowser, type TestBrowser } from "./stack/browser.ts";
import { assertCaddy, startCaddy } from "../../testing/proxies/caddy.ts";
import { type Deployment, startDeployment } from "./stack/deployment.ts";
import type { MatrixUser, OpenIdToken } from "./stack/matrix.ts";
import { assertNginx, startNginx } from "../../testing/proxies/nginx.ts";
import { PROXY_HOST, type ProxyOptions, type ReverseProxy } from "../../testing/proxies/proxy.ts";
import { freeBind, type ServiceProcess, startService } from "./stack/service.ts";

const SLOT = "m.call#ROOM";
const MEMBER_ID = "member-1";
const GRANT = v.strictObject({ url: v.string(), jwt: v.string() });
const CLAIMS = v.object({ sub: v.string(), video: v.object({ room: v.string() }) });
const ERROR = v.strictObject({ errcode: v.string(), error: v.string() });

// Both ways to treat the prefix with both proxies, and with delegation on and off behind each proxy.
const SITES = [
  { proxy: "nginx", start: startNginx, example: "nginx/prefix_stripped.conf", delegation: "on" },
  { proxy: "nginx", start: startNginx, example: "nginx/prefix_kept.conf", delegation: "off" },
  { proxy: "Caddy", start: startCaddy, example: "caddy/prefix_stripped.caddyfile", delegation: "off" },
  { proxy: "Caddy", start: startCaddy, example: "caddy/prefix_kept.caddyfile", delegation: "on" },
] as const;
type SiteKind = typeof SITES[number];

/** A proxy with a service of its own behind it, which reaches the SFU through the proxy. */
interface Site {
  readonly proxy: ReverseProxy;
  readonly service: ServiceProcess;
  /** `livekit_service_url`, as a well-known would give it. */
  readonly serviceUrl: string;
  /** `LIVEKIT_URL`. */
  readonly sfuUrl: string;
}

/** What all sites share. */
interface Rig extends Deployment {
  readonly ca: CertificateAuthority;
  readonly certificate: ServerCertificate;
  /** Root certificates of the homeservers and of the proxies. */
  readonly caFile: string;
  readonly browser: TestBrowser;
  readonly alice: MatrixUser;
}

interface Scene extends Rig, Site {
  readonly page: ClientPage;
}

const started = new AsyncDisposableStack();
const sites = new Map<SiteKind, Promise<Site>>();
let rig: Rig | undefined;

Deno.test.beforeAll(async () => {
  await assertProgramsThere();
  rig = await startRig();
});

Deno.test.afterAll(() => started.disposeAsync());

for (const kind of SITES) {
  siteTest(kind, "a page of another origin gets a token with which the SFU lets it in", async (scene) => {
    const { page, sfu, alice, serviceUrl, sfuUrl } = scene;
    const roomId = await alice.createRoom();
    assert.equal(await sfu.hasRoom(aliasOf(roomId)), false);

    const url = `${serviceUrl}/sfu/get`;
    const grant = await grantFrom(page, url, legacyBody(alice, roomId, await alice.openIdToken()));
    assert.deepEqual(page.preflights, [{ url, status: 200 }]);
    assert.equal(grant.url, sfuUrl);
    assert.equal(await sfu.hasRoom(aliasOf(roomId)), true); // CreateRoom found its way through the proxy

    const identity = `${alice.userId}:${alice.deviceId}`;
    const claims = v.parse(CLAIMS, await page.decodeJwt(grant.jwt));
    assert.deepEqual(claims, { sub: identity, video: { room: aliasOf(roomId) } });

    await using participant = await page.joinRoom(grant.url, grant.jwt);
    assert.deepEqual(await participant.describe(), { roomName: aliasOf(roomId), identity });
    assert.deepEqual(await sfu.identities(aliasOf(roomId)), [identity]);
  });

  siteTest(kind, "repeated slashes lead to the same routes", async ({ page, sfu, alice, serviceUrl }) => {
    const roomId = await alice.createRoom();
    const openIdToken = await alice.openIdToken();
    const bodies = { "/sfu/get": legacyBody, "/get_token": hashedBody };
    for (const [path, bodyOf] of Object.entries(bodies)) {
      for (const url of [`${serviceUrl}/${path}`, serviceUrl + path.replaceAll("/", "//")]) {
        await grantFrom(page, url, bodyOf(alice, roomId, openIdToken));
        assert.deepEqual(page.preflights.at(-1), { url, status: 200 });
      }
    }
    assert.equal(await sfu.hasRoom(aliasOf(roomId)), true);
  });

  siteTest(kind, "a page can read every refusal", async ({ page, alice, serviceUrl }) => {
    const roomId = await alice.createRoom();
    const unknown = { ...await alice.openIdToken(), access_token: "AbCdEfGhIjKlMnOpQrStUvWx" };
    const unauthorised = [401, "M_UNAUTHORIZED"] as const;
    const unrecognised = [404, "M_UNRECOGNIZED"] as const;
    const requests = [
      ["POST", "/sfu/get", "{}", 400, "M_BAD_JSON"],
      ["POST", "/get_token", "{", 400, "M_NOT_JSON"],
      ["POST", "/get_token", undefined, 400, "M_NOT_JSON"],
      ["POST", "/sfu/get", legacyBody(alice, roomId, unknown), ...unauthorised],
      ["POST", "/get_token", hashedBody(alice, roomId, unknown), ...unauthorised],
      ["POST", "/no_such_route", "{}", ...unrecognised],
      ["POST", "/no_such_route", undefined, ...unrecognised],
      ["POST", "/", undefined, ...unrecognised],
      ["GET", "/sfu/get", undefined, 405, "M_UNRECOGNIZED"],
    ] as const;
    for (const [method, path, body, status, errcode] of requests) {
      assert.deepEqual(
        await refusal(page, method, `${serviceUrl}${path}`, body),
        [status, errcode],
        `${method} ${path}`,
      );
    }
    const preflighted = ["/sfu/get", "/get_token", "/no_such_route"]; // once each: the browser remembers
    assert.deepEqual(page.preflights, preflighted.map((path) => ({ url: `${serviceUrl}${path}`, status: 200 })));
  });

  const { delegation } = kind;
  siteTest(kind, `a probe sees that delegation is ${delegation}`, async ({ page, serviceUrl }) => {
    const expected = delegation === "on" ? [400, "M_NOT_JSON"] : [404, "M_UNRECOGNIZED"];
    for (const path of ["/delegate_delayed_leave", "//delegate_delayed_leave"]) {
      assert.deepEqual(await refusal(page, "POST", `${serviceUrl}${path}`), expected);
    }
    assert.deepEqual(page.preflights, []);
  });
}

function siteTest(kind: SiteKind, name: string, body: (scene: Scene) => Promise<void>): void {
  Deno.test({
    name: `${kind.proxy}, ${kind.example}: ${name}`,
    // The browser's pipe and the site's processes serve more than one test.
    sanitizeOps: false,
    sanitizeResources: false,
    async fn() {
      assert.ok(rig);
      const site = await siteOf(kind, rig);
      await using page = await rig.browser.openPage();
      try {
        await body({ ...rig, ...site, page });
      } catch (error) {
        console.log(`The proxy's log ends:\n${site.proxy.output(10)}`);
        console.log(`The service's log ends:\n${site.service.output(10)}`);
        throw error;
      }
    },
  });
}

// One line per missing program, all at once.
async function assertProgramsThere(): Promise<void> {
  const results = await Promise.allSettled([assertNginx(), assertCaddy(), assertChromium()]);
  const problems = results.flatMap((result) => result.status === "rejected" ? [messageOf(result.reason)] : []);
  if (problems.length > 0) throw new Error(problems.join("\n"));
}

async function startRig(): Promise<Rig> {
  const ca = await CertificateAuthority.create("Proxies");
  const certificate = await ca.issue({ dnsNames: [PROXY_HOST] });
  const browser = started.use(await startBrowser(certificate.certificate));
  const deployment = started.use(await startDeployment());
  const homeserverCa = await Deno.readTextFile(deployment.variables.LIVEKIT_EXTRA_CA_FILE ?? "");
  const caFile = await Deno.makeTempFile({ prefix: "lk-jwt-service-ca-", suffix: ".crt" });
  started.defer(() => Deno.remove(caFile));
  await Deno.writeTextFile(caFile, `${homeserverCa.trim()}\n${ca.certificate.trim()}\n`);
  const alice = await deployment.local.register("alice", "ALICEDEV");
  return { ...deployment, ca, certificate, caFile, browser, alice };
}

// Started on first use: a broken example fails its own tests only.
function siteOf(kind: SiteKind, rig: Rig): Promise<Site> {
  const site = sites.get(kind) ?? startSite(kind, rig);
  sites.set(kind, site);
  return site;
}

async function startSite({ start, example, delegation }: SiteKind, rig: Rig): Promise<Site> {
  const bind = await freeBind();
  const options: ProxyOptions = {
    example,
    serviceAddress: bind,
    sfuAddress: new URL(rig.sfu.url).host,
    certificate: rig.certificate,
    caCertificate: rig.ca.certificate,
  };
  const proxy = started.use(await start(options));
  const sfuUrl = `${proxy.url.replace("https:", "wss:")}/livekit/sfu`;
  const service = started.use(
    await startService({
      ...rig.variables,
      LIVEKIT_URL: sfuUrl,
      LIVEKIT_EXTRA_CA_FILE: rig.caFile,
      LIVEKIT_DELEGATION: delegation,
      LIVEKIT_JWT_BIND: bind,
    }),
  );
  return { proxy, service, serviceUrl: `${proxy.url}/livekit/jwt`, sfuUrl };
}

async function grantFrom(page: ClientPage, url: string, body: string): Promise<v.InferOutput<typeof GRANT>> {
  const answer = await page.fetch("POST", url, body);
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  assert.equal(answer.contentType, "application/json");
  return v.parse(GRANT, answer.body);
}

async function refusal(page: ClientPage, method: "GET" | "POST", url: string, body?: string) {
  const answer = await page.fetch(method, url, body);
  assert.equal(answer.contentType, "application/json");
  return [answer.status, v.parse(ERROR, answer.body).errcode];
}

function legacyBody(user: MatrixUser, roomId: string, openIdToken: OpenIdToken): string {
  return JSON.stringify({ room: roomId, openid_token: openIdToken, device_id: user.deviceId });
}

function hashedBody(user: MatrixUser, roomId: string, openIdToken: OpenIdToken): string {
  return JSON.stringify({
    room_id: roomId,
    slot_id: SLOT,
    openid_token: openIdToken,
    member: { id: MEMBER_ID, claimed_user_id: user.userId, claimed_device_id: user.deviceId },
  });
}

// Canonical JSON of plain ASCII texts is what JSON.stringify makes of them.
function aliasOf(roomId: string): string {
  return createHash("sha256").update(JSON.stringify([roomId, SLOT])).digest("base64").replace(/=+$/, "");
}

function messageOf(reason: unknown): string {
  return reason instanceof Error ? reason.message : String(reason);
}
