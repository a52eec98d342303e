// CreateRoom as the SFU sees it, over real HTTP on loopback, and what each way to fail is called.

import { freePort } from "../../testing/service_process.ts";
import assert from "node:assert/strict";
import { CreateRoomRequest, Room } from "@livekit/protocol";
import { TokenVerifier } from "livekit-server-sdk";
import { CertificateAuthority } from "../../testing/certificates.ts";
import { AccessTokenSigner } from "../../lib/livekit/access_token.ts";
import { parseRoomAlias, type RoomAlias, roomAlias } from "../../lib/livekit/identity.ts";
import { createRoomMessage, RoomService } from "../../lib/livekit/room_service.ts";
import { ADVICE, SfuError, type SfuFailure } from "../../lib/livekit/sfu_error.ts";
import { AddressGuard } from "../../lib/net/address_guard.ts";
import { OutboundClient } from "../../lib/net/client.ts";
import { systemClock } from "../../lib/platform.ts";
import { Secret } from "../../lib/secret.ts";

const SECRET = "a secret of at least 32 characters";
const ALIAS = roomAlias("!room:example.com", "m.call#ROOM");

// A room service on top of the real outbound client.
function connect(apiUrl: string) {
  const guard = new AddressGuard([]);
  const missing = Object.assign(new Error("getaddrinfo ENOTFOUND sfu.test"), { code: "ENOTFOUND" });
  const resolveHost = (name: string) => name === "sfu.test" ? Promise.reject(missing) : Promise.resolve(["127.0.0.1"]);
  const outbound = new OutboundClient({ guard, verifyTls: true, clock: systemClock, userAgent: "test", resolveHost });
  const pauses: number[] = [];
  const service = new RoomService({
    apiUrl: new URL(apiUrl),
    outbound,
    signer: new AccessTokenSigner({ name: "devkey", secret: new Secret(SECRET) }),
    clock: {
      ...systemClock,
      sleep: (durationMs) => {
        pauses.push(durationMs);
        return Promise.resolve();
      },
    },
  });
  return {
    pauses,
    createRoom: (signal = AbortSignal.timeout(5000)) => service.createRoom(ALIAS, signal),
    [Symbol.dispose]: () => outbound.close(),
  };
}

interface Seen {
  readonly method: string;
  readonly path: string;
  readonly headers: Headers;
  readonly body: Uint8Array;
}

interface PlayedSfu extends AsyncDisposable {
  readonly url: string;
  readonly seen: Seen[];
}

// An SFU that answers as told, and keeps what it was asked.
function playSfu(answer: (request: Request, count: number) => Response | Promise<Response>): PlayedSfu {
  const seen: Seen[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const headers = new Headers(request.headers); // a copy: the request's own are gone with it
    seen.push({ method: request.method, path: new URL(request.url).pathname, headers, body: await request.bytes() });
    return await answer(request, seen.length);
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    seen,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

function room(fields: ConstructorParameters<typeof Room>[0], headers: HeadersInit = {}): Response {
  return new Response(new Room(fields).toBinary().slice(), { headers });
}

const NAMES: readonly (RoomAlias | null)[] = [
  ALIAS,
  roomAlias("!other:example.com", "m.call#ROOM"),
  ...["short", "x".repeat(42), "x".repeat(44), "x".repeat(256), `${"x".repeat(41)}é`, "é".repeat(43)].map(
    parseRoomAlias,
  ),
];

for (const name of NAMES) {
  Deno.test(`the message that creates ${name} is what the library encodes`, () => {
    assert.ok(name !== null);
    const wanted = { name, emptyTimeout: 300, departureTimeout: 20, maxParticipants: 0 };
    assert.deepEqual(createRoomMessage(name), new CreateRoomRequest(wanted).toBinary());
  });
}

Deno.test("CreateRoom goes below the URL's path prefix, as protobuf, with the times calls have always had", async () => {
  await using sfu = playSfu(() => room({ name: ALIAS }));
  for (const prefix of ["", "/", "/livekit/sfu", "/livekit/sfu/"]) {
    using client = connect(`${sfu.url}${prefix}`);
    await client.createRoom();
    const last = sfu.seen.at(-1);
    assert.ok(last);

    assert.equal(
      last.path,
      `${prefix.replace(/\/$/, "")}/twirp/livekit.RoomService/CreateRoom`,
    );
    assert.equal(last.method, "POST");
    assert.equal(last.headers.get("content-type"), "application/protobuf");
    assert.deepEqual(
      CreateRoomRequest.fromBinary(last.body),
      new CreateRoomRequest({ name: ALIAS, emptyTimeout: 300, departureTimeout: 20, maxParticipants: 0 }),
    );
  }
});

Deno.test("the service's own token grants the creation of rooms and nothing else", async () => {
  await using sfu = playSfu(() => room({ name: ALIAS }));
  using client = connect(sfu.url);
  await client.createRoom();
  const [scheme, jwt] = sfu.seen[0]?.headers.get("authorization")?.split(" ") ?? [];
  assert.equal(scheme, "Bearer");
  const claims = await new TokenVerifier("devkey", SECRET).verify(jwt ?? "");
  assert.deepEqual(claims.video, { roomCreate: true });
  assert.equal(claims.sub, undefined);
});

for (const [date, ageMs] of [["Tue, 14 Nov 2023 22:13:20 GMT", 0], ["Tue, 14 Nov 2023 22:13:25 GMT", 5000]] as const) {
  Deno.test(`the age of a room is reckoned by the SFU's own clock, whatever ours says: ${ageMs} ms`, async () => {
    await using sfu = playSfu(() => room({ name: ALIAS, creationTime: 1_700_000_000n, numParticipants: 3 }, { date }));
    using client = connect(sfu.url);
    assert.deepEqual(await client.createRoom(), { participants: 3, ageMs });
  });
}

interface Failure {
  readonly what: string;
  readonly answer: (request: Request) => Response;
  readonly failure: SfuFailure;
  readonly attempts: number;
}

const repeatTheToken = (request: Request) =>
  new Response(`invalid token: ${request.headers.get("authorization")}`, { status: 401 });
const twirp = (status: number, code: string) => () => Response.json({ code, msg: "played" }, { status });
const html = (status: number) => () =>
  new Response("<html>proxy</html>", { status, headers: { "content-type": "text/html" } });
/** An SFU whose clock differs from ours by so much. */
const refusedAt = (seconds: number) => () => {
  const date = new Date(Date.now() + seconds * 1000).toUTCString();
  return new Response("invalid token: token is expired (exp)", { status: 401, headers: { date } });
};
const BY_PROXY = { failure: "proxy", attempts: 1 } as const;

const FAILURES: readonly Failure[] = [
  { what: "401 that repeats the whole token", answer: repeatTheToken, failure: "key-mismatch", attempts: 1 },
  { what: "401 of a clock that is 5 minutes behind", answer: refusedAt(-300), failure: "clock-skew", attempts: 1 },
  { what: "401 of a clock that is 20 minutes ahead", answer: refusedAt(1200), failure: "clock-skew", attempts: 1 },
  { what: "401 of a clock that is 50 s behind", answer: refusedAt(-50), failure: "key-mismatch", attempts: 1 },
  { what: "401 of a clock that is 10 minutes ahead", answer: refusedAt(600), failure: "key-mismatch", attempts: 1 },
  { what: "401 in Twirp's form, of a token lost on its way", answer: twirp(401, "unauthenticated"), ...BY_PROXY },
  { what: "401 of a proxy", answer: html(401), ...BY_PROXY },
  { what: "403 of a proxy", answer: html(403), ...BY_PROXY },
  { what: "403 without a type", answer: () => new Response(null, { status: 403 }), ...BY_PROXY },
  { what: "403 in Twirp's form", answer: twirp(403, "permission_denied"), failure: "refused", attempts: 1 },
  { what: "404 bad_route", answer: twirp(404, "bad_route"), failure: "wrong-path", attempts: 1 },
  { what: "404 of a proxy", answer: html(404), failure: "wrong-path", attempts: 1 },
  {
    what: "308",
    answer: () => new Response(null, { status: 308, headers: { location: "https://sfu.test/" } }),
    failure: "proxy",
    attempts: 1,
  },
  { what: "204", answer: () => new Response(null, { status: 204 }), failure: "proxy", attempts: 1 },
  { what: "405", answer: html(405), failure: "proxy", attempts: 1 },
  { what: "200 that is no protobuf", answer: html(200), failure: "proxy", attempts: 1 },
  { what: "200 with nothing in it", answer: () => new Response(), ...BY_PROXY },
  {
    what: "200 longer than a megabyte",
    answer: () => new Response("x".repeat(1_100_000)),
    failure: "proxy",
    attempts: 1,
  },
  { what: "400 invalid_argument", answer: twirp(400, "invalid_argument"), failure: "refused", attempts: 1 },
  { what: "429", answer: html(429), failure: "server-error", attempts: 2 },
  { what: "500", answer: twirp(500, "internal"), failure: "server-error", attempts: 2 },
  { what: "502 of a proxy", answer: html(502), failure: "server-error", attempts: 2 },
  { what: "503", answer: html(503), failure: "server-error", attempts: 2 },
];

for (const { what, answer, failure, attempts } of FAILURES) {
  Deno.test(`${what} is called ${failure}, after ${attempts} attempt(s), and no text holds the token`, async () => {
    await using sfu = playSfu(answer);
    using client = connect(`${sfu.url.replace("//", "//user:hunter2@")}/prefix?token=hunter2`);
    const error = await failed(client.createRoom());
    assert.equal(error.failure, failure);
    // Where it was asked, and what to do about it.
    const url = `${sfu.url}/prefix/twirp/livekit.RoomService/CreateRoom`;
    assert.ok(error.message.startsWith(`${url}: `), error.message);
    assert.ok(error.message.endsWith(`: ${ADVICE[failure]}`), error.message);
    assert.equal(sfu.seen.length, attempts);
    assert.equal(client.pauses.length, attempts - 1);
    const jwt = sfu.seen[0]?.headers.get("authorization")?.split(" ")[1];
    assert.ok(jwt !== undefined && jwt.length > 50);
    for (const text of [error.message, String(error.stack), Deno.inspect(error)]) {
      assert.equal(text.includes(jwt), false);
      assert.doesNotMatch(text, /eyJ|hunter2/);
    }
  });
}

Deno.test("a fault that passes is not seen by anybody", async () => {
  await using sfu = playSfu((_, count) => count === 1 ? new Response(null, { status: 503 }) : room({ name: ALIAS }));
  using client = connect(sfu.url);
  await client.createRoom();
  assert.deepEqual([sfu.seen.length, client.pauses], [2, [200]]);
});

Deno.test("a name that does not resolve is called dns", async () => {
  using client = connect("http://sfu.test:7880");
  assert.equal((await failed(client.createRoom())).failure, "dns");
});

Deno.test("a port where nobody listens is called connect, after a second attempt", async () => {
  using client = connect(`http://127.0.0.1:${freePort()}`);
  const error = await failed(client.createRoom());
  assert.equal(error.failure, "connect");
  assert.equal(client.pauses.length, 1);
});

Deno.test("a connection that is closed without an answer is called connect, after a second attempt", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepting = (async () => {
    for await (const connection of listener) connection.close();
  })();
  using client = connect(`http://127.0.0.1:${listener.addr.port}`);
  assert.equal((await failed(client.createRoom())).failure, "connect");
  assert.equal(client.pauses.length, 1);
  listener.close();
  await accepting;
});

Deno.test("a certificate that nobody vouches for is called tls, and no token is sent", async () => {
  const authority = await CertificateAuthority.create();
  const { certificate, privateKey } = await authority.issue({ addresses: ["127.0.0.1"] });
  let requests = 0;
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, cert: certificate, key: privateKey, onListen() {} },
    () => {
      requests++;
      return room({ name: ALIAS });
    },
  );
  using client = connect(`https://127.0.0.1:${server.addr.port}`);
  assert.equal((await failed(client.createRoom())).failure, "tls");
  assert.equal(requests, 0);
});

Deno.test("an SFU that stays silent is called timeout, without a second attempt", async () => {
  const gate = Promise.withResolvers<Response>();
  await using sfu = playSfu(() => gate.promise);
  using client = connect(sfu.url);
  const error = await failed(client.createRoom(AbortSignal.timeout(100)));
  assert.deepEqual([error.failure, sfu.seen.length], ["timeout", 1]);
  gate.resolve(new Response());
});

async function failed(promise: Promise<unknown>): Promise<SfuError> {
  const error = await promise.then(() => null, (error: unknown) => error);
  assert.ok(error instanceof SfuError, `expected an SfuError, got ${error}`);
  return error;
}
