// Whose token is it? What a homeserver's answer is worth, what is remembered of it, and what the log tells.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import type { FederationOutcome } from "../../lib/matrix/federation_client.ts";
import { MatrixError } from "../../lib/matrix_error.ts";
import { openIdToken, OpenIdVerifier } from "../../lib/matrix/openid.ts";
import { respond } from "../../testing/fake_outbound.ts";
import { ManualClock } from "../../testing/manual_clock.ts";
import { holdsOnlyFor, singleEdit } from "../../testing/refutable.ts";
import { localpart, oddCharacter, serverName } from "./names.ts";

type Ask = (server: string, token: string, signal: AbortSignal) => Promise<FederationOutcome>;

const TOKEN = "secret+token/=&";
const never = new AbortController().signal;

/** A verifier over a federation that answers as the test says. */
class Fixture {
  readonly clock = new ManualClock();
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
      clock: this.clock,
    });
  }

  async verify(matrixServerName = "example.com", token = TOKEN, signal = never): Promise<string> {
    return (await this.verifier.verify(openIdToken(token, matrixServerName), signal)).user;
  }

  /** What a log would have of a refusal. */
  async refusal(server = "example.com"): Promise<MatrixError> {
    const error = await this.verify(server).then(() => null, (error) => error);
    assert.ok(error instanceof MatrixError);
    assert.deepEqual([error.status, error.errcode, error.message], [
      REFUSED.status,
      REFUSED.errcode,
      REFUSED.message,
    ]);
    assert.ok(!Deno.inspect([error.cause, error.details]).includes("secret"));
    return error;
  }
}

function answer(status: number, body: string | Uint8Array): FederationOutcome {
  return { outcome: "answer", response: respond(status, body), steps: ["as scripted"] };
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
    assert.deepEqual(fixture.vouched, []);
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
    { outcome: "no-answer", steps: ["as scripted", "it broke"], failure: "reset" },
    "it broke",
  ],
];

for (const [what, outcome, lastStep] of BAD_ANSWERS) {
  Deno.test(`${what} is a 401 whose steps tell why, without the token`, async () => {
    const fixture = new Fixture(() => Promise.resolve(outcome));
    const { cause, details } = await fixture.refusal();
    assert.deepEqual(fixture.vouched, []);
    assert.equal(details.summary, "Cannot verify an OpenID token");
    const steps = details.fields?.steps;
    assert.ok(Array.isArray(steps));
    assert.deepEqual([steps[0], steps.at(-1), cause], ["as scripted", lastStep, lastStep]);
  });
}

Deno.test("a name that is no server name is a 401 without asking anybody", async () => {
  const fixture = new Fixture(() => Promise.resolve(vouch("@a:b")));
  for (const server of ["", "a/b", "@alice:example.com", "x".repeat(5000)]) {
    await assert.rejects(fixture.verify(server), REFUSED);
  }
  assert.equal(fixture.asked, 0);
});

const ADVICE: readonly (readonly [what: string, outcome: FederationOutcome, advice: RegExp])[] = [
  ...([
    ["blocked", /LIVEKIT_FULL_ACCESS_HOMESERVERS.*LIVEKIT_FEDERATION_ALLOW_NETWORKS/],
    ["dns", /does not resolve/],
    ["connect", /LIVEKIT_FEDERATION_URL_OVERRIDES/],
    ["tls", /LIVEKIT_EXTRA_CA_FILE/],
    ["reset", /broke the connection off/],
    ["timeout", /in time/],
    ["too-large", /larger/],
    ["protocol", /HTTP/],
  ] as const).map(([failure, advice]) =>
    [failure, { outcome: "no-answer", failure, steps: ["as scripted"] }, advice] as const
  ),
  ["401", answer(401, '{"errcode":"M_UNKNOWN_TOKEN"}'), /unknown to it or has expired/],
  ["403", answer(403, ""), /allow federation/],
  ["404", answer(404, ""), /listener resource "federation" or "openid"/],
  ["429", answer(429, ""), /limits how often/],
  ["502", answer(502, ""), /out of order/],
  ["308", answer(308, ""), /redirects/],
  ["a page", answer(200, "<html>"), /something else/],
];

for (const [what, outcome, advice] of ADVICE) {
  Deno.test(`the advice for ${what} fits it`, async () => {
    const { details } = await new Fixture(() => Promise.resolve(outcome)).refusal("lan.example");
    assert.match(String(details.fields?.advice), advice);
  });
}

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

Deno.test("a server that was not asked again is a 401 without advice: the log had it a moment ago", async () => {
  const fixture = new Fixture(() => Promise.resolve({ outcome: "not-asked", steps: ["not asked", "away"] }));
  const { cause, details } = await fixture.refusal();
  assert.deepEqual([cause, details.fields], ["away", { steps: ["not asked", "away"] }]);
});

Deno.test("who is known from another request says so", async () => {
  const fixture = new Fixture(() => Promise.resolve(vouch("@alice:example.com")));
  const token = openIdToken(TOKEN, "example.com");
  const known = await Promise.all([1, 2].map(() => fixture.verifier.verify(token, never)));
  known.push(await fixture.verifier.verify(token, never));
  assert.deepEqual(known.map(({ wasKnown }) => wasKnown), [false, true, true]);
});
