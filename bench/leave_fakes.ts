// The other side of the benchmark of delegated leaves, in a process of its own: homeservers over TLS that never limit, and
// an SFU with everybody in it. Prints where it listens as one line of JSON, and obeys `GET /?people=50000&delay_ms=10000`:
// so many people from now on, whose events have that delay. `GET /?of=service1` tells what was counted since then; services
// have their names in the URLs by which they call homeservers.

import { ListParticipantsRequest, ListParticipantsResponse, ParticipantInfo, Room } from "@livekit/protocol";
import { ParticipantInfo_State, RoomParticipantIdentity } from "@livekit/protocol";
import { CertificateAuthority } from "../testing/certificates.ts";
import { DEVELOPMENT_API_SECRET } from "../testing/fake_sfu.ts";
import { HOMESERVERS, personOf } from "./leave_people.ts";

const JSON_TYPE = { headers: { "content-type": "application/json" } };
const NOT_FOUND = '{"code":"not_found","msg":"participant does not exist"}';
const RESTART = /^https:\/\/[^/]+\/([^/]+)\/.*\/delayed_events\/([^/]+)\/restart$/;

interface Restarts {
  count: number;
  /** Those that came after the event's own timer must have fired. */
  late: number;
  readonly lastAt: Map<string, number>;
}

let people = 0;
let delayMs = Infinity;
/** Room → identity → who is there, encoded. */
const rooms = new Map<string, Map<string, ParticipantInfo>>();
const restarts = new Map<string, Restarts>();
const listed = new Set<string>();
let others = 0;

function populate(count: number): void {
  for (let n = people; n < count; n++) {
    const { room, identity, sid } = personOf(n);
    const present = rooms.get(room) ?? new Map<string, ParticipantInfo>();
    present.set(identity, new ParticipantInfo({ sid, identity, state: ParticipantInfo_State.ACTIVE }));
    rooms.set(room, present);
  }
  people = Math.max(people, count);
}

function protobuf(message: { toBinary(): Uint8Array }): Response {
  return new Response(Uint8Array.from(message.toBinary()), { headers: { "content-type": "application/protobuf" } });
}

function restarted(service: string, delayId: string): void {
  const now = performance.now();
  const of = restarts.get(service) ?? { count: 0, late: 0, lastAt: new Map<string, number>() };
  restarts.set(service, of);
  if (now - (of.lastAt.get(delayId) ?? now) > delayMs) of.late++;
  of.lastAt.set(delayId, now);
  of.count++;
}

const authority = await CertificateAuthority.create();
const certificate = await authority.issue({ dnsNames: ["localhost"], addresses: ["127.0.0.1"] });
const loopback = { hostname: "127.0.0.1", port: 0, onListen() {} };

// A port each: what is asked of one host and port is paced together.
const homeservers = Array.from(
  { length: HOMESERVERS },
  () => Deno.serve({ ...loopback, cert: certificate.certificate, key: certificate.privateKey }, answerAsHomeserver),
);

function answerAsHomeserver({ url, method, body }: Request): Response {
  if (method === "GET") {
    const token = new URL(url).searchParams.get("access_token");
    if (token !== null) return new Response(JSON.stringify({ sub: token }), JSON_TYPE);
    return new Response('{"versions":["v1.12"],"unstable_features":{"org.matrix.msc4140":true}}', JSON_TYPE);
  }
  void body?.cancel();
  const [, service, delayId] = RESTART.exec(url) ?? [];
  if (service === undefined || delayId === undefined) others++;
  else restarted(service, delayId);
  return new Response("{}", JSON_TYPE);
}

const sfu = Deno.serve(loopback, async (request) => {
  const body = await request.bytes();
  const method = request.url.slice(request.url.lastIndexOf("/") + 1);
  if (method === "CreateRoom") return protobuf(new Room({ numParticipants: 1 }));
  if (method === "ListParticipants") {
    const { room } = ListParticipantsRequest.fromBinary(body);
    listed.add(room);
    const participants = [...rooms.get(room)?.values() ?? []];
    return protobuf(new ListParticipantsResponse({ participants }));
  }
  const { room, identity } = RoomParticipantIdentity.fromBinary(body);
  const found = rooms.get(room)?.get(identity);
  if (found === undefined) return new Response(NOT_FOUND, { ...JSON_TYPE, status: 404 });
  return protobuf(found);
});

const control = Deno.serve(loopback, ({ url }) => {
  const query = new URL(url).searchParams;
  if (query.has("people")) {
    populate(Number(query.get("people")));
    delayMs = Number(query.get("delay_ms"));
    restarts.clear();
    listed.clear();
  }
  const { count = 0, late = 0 } = restarts.get(query.get("of") ?? "") ?? {};
  return Response.json({ restarts: count, late, roomsListed: listed.size, others });
});

console.log(JSON.stringify({
  ca: authority.certificate,
  homeserverUrls: homeservers.map(({ addr }) => `https://localhost:${addr.port}`),
  sfuUrl: `ws://127.0.0.1:${sfu.addr.port}`,
  apiKey: "devkey",
  apiSecret: DEVELOPMENT_API_SECRET,
  controlUrl: `http://127.0.0.1:${control.addr.port}/`,
}));
