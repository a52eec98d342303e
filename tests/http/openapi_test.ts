// docs/openapi.yaml, held against the service both ways: every recorded answer is one that it describes, to headers and
// text, and every route, error and text that it names is one that the service has.

import assert from "node:assert/strict";
import * as v from "valibot";
import { parse } from "yaml";
import manifest from "../../deno.json" with { type: "json" };
import { readRecord, type RecordedAnswer } from "./recorded_answers.ts";

const ROOT = new URL("../../", import.meta.url);
// What takes real time, real load or a limit to happen: other tests hold these.
const NOT_RECORDED = [
  "408 M_UNKNOWN: The request body did not arrive in time",
  "429 M_LIMIT_EXCEEDED: Too many requests, try again later",
  ...[400, 403].flatMap((status) => {
    const errcode = status === 400 ? "M_BAD_JSON" : "M_FORBIDDEN";
    return [
      `${status} ${errcode}: Too many delayed events of this user are delegated already (20 at most)`,
      `${status} ${errcode}: Too many delayed events of this user are delegated for this room (4 at most)`,
      `${status} ${errcode}: Too many delayed events of this homeserver are delegated already (1000 at most)`,
      `${status} ${errcode}: Too many delayed events are delegated already`,
    ];
  }),
  "503 M_UNKNOWN: Too many large requests at once",
  "503 M_UNKNOWN: One request at a time",
];

const ErrorBody = v.object({ errcode: v.string(), error: v.string() });
const Header = v.object({
  required: v.optional(v.boolean(), false),
  schema: v.object({ const: v.optional(v.string()) }),
});
const Content = v.object({
  schema: v.object({
    properties: v.optional(v.object({ errcode: v.optional(v.object({ enum: v.array(v.string()) })) })),
  }),
  examples: v.optional(v.record(v.string(), v.object({ value: v.looseObject({}) })), {}),
});
const Answer = v.object({
  headers: v.record(v.string(), Header),
  content: v.optional(v.object({ "application/json": Content })),
});
const Operation = v.object({ responses: v.record(v.string(), Answer) });
const Description = v.object({
  info: v.object({ version: v.string() }),
  paths: v.record(v.string(), v.record(v.string(), Operation)),
});

type Answer = v.InferOutput<typeof Answer>;

const plain: unknown = parse(Deno.readTextFileSync(new URL("docs/openapi.yaml", ROOT)));
const description = v.parse(Description, withoutReferences(plain, plain));
const errors = Object.values(description.paths).flatMap(Object.values)
  .flatMap(({ responses }: v.InferOutput<typeof Operation>) => Object.entries(responses))
  .flatMap(([status, answer]) => textsOf(answer).map((text) => `${status} ${text}`));

/** Every `$ref` replaced by what it names. */
function withoutReferences(node: unknown, root: unknown): unknown {
  if (Array.isArray(node)) return node.map((item) => withoutReferences(item, root));
  if (typeof node !== "object" || node === null) return node;
  if ("$ref" in node) {
    const names = String(node.$ref).split("/").slice(1);
    return withoutReferences(names.reduce((at, name) => Object(at)[name], root), root);
  }
  return Object.fromEntries(Object.entries(node).map(([key, value]) => [key, withoutReferences(value, root)]));
}

/** `errcode: text` of each example of an error. */
function textsOf({ content }: Answer): string[] {
  return Object.values(content?.["application/json"].examples ?? {}).map(({ value }) => {
    const { errcode, error } = v.parse(ErrorBody, value);
    return `${errcode}: ${error}`;
  });
}

function describedAnswer(path: string, method: string, status: number): Answer | undefined {
  const route = Object.keys(description.paths).find((route) =>
    path.split("?")[0]?.replace(/\/+/g, "/").endsWith(route)
  );
  const operations = description.paths[route ?? ""];
  // A method that a route does not have, and 405 with it, is described where its own method is.
  const operation = operations?.[method.toLowerCase()] ?? Object.values(operations ?? {})[0];
  return operation?.responses[String(status)];
}

/** A text as the description has it: with one name of a field, or one value, for all. */
function asExample(error: string): string {
  return error
    .replace(/`delay_id` "\.+"/, '`delay_id` ".."')
    .replace(/body's `\w+` is over \d+/, "body's `room_id` is over 255")
    .replace(/body's `\w+` begins/, "body's `device_id` begins");
}

/** Preflights and unknown paths have no operation: the description tells of them in words. */
function isInWordsOnly({ method, path, answer: { status } }: RecordedAnswer): boolean {
  return method === "OPTIONS" || (status === 404 && !path.startsWith("/delegate")) ||
    (path === "/healthz" && status === 405);
}

Deno.test("every recorded answer is one that the description has: status, headers and text", () => {
  for (const recorded of readRecord()) {
    if (isInWordsOnly(recorded)) continue;
    const { method, path, answer } = recorded;
    const what = `${method} ${path.slice(0, 60)}: ${answer.status} ${answer.body}`;
    const described = describedAnswer(path, method, answer.status);
    assert.ok(described !== undefined, `${what} is not described`);
    for (const [name, { required, schema }] of Object.entries(described.headers)) {
      const got = answer.headers[name.toLowerCase()];
      if (required) assert.ok(got !== undefined, `${what} lacks ${name}`);
      if (schema.const !== undefined) assert.equal(got, schema.const, `${what}: ${name}`);
    }
    if (answer.status === 200) continue;
    const { errcode, error } = v.parse(ErrorBody, JSON.parse(answer.body));
    assert.ok(textsOf(described).includes(`${errcode}: ${asExample(error)}`), `${what} is no example`);
    assert.ok(described.content?.["application/json"].schema.properties?.errcode?.enum.includes(errcode), what);
  }
});

Deno.test("every error that the description names is one that the service was recorded to answer with", () => {
  const recorded = readRecord().filter(({ answer }) => answer.status !== 200).map(({ answer }) => {
    const { errcode, error } = v.parse(ErrorBody, JSON.parse(answer.body));
    return `${answer.status} ${errcode}: ${asExample(error)}`;
  });
  assert.deepEqual([...new Set(errors)].filter((error) => ![...recorded, ...NOT_RECORDED].includes(error)), []);
});

Deno.test("the description has every status and error code that the sources throw, and the service's version", () => {
  const sources = sourcesIn(new URL("lib/", ROOT)).join("\n");
  const thrown = [...sources.matchAll(/new MatrixError\(\s*(\d{3}),\s*"(M_\w+)"/g)].map(([, status, code]) =>
    `${status} ${code}`
  );
  assert.ok(thrown.length > 8, "few errors found: is the pattern of this test right?");
  const named = new Set(errors.map((error) => error.slice(0, error.indexOf(":"))));
  assert.deepEqual(thrown.filter((one) => !named.has(one)), []);
  assert.equal(description.info.version, manifest.version);
});

Deno.test("the description has the routes of the service, and no others", () => {
  const routes = new Set(
    readRecord().filter(({ method, answer }) => method !== "OPTIONS" && answer.status !== 404)
      .map(({ path }) => Object.keys(description.paths).find((route) => path.split("?")[0]?.endsWith(route)) ?? path),
  );
  assert.deepEqual(routes, new Set(Object.keys(description.paths)));
});

function sourcesIn(folder: URL): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) =>
    isDirectory ? sourcesIn(new URL(`${name}/`, folder)) : [Deno.readTextFileSync(new URL(name, folder))]
  );
}
