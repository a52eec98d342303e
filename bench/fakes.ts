// The other side of a benchmark, in a process (and on a core) of its own: homeservers over TLS, one of them hanging, and
// an SFU. Tokens need no minting: `user-7` is the token of user-7. Prints where it listens as one line of JSON, and
// obeys `GET /control?delay_ms=50`, which answers with what was counted.

import { CertificateAuthority } from "../testing/certificates.ts";
import { jsonAnswer } from "../testing/answer.ts";
import { LoopbackServer } from "../testing/loopback_server.ts";
import { DevelopmentSfu } from "../testing/fake_sfu.ts";

const ca = await CertificateAuthority.create();
const certificate = await ca.issue({ dnsNames: ["localhost"], addresses: ["127.0.0.1"] });
let delayMs = 0;

async function startHomeserver(host: string): Promise<LoopbackServer> {
  const server = await LoopbackServer.start({ certificate });
  server.handler = async ({ query }) => {
    if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
    return jsonAnswer(200, { sub: `@${query.get("access_token")}:${host}:${server.port}` });
  };
  return server;
}

const local = await startHomeserver("localhost");
const federated = await startHomeserver("127.0.0.1");
const hanging = await LoopbackServer.start({ certificate });
hanging.handler = () => new Promise(() => {});
const sfu = await DevelopmentSfu.start();

const control = await LoopbackServer.start({});
control.handler = ({ query }) => {
  delayMs = Number(query.get("delay_ms") ?? delayMs);
  sfu.faults.clear();
  if (delayMs > 0) sfu.faults.inject({ kind: "delay", durationMs: delayMs });
  return jsonAnswer(200, {
    homeserverConnections: local.connections + federated.connections,
    sfuConnections: sfu.connections,
    createRoomCalls: sfu.callCount("CreateRoom"),
  });
};

console.log(JSON.stringify({
  ca: ca.certificate,
  local: `localhost:${local.port}`,
  federated: `127.0.0.1:${federated.port}`,
  hanging: `localhost:${hanging.port}`,
  sfuUrl: sfu.url,
  apiKey: sfu.apiKey,
  apiSecret: sfu.apiSecret,
  controlUrl: control.url.href,
}));
