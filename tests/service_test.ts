// The wiring of the parts, where no single part would notice that a wire is missing.

import assert from "node:assert/strict";
import net from "node:net";
import { DevelopmentHomeserver, type OpenIdToken } from "../testing/fake_homeserver.ts";
import { CertificateAuthority } from "../testing/certificates.ts";
import { DEFAULT_LIMITS } from "../lib/admission/concurrency.ts";
import { systemPlatform } from "../lib/platform.ts";
import { startService } from "../lib/service.ts";
import { configOf } from "./config/config_harness.ts";
import { RecordingLog } from "../testing/recording_log.ts";

const MORE = 50;

async function ask(address: Deno.Addr, openid_token: OpenIdToken): Promise<number> {
  assert.ok("port" in address);
  const response = await fetch(`http://127.0.0.1:${address.port}/sfu/get`, {
    method: "POST",
    body: JSON.stringify({ room: "!room", openid_token, device_id: "DEVICE" }),
  });
  await response.body?.cancel();
  return response.status;
}

Deno.test("a server that has vouched for a user is served while hanging servers take all that nobody vouched for", async () => {
  const certificate = await (await CertificateAuthority.create()).issue({ dnsNames: ["localhost"], addresses: [] });
  await using homeserver = await DevelopmentHomeserver.start({ certificate });
  const hung: net.Socket[] = [];
  const hangUp = () => {
    for (const socket of hung.splice(0)) socket.destroy(new Error("hung up"));
  };
  let isOver = false;
  const hang = () => {
    const socket = new net.Socket(); // never connected
    hung.push(socket);
    if (isOver) queueMicrotask(hangUp);
    return socket;
  };
  const config = configOf({
    LIVEKIT_JWT_BIND: "127.0.0.1:0",
    LIVEKIT_FULL_ACCESS_HOMESERVERS: "listed.example",
    LIVEKIT_INSECURE_SKIP_VERIFY_TLS: "YES_I_KNOW_WHAT_I_AM_DOING",
    LIVEKIT_DELEGATION: "off",
  });
  const service = await startService(config, {
    ...systemPlatform,
    // All other servers hang before they are connected.
    connectors: { tcp: ({ host, port }) => host === "localhost" ? net.connect(port, "127.0.0.1") : hang() },
    resolveHost: () => Promise.resolve(["127.0.0.1"]),
    resolveSrv: () => Promise.resolve([]),
  }, new RecordingLog());
  try {
    assert.equal(await ask(service.address, homeserver.mintOpenIdToken("alice")), 200);

    const isFull = Promise.withResolvers<void>();
    const hanging = Array.from({ length: DEFAULT_LIMITS.unproven + MORE }, async (_, at) => {
      const token = { ...homeserver.mintOpenIdToken("bob"), matrix_server_name: `hanging-${at}.example` };
      const status = await ask(service.address, token);
      if (status === 503) isFull.resolve();
      return status;
    });
    await Promise.race([isFull.promise, Promise.all(hanging)]);
    assert.equal(await ask(service.address, homeserver.mintOpenIdToken("carol")), 200);

    isOver = true;
    hangUp();
    assert.deepEqual(new Set(await Promise.all(hanging)), new Set([401, 503]));
  } finally {
    hangUp();
    await service.drain();
  }
});
