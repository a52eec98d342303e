// Whose token is it? What a homeserver's answer is worth, what is remembered of it, and what the log tells.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import type { FederationOutcome } from "../../lib/matrix/federation_client.ts";
import { OpenIdVerifier } from "../../lib/matrix/openid.ts";
import { respond } from "../../testing/fake_outbound.ts";
import { RecordingLog } from "../../testing/recording_log.ts";
import { ManualClock } from "../../testing/manual_clock.ts";
import { Secret } from "../../lib/secret.ts";
import { holdsOnlyFor, singleEdit } from "../../testing/refutable.ts";
import { localpart, oddCharacter, serverName } from "./names.ts";

type Ask = (server: string, token: string, signal: AbortSignal) => Promise<FederationOutcome>;

const TOKEN = "secret+token/=&";
const never = new AbortController().signal;

/** A verifier over a federation that answers as the test says. */
class Fixture {
  readonly clock = new ManualClock();
  readonly log = new RecordingLog();
  readonly verifier: OpenIdVerifier;
  /** Servers that were said to have vouched. */
  readonly vouched: string[] = [];
  asked = 0;

  constructor(ask: Ask) {
    this.verifier = new OpenIdVerifier({
      onVerified: (server) => this.vouched.push(server),
      federation: {
        get: (server, path, signal) => {
          this.asked++;
          const token = new URL(path, "https://x").searchParams.get("access_token") ?? "";
          return ask(server, token, signal);
        },
      },
      monotonicNow: this.clock.monotonicNow,
      log: this.log,
    });
  }

  verify(matrixServerName = "example.com", token = TOKEN, signal = never): Promise<string> {
    return this.verifier.verify({ accessToken: new Secret(token), matrixServerName }, signal);
  }
}

function answer(status: number, body: string | Uint8Array): FederationOutcome {
  return { outcome: "answer", response: respond(status, body), story: ["as scripted"] };
}

function vouch(sub: unknown): FederationOutcome {
  return answer(200, JSON.stringify({ sub }));
}

const REFUSED = { status: 401, errcode: "M_UNAUTHORIZED", message: "The request could not be authorised." };

const GOOD_SUBS: [server: string, sub: string][] = [
  ["example.com", "@alice:example.com"],
  ["localhost:8448", "@alice:localhost:8448"],
  ["[::1]:8448", "@alice:[::1]:8448"],
  ["Example.com", "@alice:Example.com"],
  ["example.com", "@jürgen:example.com"],
  ["example.com", `@${"a".repeat(242)}:example.com`],
];

for (const [server, sub] of GOOD_SUBS) {
  Deno.test(`${server} may vouch for ${sub.slice(0, 40)}`, async () => {
    const fixture = new Fixture(() => Promise.resolve(vouch(sub)));
    assert.equal(await fixture.verify(server), sub);
    assert.deepEqual(fixture.vouched, [server]);
  });
}

const BAD_SUBS: [server: string, sub: unknown][] = [
  ["example.com", "@alice:other.example"],
  ["example.com", "@alice:evil.example.com"],
  ["example.com", "@alice:evil-example.com"],
  ["example.com", "@a:evil:example.com"],
  ["example.com", "@alice:example.com:8448"],
  ["example.com:8448", "@alice:example.com"],
  ["example.com:8448", "@alice:example.com:08448"],
  ["example.com", "@alice:EXAMPLE.com"],
  ["Example.com", "@alice:example.com"],
  ["example.com", "@alice:example.com."],
  ["example.com.", "@alice:example.com"],
  ["example.com", "@alice:example.co"],
  ["example.com", "@alice:example.comm"],
  ["example.com", "@:example.com"],
  ["example.com", ":example.com"],
  ["example.com", "alice:example.com"],
  ["example.com", "example.com"],
  ["example.com", "@alice"],
  ["example.com", ""],
  ["example.com", " @alice:example.com"],
  ["example.com", "@alice:example.com\n"],
  ["example.com", "@al\nice:example.com"],
  ["example.com", "@al\0ice:example.com"],
  ["example.com", "@al\u0085ice:example.com"],
  ["example.com", "@al\ud800ice:example.com"],
  ["example.com", `@${"a".repeat(244)}:example.com`],
  ["example.com", `@${"é".repeat(122)}:example.com`],
  ["[::1]", "@alice:[::1]:8448"],
  ["[::1]", "@alice:[0:0:0:0:0:0:0:1]"],
  ["example.com", null],
  ["example.com", 7],
  ["example.com", ["@alice:example.com"]],
  ["example.com", { toString: "@alice:example.com" }],
];

for (const [server, sub] of BAD_SUBS) {
  Deno.test(`${server} may not vouch for ${JSON.stringify(sub).slice(0, 50)}`, async () => {
    const fixture = new Fixture(() => Promise.resolve(vouch(sub)));
    await assert.rejects(fixture.verify(server), REFUSED);
    assert.equal(fixture.log.of("warning").length, 1);
  });
}

const BAD_ANSWERS: [what: string, outcome: FederationOutcome, lastStep: string][] = [
  ["401", answer(401, '{"errcode":"M_UNKNOWN_TOKEN"}'), "userinfo refused with M_UNKNOWN_TOKEN"],
  ["401 without a body", answer(401, ""), "userinfo refused with no Matrix error code"],
  ["an error code that is none", answer(403, '{"errcode":"a\\nb"}'), "userinfo refused with no Matrix error code"],
  ["a redirect", answer(302, '{"sub":"@a:example.com"}'), "userinfo refused with no Matrix error code"],
  ["201", answer(201, '{"sub":"@a:example.com"}'), "userinfo refused with no Matrix error code"],
  ["500", answer(500, "oops"), "userinfo refused with no Matrix error code"],
  ["no JSON", answer(200, "<html>"), 'userinfo has no text "sub"'],
  ["invalid UTF-8", answer(200, Buffer.from('{"sub":"@\xff:example.com"}', "latin1")), 'userinfo has no text "sub"'],
  ["a list", answer(200, '["@a:example.com"]'), 'userinfo has no text "sub"'],
  ["null", answer(200, "null"), 'userinfo has no text "sub"'],
  ["no sub", answer(200, '{"user":"@a:example.com"}'), 'userinfo has no text "sub"'],
  [
    "no answer",
    { outcome: "no-answer", story: ["as scripted", "it broke"], blocked: false, remembered: false },
    "it broke",
  ],
];

for (const [what, outcome, lastStep] of BAD_ANSWERS) {
  Deno.test(`${what} is a 401, and one record tells why without the token`, async () => {
    const fixture = new Fixture(() => Promise.resolve(outcome));
    await assert.rejects(fixture.verify(), REFUSED);
    assert.deepEqual(fixture.vouched, []);
    assert.equal(fixture.log.entries.length, 1);
    const [entry] = fixture.log.of("warning");
    assert.equal(entry?.message, "Cannot verify an OpenID token");
    assert.equal(entry?.fields["server"], "example.com");
    const steps = entry?.fields["steps"];
    assert.ok(Array.isArray(steps));
    assert.deepEqual([steps[0], steps.at(-1)], ["as scripted", lastStep]);
    assert.ok(!fixture.log.text.includes("secret"));
  });
}

Deno.test("a name that is no server name is a 401 without asking anybody", async () => {
  const fixture = new Fixture(() => Promise.resolve(vouch("@a:b")));
  for (const server of ["", "a/b", "@alice:example.com", "x".repeat(5000)]) {
    await assert.rejects(fixture.verify(server), REFUSED);
  }
  assert.equal(fixture.asked, 0);
});

Deno.test("a blocked server is logged once a minute with the way to allow it, and is a 401 each time", async () => {
  const fixture = new Fixture(() =>
    Promise.resolve({ outcome: "no-answer", story: ["refused"], blocked: true, remembered: false })
  );
  const knock = () => assert.rejects(fixture.verify("lan.example"), REFUSED);
  await knock();
  await knock();
  await assert.rejects(fixture.verify("other.example"), REFUSED);
  assert.deepEqual(fixture.log.written.map(({ level, fields }) => [level, fields.server, fields.steps]), [
    ["warning", "lan.example", ["refused"]],
    ["warning", "other.example", ["refused"]],
  ]);
  const [entry] = fixture.log.written;
  assert.match(entry?.message ?? "", /LIVEKIT_FULL_ACCESS_HOMESERVERS.*LIVEKIT_FEDERATION_ALLOW_NETWORKS/);
});

Deno.test("a verified token is remembered for 30 s", async () => {
  const fixture = new Fixture(() => Promise.resolve(vouch("@alice:example.com")));
  await fixture.verify();
  fixture.clock.advance(29_999);
  await fixture.verify();
  assert.equal(fixture.asked, 1);
  fixture.clock.advance(1);
  await fixture.verify();
  assert.equal(fixture.asked, 2);
});

Deno.test("a refusal is not remembered", async () => {
  const outcomes = [answer(401, "{}"), vouch("@mallory:other.example"), vouch("@alice:example.com")];
  const fixture = new Fixture(() => Promise.resolve(outcomes.shift() ?? answer(500, "")));
  await assert.rejects(fixture.verify(), REFUSED);
  await assert.rejects(fixture.verify(), REFUSED);
  assert.equal(await fixture.verify(), "@alice:example.com");
  assert.equal(await fixture.verify(), "@alice:example.com");
  assert.equal(fixture.asked, 3);
});

Deno.test("200 callers with one token at once cost one look-up, and share its refusal too", async () => {
  for (
    const [outcome, status] of [[vouch("@alice:example.com"), "fulfilled"], [answer(401, "{}"), "rejected"]] as const
  ) {
    const fixture = new Fixture(() => Promise.resolve(outcome));
    const settled = await Promise.allSettled(Array.from({ length: 200 }, () => fixture.verify()));
    assert.deepEqual(new Set(settled.map((result) => result.status)), new Set([status]));
    assert.equal(fixture.asked, 1);
    assert.equal(fixture.log.entries.length, status === "rejected" ? 1 : 0);
  }
});

Deno.test("a caller whose time is over leaves with a 401; the look-up goes on for the others", async () => {
  const outcome = Promise.withResolvers<FederationOutcome>();
  const fixture = new Fixture(() => outcome.promise);
  const controller = new AbortController();
  const impatient = fixture.verify("example.com", TOKEN, controller.signal);
  const patient = fixture.verify();
  controller.abort(new Error("over"));
  await assert.rejects(impatient, REFUSED);
  outcome.resolve(vouch("@alice:example.com"));
  assert.equal(await patient, "@alice:example.com");
  assert.equal(fixture.asked, 1);
});

type Accepts = (server: string, sub: string) => Promise<boolean> | boolean;

async function weAccept(server: string, sub: string): Promise<boolean> {
  const fixture = new Fixture(() => Promise.resolve(vouch(sub)));
  return await fixture.verify(server).then(() => true, () => false);
}

Deno.test("a server vouches for its own users and for nobody else", async () => {
  const pairs = fc.tuple(serverName, localpart).chain(([{ text: server }, local]) => {
    const own = `@${local}:${server}`;
    const subs = fc.oneof(
      fc.constant(own),
      singleEdit(own, oddCharacter),
      serverName.map(({ text }) => `@${local}:${text}`),
      serverName.map(({ text }) => `@${local}:${text}:${server}`),
      fc.constantFrom(`@${local}:evil.${server}`, `@${local}:evil-${server}`, `@${local}:${server}.evil`),
    );
    return subs.map((sub) => ({ server, sub }));
  });
  const isOwn = ({ server, sub }: { server: string; sub: string }) => {
    const local = sub.slice(1, -server.length - 1);
    return sub === `@${local}:${server}` && local !== "" && !local.includes(":") && !/\p{Cc}/u.test(sub) &&
      sub.isWellFormed() && new TextEncoder().encode(sub).length <= 255;
  };
  const property = (accepts: Accepts) =>
    fc.asyncProperty(pairs, async (pair) => assert.equal(await accepts(pair.server, pair.sub), isOwn(pair)));

  await holdsOnlyFor<Accepts>(property, weAccept, {
    "compared by the end": (server, sub) => sub.startsWith("@") && sub.endsWith(server),
    "compared by the end with a colon": (server, sub) => sub.startsWith("@") && sub.endsWith(`:${server}`),
    "compared without case": (server, sub) => weAccept(server.toLowerCase(), sub.toLowerCase()),
    "split at the last colon": (server, sub) => weAccept(server, `@a:${sub.slice(sub.lastIndexOf(":") + 1)}`),
    "host names compared, ports not": (server, sub) => weAccept(server.replace(/:\d+$/, ""), sub.replace(/:\d+$/, "")),
    "the localpart not looked at": (server, sub) => sub.slice(sub.indexOf(":") + 1) === server,
  });
});

/** Verifies a token and gives the user. */
type Verify = (server: string, token: string) => Promise<string>;

Deno.test("what is remembered never answers for another pair of server and token", async () => {
  // Each pair has a user of its own, so that an answer from the wrong entry shows.
  const userOf = (server: string, token: string) => `@${btoa(token).replaceAll("=", "")}-${server.length}:${server}`;
  const look: Ask = (server, token) => Promise.resolve(vouch(userOf(server, token)));

  // Pairs that run together to the same text, and near misses.
  const pairs = fc.tuple(fc.string({ unit: fc.constantFrom(..."abA1."), minLength: 2, maxLength: 6 }), fc.nat())
    .chain(([text, at]) => {
      const cut = 1 + at % (text.length - 1);
      const pair = { server: text.slice(0, cut), token: text.slice(cut) };
      return fc.oneof(
        fc.constant(pair),
        singleEdit(pair.token, fc.constantFrom("a", "1")).map((token) => ({ ...pair, token: token || "x" })),
        singleEdit(pair.server, fc.constantFrom("a", "1")).map((server) => ({ ...pair, server: server || "x" })),
      );
    });
  const property = (createVerify: () => Verify) =>
    fc.asyncProperty(fc.array(pairs, { minLength: 2, maxLength: 12 }), async (sequence) => {
      const verify = createVerify();
      for (const { server, token } of sequence) assert.equal(await verify(server, token), userOf(server, token));
    });
  const rememberingBy = (keyOf: (server: string, token: string) => string) => (): Verify => {
    const cache = new Map<string, string>();
    return (server, token) => {
      const key = keyOf(server, token);
      const user = cache.get(key) ?? userOf(server, token);
      cache.set(key, user);
      return Promise.resolve(user);
    };
  };

  await holdsOnlyFor(property, () => {
    const fixture = new Fixture(look);
    return (server, token) => fixture.verify(server, token);
  }, {
    "by the token alone": rememberingBy((_, token) => token),
    "by the server alone": rememberingBy((server) => server),
    "by both run together": rememberingBy((server, token) => server + token),
    "by both with a dot between": rememberingBy((server, token) => `${server}.${token}`),
    "without regard to case": rememberingBy((server, token) => `${server} ${token}`.toLowerCase()),
  });
});

Deno.test("what is told from memory is a 401 without another record", async () => {
  const outcome = { outcome: "no-answer", story: ["away"], blocked: false, remembered: true } as const;
  const fixture = new Fixture(() => Promise.resolve(outcome));
  await assert.rejects(fixture.verify(), REFUSED);
  assert.deepEqual(fixture.log.entries, []);
});
