// Nobody is ever taken for somebody else: through the whole exchange, whatever a homeserver says, whatever came before
// and whatever goes on at the same time. Each property is broken by verifiers that a hurried person might have written.

import assert from "node:assert/strict";
import fc from "fast-check";
import { exchange } from "../lib/exchange.ts";
import { parseSfuRequest, parseTokenRequest } from "../lib/http/request_bodies.ts";
import { MatrixError, unauthorized } from "../lib/matrix_error.ts";
import { AccessTokenSigner } from "../lib/livekit/access_token.ts";
import { type Identity, legacyIdentity } from "../lib/livekit/identity.ts";
import { FederationClient } from "../lib/matrix/federation_client.ts";
import { openIdToken, OpenIdVerifier } from "../lib/matrix/openid.ts";
import { parseServerName, parseUserId, type ServerName, serverOf } from "../lib/matrix/server_name.ts";
import { Secret } from "../lib/secret.ts";
import { FakeOutbound, respond, userinfo } from "../testing/fake_outbound.ts";
import { ManualClock } from "../testing/manual_clock.ts";
import { holdsOnlyFor, singleEdit } from "../testing/refutable.ts";
import { anyText } from "../testing/texts.ts";

type Verifier = Pick<OpenIdVerifier, "verify">;
/** Makes a verifier that asks `ask`: the `sub` that a server gives for a token, null for none. */
type MakeVerifier = (ask: (server: string, token: string) => string | null, clock: ManualClock) => Verifier;

const REMEMBERED_MS = 30_000;
const UNHURRIED = new AbortController().signal;

/** Ours: the real verifier and the real federation client, each server at its own name. */
const ours: MakeVerifier = (ask, clock) => {
  const outbound = new FakeOutbound(({ hostHeader, path }) => {
    const token = new URL(path, "https://x").searchParams.get("access_token") ?? "";
    const sub = ask(hostHeader, token);
    return sub === null ? respond(401, '{"errcode":"M_UNKNOWN_TOKEN","error":"unknown"}') : userinfo(sub);
  });
  const discovery = {
    resolve: (name: ServerName) =>
      Promise.resolve({
        targets: [{ secure: true, host: "192.0.2.1", port: 8448, hostHeader: name, tlsName: null, basePath: "" }],
        steps: [],
      }),
  };
  const unhurried = { ...clock, sleep: () => Promise.resolve() };
  const ruleFor = () => "public" as const;
  const federation = new FederationClient({ outbound, discovery, ruleFor, clock: unhurried, random: () => 0.5 });
  return new OpenIdVerifier({ federation, clock });
};

/** A verifier that believes a user ID when `isTrusted` says so. */
function believing(isTrusted: (sub: string, server: string) => boolean): MakeVerifier {
  return (ask) => ({
    verify({ accessToken, matrixServerName }) {
      const user = parseUserId(ask(matrixServerName, accessToken.reveal()) ?? "");
      const isGood = user !== null && isTrusted(user, matrixServerName);
      return isGood ? Promise.resolve({ user, wasKnown: false }) : Promise.reject(unauthorized());
    },
  });
}

/** Our verifier behind a memory of its own. */
function remembering(keyOf: (server: string, token: string) => string, ttlMs: number): MakeVerifier {
  return (ask, clock) => {
    const verifier = ours(ask, clock);
    const memory = new Map<string, { readonly user: ReturnType<Verifier["verify"]>; readonly until: number }>();
    return {
      async verify(token, signal) {
        const key = keyOf(token.matrixServerName, token.accessToken.reveal());
        const held = memory.get(key);
        if (held !== undefined && clock.monotonicNow() < held.until) return await held.user;
        const user = await verifier.verify(token, signal);
        memory.set(key, { user: Promise.resolve(user), until: clock.monotonicNow() + ttlMs });
        return user;
      },
    };
  };
}

/** The user in the LiveKit token of an exchange; null when there is none. */
async function grantedUser(openId: Verifier, server: string, token: string): Promise<string | null> {
  const deps = {
    homeservers: { accessOf: () => "restricted" as const },
    policy: {
      livekitUrl: "wss://sfu.example.com",
      tokenTtlSeconds: 3600,
      canUpdateOwnMetadata: true,
      restrictedCanPublish: true,
    },
    openId,
    rooms: { ensure: () => Promise.resolve(false) },
    delegations: { prepare: () => Promise.resolve(() => Promise.resolve()) },
    signer: new AccessTokenSigner({ name: "devkey", secret: new Secret("secret") }),
    clock: { now: () => 0 },
  };
  const request = {
    roomId: "!room",
    slotId: "m.call#ROOM",
    openIdToken: openIdToken(token, server),
    member: { form: "legacy" as const, deviceId: "" },
    delayedLeave: null,
  };
  try {
    const { jwt } = await exchange(request, deps, { signal: UNHURRIED, note: () => {} });
    const payload = JSON.parse(atob(jwt.split(".")[1] ?? ""));
    return String(payload.sub).slice(0, -1); // the identity is "user:device", without a device
  } catch (error) {
    if (error instanceof MatrixError && error.status !== 500) return null;
    throw error;
  }
}

const serverNames = fc.oneof(
  fc.constantFrom("example.com", "Example.com", "example.com:8448", "sub.example.com", "192.0.2.7", "[2001:db8::1]:1"),
  fc.domain().map((name) => name.slice(0, 200)),
).filter((name) => parseServerName(name) !== null);

// What a server might say about its own user, one step beside it.
function subsNear(server: string): fc.Arbitrary<string> {
  const right = `@alice:${server}`;
  return fc.oneof(
    fc.constant(right),
    singleEdit(right, fc.constantFrom(".", ":", "a", "A", "0", " ", "\0", "-", "@", "é", "\u0430")),
    fc.constantFrom(
      `${right}.`,
      `${right}:8448`,
      `@alice:evil.example:${server}`,
      `@alice:x${server}`,
      `@alice:sub.${server}`,
      `@alice:${server.toUpperCase()}`,
      `@alice:${server.replace(/:\d+$/, "")}`,
      `@alice@${server}`,
      ` ${right}`,
      `${right}\n`,
      "@alice:other.example",
    ),
    anyText(),
  );
}

Deno.test("a grant names a user whose server part is the name asked, byte for byte", async () => {
  const cases = serverNames.chain((server) => fc.tuple(fc.constant(server), subsNear(server)));
  const property = (make: MakeVerifier) =>
    fc.asyncProperty(cases, async ([server, sub]) => {
      const granted = await grantedUser(make(() => sub, new ManualClock()), server, "token");
      const user = parseUserId(sub);
      assert.equal(granted, user !== null && serverOf(user) === server ? sub : null);
    });
  await holdsOnlyFor(property, ours, {
    "any user of any server": believing(() => true),
    "names without regard to case": believing((sub, server) => sub.toLowerCase().endsWith(`:${server.toLowerCase()}`)),
    "the end of the user ID": believing((sub, server) => sub.endsWith(server)),
    "what follows the last colon": believing((sub, server) => sub.slice(sub.lastIndexOf(":") + 1) === server),
    "ports left out": believing((sub, server) => sub.split(":")[1] === server.split(":")[0]),
  });
});

// Names and tokens that run into each other when they are put together.
const SERVERS = ["a.exampl", "a.example", "a.example:1", "b.example"] as const;
const TOKENS = ["t", "et", ":1t", "1t", "e:1t"] as const;

interface Step {
  /** Asked at the same time. */
  readonly asked: readonly (readonly [server: string, token: string])[];
  /** Then this token is somebody else's at this server, or nobody's. */
  readonly change: readonly [server: string, token: string, user: string | null] | null;
  readonly pauseMs: number;
}

const pairs = fc.tuple(fc.constantFrom(...SERVERS), fc.constantFrom(...TOKENS));
const users = fc.constantFrom<(string | null)[]>("x", "y", null);
const changes = fc.tuple(fc.constantFrom(...SERVERS), fc.constantFrom(...TOKENS), users);
const steps: fc.Arbitrary<Step> = fc.record({
  asked: fc.array(pairs, { maxLength: 4 }),
  change: fc.option(changes),
  pauseMs: fc.constantFrom(0, 0, 1000, REMEMBERED_MS - 1, REMEMBERED_MS, 120_000),
});

Deno.test("no memory answers for another server or another token, nor after its time", async () => {
  const property = (make: MakeVerifier) =>
    fc.asyncProperty(fc.array(steps, { maxLength: 25 }), async (steps) => {
      const clock = new ManualClock();
      // Who each token is, by server and token; with the time until which that was true.
      const truth = new Map<string, { user: string | null; to: number }[]>();
      const key = (server: string, token: string) => JSON.stringify([server, token]);
      const historyOf = (server: string, token: string) => {
        const own = `@u${SERVERS.findIndex((one) => one === server)}-${TOKENS.findIndex((one) => one === token)}`;
        const history = truth.get(key(server, token)) ?? [{ user: `${own}:${server}`, to: Infinity }];
        truth.set(key(server, token), history);
        return history;
      };
      const verifier = make((server, token) => historyOf(server, token).at(-1)?.user ?? null, clock);

      for (const { asked, change, pauseMs } of steps) {
        const answers = await Promise.all(
          asked.map(async ([server, token]) => ({ server, token, user: await grantedUser(verifier, server, token) })),
        );
        const now = clock.monotonicNow();
        for (const { server, token, user } of answers) {
          const recent = historyOf(server, token).filter(({ to }) => now - to < REMEMBERED_MS);
          assert.ok(recent.some((one) => one.user === user), `${server} ${token}: ${user}, ${JSON.stringify(recent)}`);
        }
        if (change !== null) {
          const [server, token, user] = change;
          const history = historyOf(server, token);
          const current = history.at(-1);
          if (current !== undefined) current.to = now;
          history.push({ user: user === null ? null : `@${user}:${server}`, to: Infinity });
        }
        clock.advance(pauseMs);
      }
    });
  await holdsOnlyFor(property, ours, {
    "by the token alone": remembering((_server, token) => token, REMEMBERED_MS),
    "by server and token run together": remembering((server, token) => server + token, REMEMBERED_MS),
    "by the host without its port": remembering((server, token) => `${server.split(":")[0]} ${token}`, REMEMBERED_MS),
    "for twice the time": remembering((server, token) => `${server} ${token}`, 2 * REMEMBERED_MS),
  });
});

// Users and devices whose texts run into each other: names, ports and devices of the same few pieces.
const hosts = fc.constantFrom("h", "h.h", "8448", "1.2.3.4", "[::1]");
const ports = fc.constantFrom("", ":8448", ":1", ":65535");
const serversWithPorts = fc.tuple(hosts, ports).map((parts) => parts.join(""));
const userIds = fc.tuple(fc.constantFrom("a", "b", "a/b"), serversWithPorts).map(([local, server]) =>
  `@${local}:${server}`
);
const devicePieces = fc.constantFrom("", "P", ":", "8448", "1", "65535", "99999", "h", "@", "::1");
const devices = fc.array(devicePieces, { maxLength: 4 }).map((pieces) => pieces.join(""));
const participants = fc.tuple(userIds, devices);

/** Gives the legacy identity that a request of a user and device leads to, or is watched under; null = refused. */
type IdentityOf = (user: string, device: string) => Identity | null;

const byParser = (parse: typeof parseSfuRequest, bodyOf: (user: string, device: string) => object): IdentityOf =>
(
  user,
  device,
) => {
  const openid_token = { access_token: "opaque", matrix_server_name: user.slice(user.indexOf(":") + 1) };
  try {
    const { member } = parse(new TextEncoder().encode(JSON.stringify({ openid_token, ...bodyOf(user, device) })));
    return legacyIdentity(user, member.deviceId);
  } catch (error) {
    if (error instanceof MatrixError) return null;
    throw error;
  }
};

const atSfuGet = byParser(parseSfuRequest, (_user, device_id) => ({ room: "!room:h", device_id }));
const atGetToken = byParser(parseTokenRequest, (claimed_user_id, claimed_device_id) => ({
  room_id: "!room:h",
  slot_id: "m.call#ROOM",
  member: { id: "m", claimed_user_id, claimed_device_id },
}));

for (const [route, identityOf] of [["/sfu/get", atSfuGet], ["/get_token", atGetToken]] as const) {
  Deno.test(`no two users or devices that ${route} takes share a legacy identity`, async () => {
    // The second participant is the first one cut elsewhere, wherever the text allows it, or any other.
    const property = (identityOf: IdentityOf) =>
      fc.property(participants, participants, fc.nat({ max: 30 }), ([user, device], other, at) => {
        const whole = `${user}:${device}`;
        const cut = whole.indexOf(":", at);
        const recut = [whole.slice(0, cut), whole.slice(cut + 1)] as const;
        for (const [otherUser, otherDevice] of [other, recut]) {
          if (parseUserId(otherUser) === null || otherUser === user && otherDevice === device) continue;
          const identity = identityOf(user, device);
          if (identity !== null) assert.notEqual(identityOf(otherUser, otherDevice), identity);
        }
      });
    await holdsOnlyFor(property, identityOf, {
      "every device ID": (user, device) => legacyIdentity(user, device),
      "all but device IDs that are a port": (user, device) =>
        /^[0-9]+$/.test(device) ? null : legacyIdentity(user, device),
    });
  });
}
