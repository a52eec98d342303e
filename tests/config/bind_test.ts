// Where to listen: what is accepted, what is not, and that a bind is written as it is read.

import assert from "node:assert/strict";
import fc from "fast-check";
import { parseBind } from "../../lib/config/bind.ts";
import { type Bind, formatBind } from "../../lib/http/bind.ts";

const tcp = (hostname: string, port: number): Bind => ({ transport: "tcp", hostname, port });
const unix = (path: string): Bind => ({ transport: "unix", path });

const BINDS: readonly (readonly [text: string, bind: Bind | null])[] = [
  [":8080", tcp("::", 8080)],
  [":0", tcp("::", 0)],
  [":65535", tcp("::", 65_535)],
  ["0.0.0.0:8080", tcp("0.0.0.0", 8080)],
  ["127.0.0.1:80", tcp("127.0.0.1", 80)],
  ["localhost:8080", tcp("localhost", 8080)],
  ["jwt.example.com:8080", tcp("jwt.example.com", 8080)],
  ["[::]:8080", tcp("::", 8080)],
  ["[::1]:8080", tcp("::1", 8080)],
  ["[fe80::1%eth0]:8080", tcp("fe80::1%eth0", 8080)],
  ["[::ffff:127.0.0.1]:1", tcp("::ffff:127.0.0.1", 1)],
  ["unix:/run/jwt.sock", unix("/run/jwt.sock")],
  ["unix:///run/jwt.sock", unix("/run/jwt.sock")],
  ["unix:jwt.sock", unix("jwt.sock")],
  ["", null],
  [":", null],
  ["8080", null],
  ["localhost", null],
  ["localhost:", null],
  ["localhost:http", null],
  [":65536", null],
  [":123456", null],
  [":-1", null],
  [": 8080", null],
  ["::1:8080", null],
  ["[::1]", null],
  ["[]:8080", null],
  ["http://localhost:8080", null],
  ["localhost:8080/", null],
  ["unix:", null],
];

for (const [text, bind] of BINDS) {
  Deno.test(`the bind "${text}" is ${bind === null ? "refused" : "accepted"}`, () => {
    assert.deepEqual(parseBind(text), bind);
  });
}

type Format = (bind: Bind) => string;

// Forgets that an IPv6 address needs brackets.
const formatPlain: Format = (bind) => bind.transport === "unix" ? `unix:${bind.path}` : `${bind.hostname}:${bind.port}`;

Deno.test("what is written is read back as the same bind", () => {
  fc.assert(isReadBack(formatBind), { seed: 6, numRuns: 1000, endOnFailure: true });
});

Deno.test("the property finds a version that forgets the brackets", () => {
  assert.throws(() => fc.assert(isReadBack(formatPlain), { seed: 6, numRuns: 1000, endOnFailure: true }));
});

Deno.test("any text is a bind or none, and a bind is one for good", () => {
  const near = fc.string({ unit: fc.constantFrom(..."[]:/.0189afunix% "), maxLength: 20 });
  fc.assert(
    fc.property(near, (text) => {
      const bind = parseBind(text);
      if (bind !== null) assert.deepEqual(parseBind(formatBind(bind)), bind);
    }),
    { seed: 7, numRuns: 2000 },
  );
});

function isReadBack(format: Format) {
  const hostname = fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain(), fc.constant("::"));
  const address = fc.tuple(hostname, fc.nat(65_535)).map(([hostname, port]) => tcp(hostname, port));
  const path = fc.stringMatching(/^\/[a-z0-9._ :-]{1,20}$/);
  return fc.property(fc.oneof(address, path.map(unix)), (bind) => assert.deepEqual(parseBind(format(bind)), bind));
}
