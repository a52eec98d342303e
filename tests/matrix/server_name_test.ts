// Server names and user IDs: the grammar as tables, and properties that wrong parsers fail.

import assert from "node:assert/strict";
import fc from "fast-check";
import {
  byteLength,
  parseServerName,
  parseUserId,
  type ServerName,
  serverNameParts,
  serverOf,
} from "../../lib/matrix/server_name.ts";
import { holdsOnlyFor, singleEdit } from "../../testing/refutable.ts";
import { localpart, oddCharacter, serverName } from "./names.ts";

type Parts = [hostname: string, port: number | null, isIpLiteral: boolean];

const SERVER_NAMES: [text: string, parts: Parts][] = [
  ["example.com", ["example.com", null, false]],
  ["Example.COM", ["Example.COM", null, false]],
  ["example.com:8448", ["example.com", 8448, false]],
  ["example.com:0", ["example.com", 0, false]],
  ["example.com:00080", ["example.com", 80, false]],
  ["example.com:65535", ["example.com", 65_535, false]],
  ["localhost", ["localhost", null, false]],
  ["localhost:8448", ["localhost", 8448, false]],
  ["example.com.", ["example.com.", null, false]],
  ["1.2.3.4", ["1.2.3.4", null, true]],
  ["1.2.3.4:1234", ["1.2.3.4", 1234, true]],
  ["[::1]", ["::1", null, true]],
  ["[1234:5678::abcd]:5678", ["1234:5678::abcd", 5678, true]],
  ["[::ffff:127.0.0.1]:1", ["::ffff:127.0.0.1", 1, true]],
  ["[2001:DB8::1]", ["2001:DB8::1", null, true]],
  ["2130706433", ["2130706433", null, false]],
  ["0x7f000001", ["0x7f000001", null, false]],
  ["127.1", ["127.1", null, false]],
  ["0177.0.0.1", ["0177.0.0.1", null, false]],
  ["1.2.3.04", ["1.2.3.04", null, false]],
  ["-", ["-", null, false]],
  [".", [".", null, false]],
];

Deno.test.each(SERVER_NAMES)("parses the server name %s", (text, [hostname, port, isIpLiteral]) => {
  const name = parseServerName(text);
  assert.equal(name, text);
  assert.deepEqual(serverNameParts(text as ServerName), { hostname, port, isIpLiteral });
});

const NO_SERVER_NAMES = [
  "",
  ":",
  ":8448",
  "example.com:",
  "example.com:65536",
  "example.com:99999",
  "example.com:123456",
  "example.com:-1",
  "example.com:+1",
  "example.com:8 ",
  "example.com: 8",
  "example.com:0x1",
  "example.com:８",
  "example.com:80:80",
  "a_b.example.com",
  "example.com/",
  "example.com/path",
  "example.com?query",
  "example.com#fragment",
  "user@example.com",
  "@example.com",
  "https://example.com",
  " example.com",
  "example.com ",
  "example.com\n",
  "example.com\0",
  "exam\tple.com",
  "example\u3002com",
  "bücher.example",
  "example.com\u2028",
  "::1",
  "[",
  "]",
  "[]",
  "[::1",
  "::1]",
  "[::1]x",
  "[::1]x:80",
  "[::1]:",
  "[::1]:65536",
  "[[::1]]",
  "[::1%lo]",
  "[::1%25lo]",
  "[fe80::1%eth0]:8448",
  "[1.2.3.4]",
  "[example.com]",
  "[::1]]",
  "[1:2:3:4:5:6:7]",
  "[12345::]",
  "x[::1]",
];

Deno.test.each(NO_SERVER_NAMES)("refuses the server name %j", (text) => {
  assert.equal(parseServerName(text), null);
  assert.throws(() => serverNameParts(text as ServerName), /Cannot split/);
});

const USER_IDS: [text: string, server: string][] = [
  ["@alice:example.com", "example.com"],
  ["@alice:localhost:8448", "localhost:8448"],
  ["@alice:[::1]", "[::1]"],
  ["@alice:[::1]:8448", "[::1]:8448"],
  ["@alice:127.0.0.1:8449", "127.0.0.1:8449"],
  ["@Alice:Example.COM", "Example.COM"],
  ["@a:b", "b"],
  ["@@:b", "b"],
  ["@ :b", "b"],
  ["@jürgen:example.org", "example.org"],
  ["@😀:example.org", "example.org"],
];

Deno.test.each(USER_IDS)("parses the user ID %s", (text, server) => {
  const user = parseUserId(text);
  assert.ok(user !== null);
  assert.equal(user, text);
  assert.equal(serverOf(user), server);
});

const NO_USER_IDS = [
  "",
  "@",
  "@:",
  "@:example.com",
  "@alice",
  "@alice:",
  "alice:example.com",
  "#alice:example.com",
  " @alice:example.com",
  "@alice:example.com ",
  "@alice:example.com\n",
  "@al\nice:example.com",
  "@al\0ice:example.com",
  "@al\u007fice:example.com",
  "@al\u0085ice:example.com",
  "@al\u009fice:example.com",
  "@al\ud800ice:example.com",
  "@\udc00:example.com",
  "@alice:exa_mple.com",
  "@alice:evil.com:example.com",
  "@alice:example.com:8448:1",
  "@alice:::1",
];

Deno.test.each(NO_USER_IDS)("refuses the user ID %j", (text) => {
  assert.equal(parseUserId(text), null);
});

Deno.test("a host name is at most 255 characters long", () => {
  for (const suffix of ["", ":1"]) {
    assert.ok(parseServerName("a".repeat(255) + suffix) !== null);
    assert.equal(parseServerName("a".repeat(256) + suffix), null);
  }
});

Deno.test("a user ID is at most 255 bytes long", () => {
  assert.ok(parseUserId(`@${"a".repeat(252)}:b`) !== null);
  assert.ok(parseUserId(`@${"é".repeat(126)}:b`) !== null);
  assert.equal(parseUserId(`@${"a".repeat(253)}:b`), null);
  assert.equal(parseUserId(`@${"é".repeat(126)}a:b`), null);
  assert.equal(parseUserId(`@${"a".repeat(100_000)}:b`), null);
});

Deno.test("a length is counted in UTF-8 bytes", () => {
  assert.deepEqual(["", "a", "é", "漢", "😀"].map(byteLength), [0, 1, 2, 3, 4]);
});

// The grammar once more, written down from the specification and independent of the parser: IPv6 by the URL standard.
const DNS_OR_IPV4 = /^[0-9A-Za-z.\-]{1,255}(?::[0-9]{1,5})?$/;
const BRACKETED = /^\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?$/;

function isServerName(text: string): boolean {
  const port = /\]?:([0-9]+)$/.exec(text.replace(/^\[.*\]/, "]"))?.[1] ?? "0";
  if (Number(port) > 65_535) return false;
  const literal = BRACKETED.exec(text)?.[1];
  return literal === undefined ? DNS_OR_IPV4.test(text) : URL.canParse(`http://[${literal}]/`);
}

type Parse = (text: string) => string | null;

Deno.test("server names are told from near misses, and come back byte for byte", async () => {
  const nearMiss = serverName.chain(({ text }) => fc.oneof(fc.constant(text), singleEdit(text, oddCharacter)));
  const agrees = (parse: Parse) =>
    fc.property(nearMiss, (text) => assert.equal(parse(text), isServerName(text) ? text : null));

  await holdsOnlyFor<Parse>(agrees, parseServerName, {
    "names lower-cased": (text) => parseServerName(text)?.toLowerCase() ?? null,
    "the pattern without its end": (text) =>
      /^[0-9A-Za-z.-]{1,255}(:\d{1,5})?/.test(text) ? text : parseServerName(text),
    "white space trimmed": (text) => parseServerName(text.trim()),
    "taken for a URL's host": (text) => URL.canParse(`https://${text}/`) ? text : null,
    "a port of any size": (text) => parseServerName(text.replace(/:\d{5}$/, ":1")) === null ? null : text,
    "zone identifiers let through": (text) => parseServerName(text.replace(/%[^\]]*\]/, "]")) === null ? null : text,
    "any letter of any script": (text) => parseServerName(text.replace(/\p{L}/gu, "a")) === null ? null : text,
  });
});

type Split = (text: string) => { hostname: string; port: number | null };

Deno.test("a server name's parts are those it was put together from", async () => {
  const partsOf = (split: Split) =>
    fc.property(serverName, ({ text, host, port }) => {
      const parts = split(text);
      assert.equal(parts.hostname, host.replace(/^\[|\]$/g, ""));
      assert.equal(parts.port, port === null ? null : Number(port));
    });

  await holdsOnlyFor<Split>(partsOf, (text) => serverNameParts(text as ServerName), {
    "split at the first colon": (text) => {
      const [hostname = "", port] = text.split(":");
      return { hostname, port: port === undefined ? null : Number(port) };
    },
    "split at the last colon": (text) => {
      const colon = text.lastIndexOf(":");
      const port = colon < 0 ? null : Number(text.slice(colon + 1));
      return { hostname: (colon < 0 ? text : text.slice(0, colon)).replace(/^\[|\]$/g, ""), port };
    },
    "port 0 taken for none": (text) => {
      const parts = serverNameParts(text as ServerName);
      return { ...parts, port: parts.port || null };
    },
    "host names lower-cased": (text) => {
      const parts = serverNameParts(text as ServerName);
      return { ...parts, hostname: parts.hostname.toLowerCase() };
    },
  });
});

type ServerOfUser = (userId: string) => string | null;

function ourServerOf(text: string): string | null {
  const user = parseUserId(text);
  return user === null ? null : serverOf(user);
}

Deno.test("a user's server is what follows the first colon", async () => {
  const property = (serverOfUser: ServerOfUser) =>
    fc.property(localpart, serverName, (local, { text: server }) => {
      assert.equal(serverOfUser(`@${local}:${server}`), server);
    });

  await holdsOnlyFor<ServerOfUser>(property, ourServerOf, {
    "split at the last colon": (text) => text.slice(text.lastIndexOf(":") + 1),
    "lower-cased": (text) => ourServerOf(text)?.toLowerCase() ?? null,
    "today's localparts only": (text) => /^@[a-z0-9._=/+-]+:/.test(text) ? ourServerOf(text) : null,
  });
});

Deno.test("a near miss of a user ID is either refused or a whole user ID of its own", async () => {
  const nearMiss = fc.tuple(localpart, serverName)
    .chain(([local, { text: server }]) => singleEdit(`@${local}:${server}`, oddCharacter));
  const property = (serverOfUser: ServerOfUser) =>
    fc.property(nearMiss, (text) => {
      const server = serverOfUser(text);
      if (server === null) return;
      const local = text.slice(1, text.length - server.length - 1);
      assert.equal(`@${local}:${server}`, text);
      assert.ok(local.length > 0 && !local.includes(":") && isServerName(server));
      assert.ok(text.isWellFormed() && !/\p{Cc}/u.test(text) && byteLength(text) <= 255);
    });

  await holdsOnlyFor<ServerOfUser>(property, ourServerOf, {
    "no look at the sigil": (text) => ourServerOf(`@${text.slice(1)}`),
    "an empty localpart let through": (text) => ourServerOf(text.replace(/^@:/, "@a:")),
    "control characters let through": (text) => ourServerOf(text.replace(/\p{Cc}/gu, "a")),
    "broken UTF-16 let through": (text) => ourServerOf(text.toWellFormed()),
    "the server part not looked at": (text) => /^@[^:]+:(.+)$/s.exec(text)?.[1] ?? null,
  });
});
