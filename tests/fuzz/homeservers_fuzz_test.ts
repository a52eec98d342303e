// What homeservers and their name servers may answer: both well-known documents, SRV sets, userinfo, delayed events.
// Whatever it is, an OpenID token is vouched for by its own server or refused with 401, a delayed event has one of the
// outcomes that there are, and nothing that is no request goes out.

import assert from "node:assert/strict";
import fc from "fast-check";
import { MatrixError } from "../../lib/matrix_error.ts";
import { ClientDiscovery } from "../../lib/matrix/client_discovery.ts";
import { DelayedEvents } from "../../lib/matrix/delayed_events.ts";
import { FederationClient } from "../../lib/matrix/federation_client.ts";
import { openIdToken, OpenIdVerifier } from "../../lib/matrix/openid.ts";
import { ServerDiscovery } from "../../lib/matrix/server_discovery.ts";
import { parseServerName, serverOf } from "../../lib/matrix/server_name.ts";
import type { OutboundRequest, OutboundResponse } from "../../lib/net/client.ts";
import { OutboundError } from "../../lib/net/outbound_error.ts";
import type { SrvRecord } from "../../lib/net/srv.ts";
import { systemClock } from "../../lib/platform.ts";
import { type Case, run } from "./campaign.ts";
import { documents } from "./json_mutations.ts";

const CASES = 20_000;
const MAX_URL_CHARACTERS = 100_000;
const server = parseServerName("example.com") ?? assert.fail();

/** What is answered, in the order in which it is asked. */
interface Input {
  readonly wellKnown: Reply;
  readonly srv: readonly (readonly SrvRecord[] | "error")[];
  readonly userinfo: Reply;
  readonly clientWellKnown: Reply;
  readonly versions: Reply;
  readonly action: Reply;
}

interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  readonly failure: OutboundError["failure"] | null;
}

const headers = fc.dictionary(
  fc.constantFrom("cache-control", "expires", "date", "location", "retry-after", "content-type"),
  fc.constantFrom(
    ...["", "max-age=60", "max-age=99999999999", 'no-store, MAX-AGE = "7"', "0", "-1", "5", "1e9", "Infinity"],
    ...["Thu, 01 Jan 1970 00:00:00 GMT", "Tue, 24 Nov 2026 00:00:00 GMT", "not a date", "999999999999"],
    ...["https://example.org/next", "/", "//[", "http://example.org", "https://example.com/.well-known/matrix/server"],
  ),
  { maxKeys: 2 },
);
const statuses = fc.oneof(
  { weight: 8, arbitrary: fc.constant(200) },
  {
    weight: 2,
    arbitrary: fc.constantFrom(...[201, 204, 206, 301, 302, 307, 400, 401, 403, 404, 408, 409, 429, 500, 503, 599]),
  },
);
const failures = fc.oneof(
  { weight: 12, arbitrary: fc.constant(null) },
  {
    weight: 1,
    arbitrary: fc.constantFrom<OutboundError["failure"][]>(
      "blocked",
      "dns",
      "connect",
      "tls",
      "reset",
      "timeout",
      "protocol",
    ),
  },
);

function replies(good: fc.Arbitrary<{ readonly [key: string]: unknown }>): fc.Arbitrary<Case<Reply>> {
  return fc.tuple(documents(good), statuses, headers, failures).map((
    [{ input, isMutated }, status, headers, failure],
  ) => ({
    input: { status, headers, body: input, failure },
    isMutated: isMutated || status !== 200 || failure !== null,
  }));
}

function good(json: { readonly [key: string]: unknown }): Reply {
  return { status: 200, headers: {}, body: new TextEncoder().encode(JSON.stringify(json)), failure: null };
}

const names = fc.constantFrom(
  "matrix.example.com",
  "matrix.example.com:443",
  "192.0.2.1",
  "[2001:db8::1]:1",
  "example.com.",
);
const records: fc.Arbitrary<SrvRecord> = fc.record({
  priority: fc.nat(65_535),
  weight: fc.nat(65_535),
  port: fc.oneof(fc.nat(65_535), fc.constant(0)),
  target: fc.oneof(
    fc.domain(),
    fc.constantFrom("", ".", "..", "192.0.2.1", "::1", "localhost.", "a".repeat(300), "a b"),
  ),
});
const srvAnswers = fc.oneof(fc.array(records, { maxLength: 40 }), fc.constant("error" as const), fc.constant([]));
const users = fc.constantFrom("@alice:example.com", "@a:example.com", "@ünï:example.com");
const errors = fc.record({
  errcode: fc.constantFrom("M_NOT_FOUND", "M_UNRECOGNIZED", "M_LIMIT_EXCEEDED", "M_FORBIDDEN", "M_MISSING_TOKEN"),
  error: fc.string({ maxLength: 10 }),
  retry_after_ms: fc.nat(10_000),
});

// A world in which all is well, but for one of the parties.
const WELL: Input = {
  wellKnown: good({ "m.server": "matrix.example.com" }),
  srv: [[], []],
  userinfo: good({ sub: "@alice:example.com" }),
  clientWellKnown: good({ "m.homeserver": { base_url: "https://matrix.example.com/" } }),
  versions: good({ versions: ["v1.8"], unstable_features: { "org.matrix.msc4140": true } }),
  action: good({}),
};

const inputs: fc.Arbitrary<Case<Input>> = fc.oneof(
  replies(names.map((name) => ({ "m.server": name, other: { deep: [1] } }))).map(within("wellKnown")),
  replies(users.map((sub) => ({ sub, name: "Alice" }))).map(within("userinfo")),
  replies(names.map((name) => ({ "m.homeserver": { base_url: `https://${name}/base/` } }))).map(
    within("clientWellKnown"),
  ),
  replies(fc.constant({ versions: ["v1.8"], unstable_features: { "org.matrix.msc4140": true } })).map(
    within("versions"),
  ),
  replies(errors).map(within("action")),
  fc.tuple(srvAnswers, srvAnswers).map((srv) => ({
    input: { ...WELL, srv },
    isMutated: srv.some((one) => one.length > 0),
  })),
);

function within(party: keyof Input): (reply: Case<Reply>) => Case<Input> {
  return ({ input, isMutated }) => ({ input: { ...WELL, [party]: input }, isMutated });
}

/** The parts that face homeservers, over answers that are played. */
function build(input: Input) {
  const srv = [...input.srv];
  const send = (request: OutboundRequest): Promise<OutboundResponse> => {
    assertIsRequest(request);
    const { failure, ...response } = replyTo(request.path, input);
    if (failure !== null) return Promise.reject(new OutboundError(failure, `failed: ${failure}`));
    if (response.body.length > request.maxResponseBytes) {
      return Promise.reject(new OutboundError("too-large", "too large"));
    }
    return Promise.resolve({ ...response, address: "192.0.2.1" });
  };
  const deps = {
    outbound: { send },
    resolveSrv: () => {
      const answer = srv.shift() ?? [];
      return answer === "error" ? Promise.reject(new Error("SERVFAIL")) : Promise.resolve(answer);
    },
    ruleFor: () => "public" as const,
    clock: { ...systemClock, now: () => Date.UTC(2026, 10, 24), sleep: () => Promise.resolve() },
    random: () => 0.5,
    overrides: new Map<string, URL>(),
  };
  const federation = new FederationClient({ ...deps, discovery: new ServerDiscovery(deps) });
  return {
    verifier: new OpenIdVerifier({ ...deps, federation }),
    delayedEvents: new DelayedEvents({ ...deps, discovery: new ClientDiscovery(deps) }),
  };
}

function replyTo(path: string, input: Input): Reply {
  if (path.endsWith("/.well-known/matrix/client")) return input.clientWellKnown;
  if (path.includes("/openid/userinfo?")) return input.userinfo;
  if (path.endsWith("/_matrix/client/versions")) return input.versions;
  return path.includes("/delayed_events/") ? input.action : input.wellKnown;
}

function assertIsRequest({ host, hostHeader, path, port }: OutboundRequest): void {
  assert.ok(host !== "" && hostHeader !== "" && Number.isInteger(port) && port >= 0 && port <= 65_535);
  assert.ok(/^[\x21-\x7e]+$/.test(hostHeader), `Host: ${hostHeader}`);
  assert.ok(/^\/[\x21-\x7e]*$/.test(path) && path.length < MAX_URL_CHARACTERS, path.slice(0, 200));
}

const UNHURRIED = new AbortController().signal;

async function verify(verifier: OpenIdVerifier): Promise<string> {
  try {
    const { user } = await verifier.verify(openIdToken("token", server), UNHURRIED);
    assert.equal(serverOf(user), server);
    return "vouched for";
  } catch (error) {
    if (!(error instanceof MatrixError) || error.status !== 401) throw error;
    assert.ok(!Deno.inspect([error.cause, error.details], { strAbbreviateSize: Infinity }).includes("access_token"));
    return "401";
  }
}

Deno.test(`${CASES} answers of homeservers come to one of the known outcomes`, async () => {
  await run({
    name: "homeservers",
    cases: CASES,
    arbitrary: inputs,
    run: async (input) => {
      const { verifier, delayedEvents } = build(input);
      const verified = await verify(verifier);
      const { outcome } = await delayedEvents.act(server, "syd_1", "send", UNHURRIED);
      const supports = await delayedEvents.supports(server, UNHURRIED);
      assert.ok(["done", "gone", "limited", "refused", "failed"].includes(outcome.kind));
      if (outcome.kind === "limited") assert.ok(outcome.retryAfterMs >= 100 && outcome.retryAfterMs <= 300_000);
      assert.ok(supports === null || typeof supports === "boolean");
      return `${verified}; delayed event: ${outcome.kind}; support: ${supports}`;
    },
    mustReach: [
      "vouched for; delayed event: done; support: true",
      "vouched for; delayed event: done; support: false",
      "vouched for; delayed event: done; support: null",
      "vouched for; delayed event: failed; support: true",
      "vouched for; delayed event: failed; support: null",
      "vouched for; delayed event: gone; support: true",
      "vouched for; delayed event: limited; support: true",
      "vouched for; delayed event: refused; support: true",
      "401; delayed event: done; support: true",
    ],
  });
});
