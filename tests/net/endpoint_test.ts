// URLs as dials: the port of the scheme, the certificate name, and addresses without brackets.

import assert from "node:assert/strict";
import { basePathOf, type Dial, dialOf } from "../../lib/net/endpoint.ts";

function dial(secure: boolean, host: string, port: number, hostHeader: string, tlsName: string | null): Dial {
  return { secure, host, port, hostHeader, tlsName };
}

const DIALS: [url: string, expected: Dial][] = [
  ["https://a.example/x", dial(true, "a.example", 443, "a.example", "a.example")],
  ["https://A.example:443", dial(true, "a.example", 443, "a.example", "a.example")],
  ["https://a.example:8448", dial(true, "a.example", 8448, "a.example:8448", "a.example")],
  ["http://a.example", dial(false, "a.example", 80, "a.example", "a.example")],
  ["http://user:password@a.example:81/", dial(false, "a.example", 81, "a.example:81", "a.example")],
  ["https://192.0.2.1", dial(true, "192.0.2.1", 443, "192.0.2.1", null)],
  ["https://2130706433:1/", dial(true, "127.0.0.1", 1, "127.0.0.1:1", null)],
  ["https://[2001:DB8::1]:8448", dial(true, "2001:db8::1", 8448, "[2001:db8::1]:8448", null)],
];

Deno.test.each(DIALS)("%s says where to connect", (url, expected) => {
  assert.deepEqual(dialOf(new URL(url)), expected);
});

Deno.test("a base path loses the slashes at its end", () => {
  const paths = ["", "/", "//", "/a", "/a/", "/a/b//", "/a//b"].map((path) => basePathOf(new URL(`https://x${path}`)));
  assert.deepEqual(paths, ["", "", "", "/a", "/a", "/a/b", "/a//b"]);
});
