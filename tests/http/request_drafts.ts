// Requests for fuzzing: good ones, and good ones with one thing wrong with them.

import fc from "fast-check";
import { byteMutation, fieldMutation } from "../../testing/mutations.ts";
import { HASHED_BODY, LEGACY_BODY } from "../../testing/front.ts";

/** A request to be, with the name of what is wrong with it. */
export interface Draft {
  readonly mutation: string;
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** Makes the request. */
export function toRequest({ method, path, headers, body }: Draft): Request {
  const mayHaveBody = !/^(GET|HEAD)$/i.test(method);
  return new Request(`http://service.test${path}`, { method, headers, ...(mayHaveBody ? { body: body.slice() } : {}) });
}

/** Good requests to both token routes, from many users and servers. */
export function goodDrafts(): fc.Arbitrary<Draft> {
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

/** Good requests, most of them with one mutation. */
export function drafts(good = goodDrafts()): fc.Arbitrary<Draft> {
  return fc.oneof(
    { weight: 2, arbitrary: good },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }).chain((body) => replace(good, "anything", { body })) },
    { weight: 4, arbitrary: fc.tuple(good, textMutation()).map(([draft, mutate]) => mutate(draft)) },
    { weight: 6, arbitrary: fieldMutated(good) },
    { weight: 2, arbitrary: anyHeaders().chain((headers) => replace(good, "headers", { headers })) },
    { weight: 2, arbitrary: anyMethod().chain((method) => replace(good, "method", { method })) },
    { weight: 3, arbitrary: fc.tuple(good, pathMutation()).map(([draft, mutate]) => mutate(draft)) },
  );
}

type Mutate = (draft: Draft) => Draft;

function textMutation(): fc.Arbitrary<Mutate> {
  return byteMutation().map((mutate) => (draft) => ({ ...draft, mutation: "text", body: mutate(draft.body) }));
}

// Fields of other routes, of no route, and of no object.
const MISSING = [
  "room",
  "room_id",
  "slot_id",
  "device_id",
  "member",
  "delay_id",
  "delay_timeout",
  "unknown",
  "__proto__",
];

function fieldMutated(good: fc.Arbitrary<Draft>): fc.Arbitrary<Draft> {
  return good.chain((draft) =>
    fieldMutation(JSON.parse(new TextDecoder().decode(draft.body)), MISSING)
      .map((json) => ({ ...draft, mutation: "field", body: encode(json) }))
  );
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

/** JSON as bytes. */
export function encode(json: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(json));
}
