// What the document leaves out or makes up: its routes against the route table of the front, its statuses and error
// codes against those in the sources and against the service's contract with its clients.

import * as v from "valibot";
import { DOCUMENT } from "./document.ts";

const TOKEN_ROUTES = ["/sfu/get", "/get_token"];
const API_ROUTES = [...TOKEN_ROUTES, "/delegate_delayed_leave"];

// What clients rely on: where, which status, which error code.
const CONTRACT: readonly (readonly [routes: readonly string[], status: number, errcode: string])[] = [
  [API_ROUTES, 400, "M_NOT_JSON"],
  [API_ROUTES, 400, "M_BAD_JSON"],
  [API_ROUTES, 401, "M_UNAUTHORIZED"],
  [API_ROUTES, 403, "M_FORBIDDEN"],
  [API_ROUTES, 405, "M_UNRECOGNIZED"],
  [API_ROUTES, 413, "M_TOO_LARGE"],
  [API_ROUTES, 429, "M_LIMIT_EXCEEDED"],
  [TOKEN_ROUTES, 500, "M_UNKNOWN"],
  [API_ROUTES, 503, "M_UNKNOWN"],
];

const Answer = v.object({
  content: v.optional(v.object({
    "application/json": v.object({
      schema: v.object({
        properties: v.optional(v.object({ errcode: v.optional(v.object({ enum: v.array(v.string()) })) })),
      }),
    }),
  })),
});
const Reference = v.object({ $ref: v.string() });
const Operation = v.object({ responses: v.record(v.string(), v.union([Reference, Answer])) });
const Components = v.object({ responses: v.record(v.string(), Answer) });

/** One line per gap; empty when the document is whole. */
export function findGaps(libraryFolder: string): string[] {
  const sources = [...sourceFiles(libraryFolder)].map((path) => Deno.readTextFileSync(path)).join("\n");
  const documented = documentedErrors();
  const thrown = thrownErrors(sources);
  const routes = [...sources.matchAll(/^ +path: "(\/[^"]+)",?$|\{ path: "(\/[^"]+)", methods/gm)]
    .map(([, first, second]) => first ?? second ?? "");
  const all = new Set([...documented.values()].flatMap((errors) => [...errors]));
  return [
    ...difference(new Set(routes), new Set(Object.keys(DOCUMENT.paths)), "route"),
    // Without a MatrixError: what the front answers for a bug.
    ...difference(new Set([...thrown, "500 M_UNKNOWN"]), all, "error"),
    ...CONTRACT.flatMap(([paths, status, errcode]) =>
      paths.filter((path) => !documented.get(path)?.has(`${status} ${errcode}`))
        .map((path) => `${path} is documented without "${status} ${errcode}", which the contract has`)
    ),
  ];
}

function difference(built: ReadonlySet<string>, documented: ReadonlySet<string>, what: string): string[] {
  return [
    ...[...built].filter((one) => !documented.has(one)).map((one) => `the ${what} "${one}" is not documented`),
    ...[...documented].filter((one) => !built.has(one)).map((one) =>
      `the ${what} "${one}" is documented and not built`
    ),
  ];
}

function thrownErrors(sources: string): Set<string> {
  const thrown = [...sources.matchAll(/new MatrixError\((\d{3}), "(M_\w+)"/g)].map(([, status, code]) =>
    `${status} ${code}`
  );
  const calls = [...sources.matchAll(/new MatrixError\((?!\s*\d{3}, "M_)/g)];
  if (calls.length > 0) throw new Error(`Cannot read the status of ${calls.length} errors in the sources`);
  return new Set(thrown);
}

function documentedErrors(): Map<string, Set<string>> {
  return new Map(
    Object.entries(DOCUMENT.paths).map(([path, operations]) => [
      path,
      new Set(Object.values(operations).flatMap((operation) => errorsOf(v.parse(Operation, operation)))),
    ]),
  );
}

function errorsOf({ responses }: v.InferOutput<typeof Operation>): string[] {
  const shared = v.parse(Components, DOCUMENT.components).responses;
  return Object.entries(responses).flatMap(([status, response]) => {
    const answer = "$ref" in response ? shared[response.$ref.slice(response.$ref.lastIndexOf("/") + 1)] : response;
    if (answer === undefined) throw new Error(`Cannot find an answer of status "${status}" among the components`);
    const errcodes = answer.content?.["application/json"].schema.properties?.errcode?.enum ?? [];
    return errcodes.map((errcode) => `${status} ${errcode}`);
  });
}

function* sourceFiles(folder: string): Generator<string> {
  for (const entry of Deno.readDirSync(folder)) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) yield* sourceFiles(path);
    else if (entry.name.endsWith(".ts")) yield path;
  }
}
