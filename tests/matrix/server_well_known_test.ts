// Well-known documents on a scripted network: which ones count, how far redirects are followed, and that whatever is
// wrong with one leads on to SRV and port 8448.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { parseServerName, type ServerName } from "../../lib/matrix/server_name.ts";
import { timeToLiveMs } from "../../lib/matrix/server_well_known.ts";
import { FederationStack } from "./federation_stack.ts";
import { type Reply, ScriptedNetwork, userinfo, wellKnown } from "../../testing/scripted_network.ts";

const PATH = "/.well-known/matrix/server";
const NAMES = { dnsNames: ["example.com", "www.example.com", "delegate.example"] };

function document(body: unknown): Reply {
  return { body: JSON.stringify(body) };
}

function name(text: string): ServerName {
  const parsed = parseServerName(text);
  assert.ok(parsed !== null);
  return parsed;
}

function redirect(location: string, status = 301): Reply {
  return { status, headers: { location }, body: "moved" };
}

/** Servers at example.com:8448 and delegate.example:1234, and whatever the test puts at example.com:443. */
async function scripted(reply?: (path: string) => Reply): Promise<ScriptedNetwork> {
  const network = new ScriptedNetwork();
  await network.serve("example.com:8448", NAMES, userinfo("@default:example.com"));
  await network.serve("delegate.example:1234", NAMES, userinfo("@delegate:example.com"));
  if (reply !== undefined) await network.serve("example.com:443", NAMES, reply);
  return network;
}

const VALID: [what: string, reply: Reply][] = [
  ["a document", document({ "m.server": "delegate.example:1234" })],
  ["a document with more in it", document({ "m.server": "delegate.example:1234", "other": [1] })],
  ["a document of another content type", {
    headers: { "content-type": "text/html" },
    body: '{"m.server":"delegate.example:1234"}',
  }],
  ["a document just below the cap", {
    body: JSON.stringify({ "m.server": "delegate.example:1234", "x": "a".repeat(50 * 1024 - 50) }),
  }],
];

for (const [what, reply] of VALID) {
  Deno.test(`${what} delegates`, async () => {
    await using network = await scripted(() => reply);
    using stack = new FederationStack(network);
    assert.equal(await stack.verify("example.com"), "@delegate:example.com", stack.steps);
    assert.deepEqual(network.requests[0], {
      at: "example.com:443",
      sni: "example.com",
      hostHeader: "example.com",
      path: PATH,
    });
  });
}

const INVALID: [what: string, reply: Reply, steps: RegExp][] = [
  ["404", { status: 404, body: '{"m.server":"delegate.example:1234"}' }, /status 404/],
  ["500", { status: 500, body: '{"m.server":"delegate.example:1234"}' }, /status 500/],
  ["201", { status: 201, body: '{"m.server":"delegate.example:1234"}' }, /status 201/],
  ["300", { status: 300, headers: { location: "https://www.example.com/" } }, /status 300/],
  ["no JSON", { body: "<html>" }, /not JSON/],
  ["an empty body", { body: "" }, /not JSON/],
  ["invalid UTF-8", { body: Buffer.from('{"m.server":"delegate.example:1234","x":"\xff"}', "latin1") }, /not JSON/],
  ["a number", document(7), /no text "m\.server"/],
  ["null", document(null), /no text "m\.server"/],
  ["a list", document(["m.server"]), /no text "m\.server"/],
  ["no m.server", document({}), /no text "m\.server"/],
  ["m.server that is a number", document({ "m.server": 1 }), /no text "m\.server"/],
  ["m.server that is a URL", document({ "m.server": "https://delegate.example:1234" }), /no server name/],
  ["m.server with a path", document({ "m.server": "delegate.example:1234/x" }), /no server name/],
  ["m.server that is empty", document({ "m.server": "" }), /no server name/],
  ["m.server with white space", document({ "m.server": " delegate.example:1234" }), /no server name/],
  ["a body over the cap", {
    body: JSON.stringify({ "m.server": "delegate.example:1234", "x": "a".repeat(50 * 1024) }),
  }, /over 51200 bytes/],
  ["a broken connection", "hang up", /Connection broke/],
];

for (const [what, reply, steps] of INVALID) {
  Deno.test(`${what} counts for nothing, and resolution goes on`, async () => {
    await using network = await scripted(() => reply);
    using stack = new FederationStack(network);
    const { steps: [first = ""] } = await stack.discovery.resolve(name("example.com"));
    assert.match(first, steps);
    assert.equal(await stack.verify("example.com"), "@default:example.com");
  });
}

Deno.test("a host without a web server, or with a certificate for another name, counts for nothing", async () => {
  await using closed = await scripted();
  using first = new FederationStack(closed);
  assert.equal(await first.verify("example.com"), "@default:example.com");

  await using wrong = await scripted();
  await wrong.serve("example.com:443", { dnsNames: ["other.example"] }, wellKnown("delegate.example:1234"));
  using second = new FederationStack(wrong);
  assert.equal(await second.verify("example.com"), "@default:example.com");
});

for (const status of [301, 302, 303, 307, 308]) {
  Deno.test(`a ${status} to another host is followed, the certificate of each hop being its own`, async () => {
    await using network = await scripted(() => redirect("https://www.example.com:444/a/b?c=d#e", status));
    await network.serve(
      "www.example.com:444",
      { dnsNames: ["www.example.com"] },
      (path) => path === "/a/b?c=d" ? document({ "m.server": "delegate.example:1234" }) : { status: 404 },
    );
    using stack = new FederationStack(network);
    assert.equal(await stack.verify("example.com"), "@delegate:example.com");
    assert.deepEqual(network.requests[1], {
      at: "www.example.com:444",
      sni: "www.example.com",
      hostHeader: "www.example.com:444",
      path: "/a/b?c=d",
    });
  });
}

Deno.test("a relative redirect stays at its host", async () => {
  await using network = await scripted((path) =>
    path === PATH ? redirect("../other?x=1") : document({ "m.server": "delegate.example:1234" })
  );
  using stack = new FederationStack(network);
  assert.equal(await stack.verify("example.com"), "@delegate:example.com");
  assert.equal(network.requests[1]?.path, "/.well-known/other?x=1");
});

Deno.test("a redirect to a host with a wrong certificate counts for nothing", async () => {
  await using network = await scripted(() => redirect("https://www.example.com/"));
  await network.serve(
    "www.example.com:443",
    { dnsNames: ["example.com"] },
    () => document({ "m.server": "delegate.example:1234" }),
  );
  using stack = new FederationStack(network);
  assert.equal(await stack.verify("example.com"), "@default:example.com");
});

const BAD_REDIRECTS: [what: string, location: string, steps: RegExp, requests: number][] = [
  ["to itself", `https://example.com${PATH}`, /redirect loop/, 1],
  ["to plain HTTP", "http://example.com/secret", /redirect to "http:\/\/example\.com", expected https/, 1],
  ["to a file", "file:///etc/passwd", /expected https/, 1],
  ["to nowhere", "https://", /without a valid Location/, 1],
  ["to nothing", "", /redirect loop|without a valid Location/, 1],
];

for (const [what, location, steps, requests] of BAD_REDIRECTS) {
  Deno.test(`a redirect ${what} is not followed`, async () => {
    await using network = await scripted(() => redirect(location));
    await network.servePlain("example.com:80", () => document({ "m.server": "delegate.example:1234" }));
    using stack = new FederationStack(network);
    assert.equal(await stack.verify("example.com"), "@default:example.com");
    const { steps: [first = ""] } = await stack.discovery.resolve(name("example.com"));
    assert.match(first, steps);
    assert.equal(network.requests.filter(({ at }) => at !== "example.com:8448").length, requests);
  });
}

Deno.test("a loop over two hosts ends where it closes", async () => {
  await using network = await scripted(() => redirect(`https://www.example.com${PATH}`));
  await network.serve("www.example.com:443", NAMES, () => redirect(`https://example.com${PATH}`));
  using stack = new FederationStack(network);
  assert.equal(await stack.verify("example.com"), "@default:example.com");
  assert.equal(network.requests.filter(({ at }) => at.endsWith(":443")).length, 2);
});

Deno.test("five redirects are followed, a sixth is not", async () => {
  for (const [hops, expected] of [[5, "@delegate:example.com"], [6, "@default:example.com"]] as const) {
    let count = 0;
    await using network = await scripted(() =>
      count++ < hops ? redirect(`/${count}`) : document({ "m.server": "delegate.example:1234" })
    );
    using stack = new FederationStack(network);
    assert.equal(await stack.verify("example.com"), expected);
    assert.equal(count, 6);
  }
});

Deno.test("a redirect's query is followed but not written down", async () => {
  await using network = await scripted((path) => path === PATH ? redirect("/x?key=somebodys-secret") : { status: 404 });
  using stack = new FederationStack(network);
  const { steps } = await stack.discovery.resolve(name("example.com"));
  assert.equal(network.requests[1]?.path, "/x?key=somebodys-secret");
  assert.ok(!steps.join().includes("somebodys-secret"));
});

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const NOW = Date.UTC(2026, 0, 1);

const TIMES_TO_LIVE: [headers: Record<string, string>, ttlMs: number][] = [
  [{}, 24 * HOUR_MS],
  [{ "cache-control": "max-age=3600" }, HOUR_MS],
  [{ "cache-control": "public, max-age=3600, immutable" }, HOUR_MS],
  [{ "cache-control": "MAX-AGE=3600" }, HOUR_MS],
  [{ "cache-control": 'max-age="3600"' }, HOUR_MS],
  [{ "cache-control": "max-age=0" }, 5 * MINUTE_MS],
  [{ "cache-control": "max-age=299" }, 5 * MINUTE_MS],
  [{ "cache-control": "max-age=301" }, 301_000],
  [{ "cache-control": "max-age=172800" }, 48 * HOUR_MS],
  [{ "cache-control": "max-age=9999999999" }, 48 * HOUR_MS],
  [{ "cache-control": "s-maxage=3600" }, 24 * HOUR_MS],
  [{ "cache-control": "max-age=x" }, 24 * HOUR_MS],
  [{ "cache-control": "public" }, 24 * HOUR_MS],
  [{ expires: new Date(NOW + 2 * HOUR_MS).toUTCString() }, 2 * HOUR_MS],
  [{ expires: new Date(NOW - HOUR_MS).toUTCString() }, 5 * MINUTE_MS],
  [{ expires: new Date(NOW + 100 * HOUR_MS).toUTCString() }, 48 * HOUR_MS],
  [{ expires: "0" }, 5 * MINUTE_MS],
  [{ expires: "never" }, 5 * MINUTE_MS],
  [{ "cache-control": "max-age=3600", expires: new Date(NOW + 2 * HOUR_MS).toUTCString() }, HOUR_MS],
];

for (const [headers, ttlMs] of TIMES_TO_LIVE) {
  Deno.test(`${JSON.stringify(headers)} is served for ${ttlMs / 1000} s`, () => {
    assert.equal(timeToLiveMs({ headers }, NOW), ttlMs);
  });
}
