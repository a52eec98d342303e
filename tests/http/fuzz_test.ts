// Ten thousand requests, most of them good ones with one thing wrong: no answer is a 5xx, nothing is left unhandled,
// and a request that is refused for its shape causes no traffic. Seeded: every run is the same.

import assert from "node:assert/strict";
import fc from "fast-check";
import { createFront, HASHED_BODY, LEGACY_BODY } from "./front.ts";

const REQUESTS = 10_000;

interface Draft {
  readonly mutation: string;
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

Deno.test("no request, however wrong, is answered with 5xx or causes traffic before it is found good", async () => {
  const takeCharge = () => Promise.resolve();
  const { app, outbound, log } = createFront({ delegations: { prepare: () => Promise.resolve(takeCharge) } });
  const answers = new Map<string, number>();
  const mutations = new Map<string, number>();
  for (const draft of fc.sample(drafts(), { seed: 20_261_124, numRuns: REQUESTS })) {
    const before = outbound.requests.length;
    const response = await app(toRequest(draft));
    const shown = JSON.stringify({ ...draft, body: new TextDecoder().decode(draft.body) });
    assert.ok(response.status === 200 || (response.status >= 400 && response.status < 500), shown);
    assert.equal(response.headers.get("access-control-allow-origin"), "*");
    const text = await response.text();
    const errcode = response.status === 200 ? "" : ` ${errcodeOf(text, shown)}`;
    if (response.status !== 401 && errcode !== "") assert.equal(outbound.requests.length, before, shown);
    count(answers, `${response.status}${errcode}`);
    count(mutations, draft.mutation);
  }
  assert.deepEqual(log.of("error"), []);

  console.log("answers:", Object.fromEntries(answers), "mutations:", Object.fromEntries(mutations));
  const good = (mutations.get("none") ?? 0) + (mutations.get("anything") ?? 0);
  assert.ok(REQUESTS - good >= REQUESTS / 2);
  // A run that never gets past the door proves nothing.
  for (const reached of ["200", "400 M_BAD_JSON", "400 M_NOT_JSON", "401 M_UNAUTHORIZED", "413 M_TOO_LARGE"]) {
    assert.ok((answers.get(reached) ?? 0) >= 50, `${reached} was reached ${answers.get(reached)} times`);
  }
  assert.ok((answers.get("404 M_UNRECOGNIZED") ?? 0) >= 50 && (answers.get("405 M_UNRECOGNIZED") ?? 0) >= 50);
});

function errcodeOf(text: string, shown: string): string {
  const body = JSON.parse(text);
  assert.deepEqual(Object.keys(body), ["errcode", "error"], shown);
  assert.ok(text.endsWith("}\n"), shown);
  return body.errcode;
}

function count(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}

function toRequest({ method, path, headers, body }: Draft): Request {
  const mayHaveBody = !/^(GET|HEAD)$/i.test(method);
  return new Request(`http://service.test${path}`, { method, headers, ...(mayHaveBody ? { body: body.slice() } : {}) });
}

// Good requests to both endpoints, from many users and servers.
function goodDrafts(): fc.Arbitrary<Draft> {
  const name = fc.constantFrom("example.com", "b.example:8448", "192.0.2.7", "[2001:db8::1]:8448", "EXAMPLE.org");
  const word = fc.string({ unit: fc.constantFrom(..."abcXYZ019é😀<&\u2028"), minLength: 1, maxLength: 12 });
  const legacy = fc.record({ name, room: word, device: word }).map(({ name, room, device }) => ({
    path: "/sfu/get",
    json: {
      ...LEGACY_BODY,
      room: `!${room}`,
      device_id: device,
      openid_token: { access_token: room, matrix_server_name: name },
    },
  }));
  const hashed = fc.record({ name, room: word, member: word }).map(({ name, room, member }) => ({
    path: "/get_token",
    json: {
      ...HASHED_BODY,
      room_id: `!${room}`,
      openid_token: { access_token: room, matrix_server_name: name },
      member: { id: member, claimed_user_id: `@alice:${name}`, claimed_device_id: "D" },
    },
  }));
  return fc.oneof(legacy, hashed).map(({ path, json }) => ({
    mutation: "none",
    method: "POST",
    path,
    headers: { "content-type": "application/json" },
    body: encode(json),
  }));
}

function drafts(): fc.Arbitrary<Draft> {
  const good = goodDrafts();
  return fc.oneof(
    { weight: 2, arbitrary: good },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }).chain((body) => replace(good, "anything", { body })) },
    { weight: 4, arbitrary: fc.tuple(good, textMutation()).map(([draft, mutate]) => mutate(draft)) },
    { weight: 6, arbitrary: fc.tuple(good, fieldMutation()).map(([draft, mutate]) => mutate(draft)) },
    { weight: 2, arbitrary: anyHeaders().chain((headers) => replace(good, "headers", { headers })) },
    { weight: 2, arbitrary: anyMethod().chain((method) => replace(good, "method", { method })) },
    { weight: 3, arbitrary: fc.tuple(good, pathMutation()).map(([draft, mutate]) => mutate(draft)) },
  );
}

type Mutate = (draft: Draft) => Draft;

// Bytes of the JSON text: one changed, some cut out, repeated, or put in; or far too many.
function textMutation(): fc.Arbitrary<Mutate> {
  const junk = fc.constantFrom(
    '"',
    "{",
    "}",
    "[",
    ",",
    ":",
    "\\",
    "\\ud800",
    "null",
    "1e999",
    "\0",
    "\ufeff",
    "//",
    "-",
  );
  const change = fc.record({ at: fc.nat(400), length: fc.nat(20), junk, byte: fc.nat(255), kind: fc.nat(4) });
  return change.map(({ at, length, junk, byte, kind }) => (draft) => {
    const { body } = draft;
    const from = at % body.length;
    const head = body.subarray(0, from);
    const middle = body.subarray(from, from + length);
    const tail = body.subarray(from + length);
    const mutated = [
      [...head, byte, ...body.subarray(from + 1)],
      [...head, ...tail],
      [...head, ...middle, ...middle, ...tail],
      [...head, ...new TextEncoder().encode(junk), ...body.subarray(from)],
      at < 40 ? [...body, ...new Uint8Array(70_000).fill(32)] : head,
    ][kind];
    return { ...draft, mutation: "text", body: Uint8Array.from(mutated ?? []) };
  });
}

const FIELDS = [
  ["room"],
  ["room_id"],
  ["slot_id"],
  ["device_id"],
  ["member"],
  ["member", "id"],
  ["member", "claimed_user_id"],
  ["member", "claimed_device_id"],
  ["openid_token"],
  ["openid_token", "access_token"],
  ["openid_token", "matrix_server_name"],
  ["openid_token", "expires_in"],
  ["delay_id"],
  ["delay_timeout"],
  ["unknown"],
  ["__proto__"],
] as const;

// One field gone, or of another type, or with a value that is hard to take.
function fieldMutation(): fc.Arbitrary<Mutate> {
  const value = fc.oneof(
    fc.constantFrom(undefined, null, "", 0, -1, 1.5, true, [], {}, [null], "a".repeat(300), "\ud800", "\0", "..", "💩"),
    fc.constantFrom(
      "example.com:0",
      "[::1]",
      "a/b",
      "example.com:99999",
      "@bob:example.com",
      "127.0.0.1",
      "%00",
      "a@b",
    ),
    fc.jsonValue(),
    fc.string({ unit: "binary", maxLength: 260 }),
  );
  return fc.tuple(fc.constantFrom(...FIELDS), value).map(([field, value]) => (draft) => {
    const json: Record<string, unknown> = JSON.parse(new TextDecoder().decode(draft.body));
    const [outer, inner] = field;
    const held = json[outer];
    const set = inner === undefined || typeof held !== "object" ? value : { ...held, [inner]: value };
    return { ...draft, mutation: "field", body: encode({ ...json, [outer]: set }) };
  });
}

function anyHeaders(): fc.Arbitrary<Readonly<Record<string, string>>> {
  const name = fc.constantFrom(
    "content-type",
    "content-length",
    "content-encoding",
    "accept",
    "authorization",
    "origin",
    "x-forwarded-for",
    "transfer-encoding",
    "expect",
    "cookie",
  );
  const value = fc.constantFrom(
    "",
    "0",
    "-1",
    "5",
    "999999999999",
    "1e3",
    "NaN",
    "gzip",
    "text/plain",
    "*",
    "a, b",
    "\x7f",
  );
  return fc.dictionary(name, value, { maxKeys: 4 });
}

function anyMethod(): fc.Arbitrary<string> {
  return fc.constantFrom("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "QUERY", "post", "get", "PROPFIND", "M-X");
}

function pathMutation(): fc.Arbitrary<Mutate> {
  const part = fc.constantFrom(
    "/",
    "//",
    "/a",
    "/_matrix/",
    "/.",
    "/..",
    "?",
    "#",
    "%2f",
    "%",
    "/sfu/get",
    "/é",
    ";",
    "/healthz",
  );
  return fc.tuple(part, part, fc.boolean()).map(([before, after, isBoth]) => (draft) => ({
    ...draft,
    mutation: "path",
    path: `${before.startsWith("/") ? before : `/${before}`}${draft.path}${isBoth ? after : ""}`,
  }));
}

function replace(good: fc.Arbitrary<Draft>, mutation: string, change: Partial<Draft>): fc.Arbitrary<Draft> {
  return good.map((draft) => ({ ...draft, mutation, ...change }));
}

function encode(json: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(json));
}
