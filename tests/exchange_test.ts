// The job in its order: who asks, what access, is the room there, then the token. And its deadline.

import assert from "node:assert/strict";
import { mock } from "node:test";
import { exchange, type ExchangeParts, type RequestContext, type TokenRequest } from "../lib/exchange.ts";
import { MatrixError, unauthorized } from "../lib/matrix_error.ts";
import { AccessTokenSigner } from "../lib/livekit/access_token.ts";
import { roomAlias } from "../lib/livekit/identity.ts";
import { Rooms } from "../lib/livekit/rooms.ts";
import { openIdToken, OpenIdVerifier } from "../lib/matrix/openid.ts";
import { parseUserId, type UserId } from "../lib/matrix/server_name.ts";
import { Secret } from "../lib/secret.ts";
import { ManualClock } from "../testing/manual_clock.ts";

const ROOM = roomAlias("!room:example.com", "m.call#ROOM");
const UNHURRIED: RequestContext = { signal: new AbortController().signal, note: () => {} };
const NEVER = () => new Promise<never>(() => {});

const LEGACY: TokenRequest = {
  roomId: "!room:example.com",
  slotId: "m.call#ROOM",
  openIdToken: openIdToken("opaque", "example.com"),
  member: { form: "legacy", deviceId: "DEVICE" },
  delayedLeave: null,
};

const HASHED: TokenRequest = {
  ...LEGACY,
  member: { form: "hashed", userId: "@alice:example.com", deviceId: "DEVICE", memberId: "member-1" },
};

interface Played {
  readonly deps: ExchangeParts;
  /** What was done, in order. */
  readonly steps: string[];
}

function play(changes: Partial<ExchangeParts> = {}): Played {
  const steps: string[] = [];
  const deps: ExchangeParts = {
    policy: {
      livekitUrl: "wss://sfu.example.com//x",
      tokenTtlSeconds: 60,
      canUpdateOwnMetadata: false,
      restrictedCanPublish: true,
    },
    homeservers: { accessOf: (server) => server === "example.com" ? "full" : "restricted" },
    openId: {
      verify: ({ matrixServerName }) => {
        steps.push(`verify ${matrixServerName}`);
        return Promise.resolve({ user: userId(`@alice:${matrixServerName}`), wasKnown: false });
      },
    },
    rooms: {
      ensure: (alias) => {
        steps.push(`ensure ${alias}`);
        return Promise.resolve(true);
      },
    },
    delegations: {
      prepare: (wish) => {
        steps.push(`prepare ${wish.delayId}`);
        return Promise.resolve(() => {
          steps.push(`accept ${wish.delayId}`);
          return Promise.resolve();
        });
      },
    },
    signer: new AccessTokenSigner({ name: "devkey", secret: new Secret("secret") }),
    clock: { now: () => 1_700_000_000_999 },
    ...changes,
  };
  return { deps, steps };
}

function userId(text: string): UserId {
  const user = parseUserId(text);
  assert.ok(user !== null);
  return user;
}

function refuses(promise: Promise<unknown>, status: number, errcode: string): Promise<void> {
  return assert.rejects(promise, (error) => {
    assert.ok(error instanceof MatrixError, `rejected with ${error}`);
    assert.deepEqual([error.status, error.errcode], [status, errcode]);
    return true;
  });
}

Deno.test("a user with full access is verified, then the room is ensured, then the token signed", async () => {
  const { deps, steps } = play();
  const noted: Record<string, unknown> = {};
  const context = { ...UNHURRIED, note: (fields: object) => void Object.assign(noted, fields) };
  const { url, jwt } = await exchange(LEGACY, deps, context);
  assert.equal(url, "wss://sfu.example.com//x");
  assert.deepEqual(steps, ["verify example.com", `ensure ${ROOM}`]);
  const { sub, iat, exp, video } = JSON.parse(atob(jwt.split(".")[1] ?? ""));
  assert.deepEqual([sub, iat, exp], ["@alice:example.com:DEVICE", 1_700_000_000, 1_700_000_060]);
  assert.deepEqual([video.room, video.canUpdateOwnMetadata], [ROOM, false]);
  assert.deepEqual(noted, {
    user: "@alice:example.com",
    access: "full",
    room_id: "!room:example.com",
    room: ROOM,
    identity: "@alice:example.com:DEVICE",
    token_cached: false,
    room_cached: true,
  });
});

Deno.test("a user of another server gets a token and no room", async () => {
  const { deps, steps } = play();
  await exchange({ ...LEGACY, openIdToken: openIdToken("opaque", "example.org") }, deps, UNHURRIED);
  assert.deepEqual(steps, ["verify example.org"]);
});

Deno.test("a restricted user who may not publish can send neither data nor metadata, and the token says so", async () => {
  const policy = { ...play().deps.policy, canUpdateOwnMetadata: true, restrictedCanPublish: false };
  const { deps } = play({ policy });
  const others = { ...LEGACY, openIdToken: openIdToken("opaque", "example.org") };
  assert.deepEqual(await grantOf(others, deps), {
    roomJoin: true,
    room: ROOM,
    canPublish: false,
    canSubscribe: true,
    canUpdateOwnMetadata: false,
    canPublishData: false,
  });
  const full = { roomJoin: true, room: ROOM, canPublish: true, canSubscribe: true, canUpdateOwnMetadata: true };
  assert.deepEqual(await grantOf(LEGACY, deps), full);
});

async function grantOf(request: TokenRequest, deps: ExchangeParts): Promise<unknown> {
  const { jwt } = await exchange(request, deps, UNHURRIED);
  return JSON.parse(atob(jwt.split(".")[1] ?? "")).video;
}

Deno.test("a claim to be somebody else ends before anything is done for it", async () => {
  const { deps, steps } = play();
  const claimed = { ...HASHED, member: { ...HASHED.member, userId: "@bob:example.com" } };
  await refuses(exchange(claimed, deps, UNHURRIED), 401, "M_UNAUTHORIZED");
  assert.deepEqual(steps, ["verify example.com"]);
});

Deno.test("a user who is not verified gets nothing", async () => {
  const { deps, steps } = play({ openId: { verify: () => Promise.reject(unauthorized("no")) } });
  await refuses(exchange(LEGACY, deps, UNHURRIED), 401, "M_UNAUTHORIZED");
  assert.deepEqual(steps, []);
});

Deno.test("without the room there is no token", async () => {
  const failure = new MatrixError(500, "M_UNKNOWN", "Unable to create room on SFU");
  const { deps } = play({ rooms: { ensure: () => Promise.reject(failure) } });
  await refuses(exchange(LEGACY, deps, UNHURRIED), 500, "M_UNKNOWN");
});

Deno.test("a delayed leave is checked before the room is made, and taken charge of after", async () => {
  const { deps, steps } = play();
  await exchange({ ...HASHED, delayedLeave: { delayId: "syd_1", delayMs: 10_000 } }, deps, UNHURRIED);
  assert.deepEqual(steps, ["verify example.com", "prepare syd_1", `ensure ${ROOM}`, "accept syd_1"]);
});

// The steps as they are in the service, over servers that take a request and stay silent.
Deno.test("a homeserver that stays silent is 401 at the deadline, not an error of the service's own", async () => {
  const openId = new OpenIdVerifier({ federation: { get: NEVER }, clock: new ManualClock() });
  const { deps } = play({ openId });
  await atDeadline((signal) => refuses(exchange(LEGACY, deps, { ...UNHURRIED, signal }), 401, "M_UNAUTHORIZED"));
});

Deno.test("an SFU that stays silent is 500 at the deadline, with the contract's text", async () => {
  const rooms = new Rooms({ roomService: { createRoom: NEVER }, clock: new ManualClock() });
  const failure = { status: 500, message: "Unable to create room on SFU" };
  const { deps } = play({ rooms });
  await atDeadline((signal) => assert.rejects(exchange(LEGACY, deps, { ...UNHURRIED, signal }), failure));
});

async function atDeadline(expectation: (signal: AbortSignal) => Promise<void>): Promise<void> {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    let isOver = false;
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error("late")), 10_000);
    const over = expectation(controller.signal).finally(() => isOver = true);
    await turns();
    mock.timers.tick(9999);
    await turns();
    assert.equal(isOver, false, "over before the deadline");
    mock.timers.tick(1);
    await turns();
    assert.equal(isOver, true, "not over at the deadline");
    await over;
  } finally {
    mock.timers.reset();
  }
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await Promise.resolve();
}
