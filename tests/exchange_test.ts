// The job in its order: who asks, what access, is the room there, then the token. And its deadline.

import assert from "node:assert/strict";
import { mock } from "node:test";
import { exchange, type ExchangeDeps, type TokenRequest } from "../lib/exchange.ts";
import { MatrixError, unauthorised } from "../lib/matrix_error.ts";
import { AccessTokenSigner } from "../lib/livekit/access_token.ts";
import { roomAlias } from "../lib/livekit/identity.ts";
import { Rooms } from "../lib/livekit/rooms.ts";
import { OpenIdVerifier } from "../lib/matrix/openid.ts";
import { parseUserId, type UserId } from "../lib/matrix/server_name.ts";
import { Secret } from "../lib/secret.ts";
import { RecordingLog } from "../testing/recording_log.ts";

const ROOM = roomAlias("!room:example.com", "m.call#ROOM");
const UNHURRIED = new AbortController().signal;
const NEVER = () => new Promise<never>(() => {});

const LEGACY: TokenRequest = {
  roomId: "!room:example.com",
  slotId: "m.call#ROOM",
  openIdToken: { accessToken: new Secret("opaque"), matrixServerName: "example.com" },
  member: { form: "legacy", deviceId: "DEVICE" },
  delayedLeave: null,
};

const HASHED: TokenRequest = {
  ...LEGACY,
  member: { form: "hashed", userId: "@alice:example.com", deviceId: "DEVICE", memberId: "member-1" },
};

interface Played {
  readonly deps: ExchangeDeps;
  /** What was done, in order. */
  readonly steps: string[];
  readonly log: RecordingLog;
}

function play(changes: Partial<ExchangeDeps> = {}): Played {
  const steps: string[] = [];
  const log = new RecordingLog();
  const deps: ExchangeDeps = {
    policy: {
      livekitUrl: "wss://sfu.example.com//x",
      fullAccess: new Set(["example.com"]),
      tokenTtlSeconds: 60,
      canUpdateOwnMetadata: false,
      restrictedCanPublish: true,
    },
    openId: {
      verify: ({ matrixServerName }) => {
        steps.push(`verify ${matrixServerName}`);
        return Promise.resolve(userId(`@alice:${matrixServerName}`));
      },
    },
    rooms: {
      ensure: (alias) => {
        steps.push(`ensure ${alias}`);
        return Promise.resolve();
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
    now: () => 1_700_000_000_999,
    log,
    ...changes,
  };
  return { deps, steps, log };
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
  const { deps, steps, log } = play();
  const { url, jwt } = await exchange(LEGACY, deps, UNHURRIED);
  assert.equal(url, "wss://sfu.example.com//x");
  assert.deepEqual(steps, ["verify example.com", `ensure ${ROOM}`]);
  const { sub, iat, exp, video } = JSON.parse(atob(jwt.split(".")[1] ?? ""));
  assert.deepEqual([sub, iat, exp], ["@alice:example.com:DEVICE", 1_700_000_000, 1_700_000_060]);
  assert.deepEqual([video.room, video.canUpdateOwnMetadata], [ROOM, false]);
  assert.deepEqual(log.of("info").map(({ message, fields }) => [message, fields.access, fields.user]), [
    ["Granted", "full", "@alice:example.com"],
  ]);
  assert.equal(log.text.includes(jwt), false);
  assert.doesNotMatch(log.text, /opaque/);
});

Deno.test("a user of another server gets a token and no room", async () => {
  const { deps, steps, log } = play();
  await exchange(
    { ...LEGACY, openIdToken: { ...LEGACY.openIdToken, matrixServerName: "example.org" } },
    deps,
    UNHURRIED,
  );
  assert.deepEqual(steps, ["verify example.org"]);
  assert.equal(log.of("info")[0]?.fields.access, "restricted");
});

Deno.test("a restricted user who may not publish can send neither data nor metadata, and the token says so", async () => {
  const policy = { ...play().deps.policy, canUpdateOwnMetadata: true, restrictedCanPublish: false };
  const { deps } = play({ policy });
  const openIdToken = { ...LEGACY.openIdToken, matrixServerName: "example.org" };
  assert.deepEqual(await grantOf({ ...LEGACY, openIdToken }, deps), {
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

async function grantOf(request: TokenRequest, deps: ExchangeDeps): Promise<unknown> {
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
  const { deps, steps } = play({ openId: { verify: () => Promise.reject(unauthorised("no")) } });
  await refuses(exchange(LEGACY, deps, UNHURRIED), 401, "M_UNAUTHORIZED");
  assert.deepEqual(steps, []);
});

Deno.test("without the room there is no token", async () => {
  const failure = new MatrixError(500, "M_UNKNOWN", "Unable to create room on SFU");
  const { deps, log } = play({ rooms: { ensure: () => Promise.reject(failure) } });
  await refuses(exchange(LEGACY, deps, UNHURRIED), 500, "M_UNKNOWN");
  assert.deepEqual(log.of("info"), []);
});

Deno.test("a delayed leave is checked before the room is made, and taken charge of after", async () => {
  const { deps, steps } = play();
  await exchange({ ...HASHED, delayedLeave: { delayId: "syd_1", delayMs: 10_000 } }, deps, UNHURRIED);
  assert.deepEqual(steps, ["verify example.com", "prepare syd_1", `ensure ${ROOM}`, "accept syd_1"]);
});

// The steps as they are in the service, over servers that take a request and stay silent.
Deno.test("a homeserver that stays silent is 401 at the deadline, not an error of the service's own", async () => {
  const log = new RecordingLog();
  const openId = new OpenIdVerifier({ federation: { get: NEVER }, monotonicNow: () => 0, log });
  await atDeadline((signal) => refuses(exchange(LEGACY, play({ openId }).deps, signal), 401, "M_UNAUTHORIZED"));
});

Deno.test("an SFU that stays silent is 500 at the deadline, with the contract's text", async () => {
  const log = new RecordingLog();
  const rooms = new Rooms({ roomService: { createRoom: NEVER }, monotonicNow: () => 0, log });
  const failure = { status: 500, message: "Unable to create room on SFU" };
  await atDeadline((signal) => assert.rejects(exchange(LEGACY, play({ rooms }).deps, signal), failure));
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
