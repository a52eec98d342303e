// Bodies, headers, methods and paths, at every route, in every state of the service: each answer is on a row of the
// contract, a 5xx only where the state explains it, and nothing goes out for a request that is refused for its shape.

import assert from "node:assert/strict";
import fc from "fast-check";
import { type Draft, drafts, encode, goodDrafts, toRequest } from "../http/request_drafts.ts";
import { HASHED_BODY, LEGACY_BODY } from "../../testing/front.ts";
import { type Case, run } from "./campaign.ts";
import { rowOf } from "./contract_rows.ts";
import { SERVERS, type World, WORLDS, Worlds } from "../../testing/worlds.ts";

const CASES = 40_000;
const TOKEN_ROUTES = ["/sfu/get", "/get_token"];
const ROUTES = [...TOKEN_ROUTES, "/delegate_delayed_leave"];

interface Input {
  readonly world: World;
  readonly draft: Draft;
  readonly client: string;
}

// Good requests to every route, with and without a delayed event, from users of servers good and bad.
function goodRequests(): fc.Arbitrary<Draft> {
  const word = fc.string({ unit: fc.constantFrom(..."abcXYZ019é😀"), minLength: 1, maxLength: 8 });
  const delay = fc.record({ delay_id: word, delay_timeout: fc.constantFrom(10_000, "8000", 3_600_000) });
  const request = fc.record({
    route: fc.constantFrom(...ROUTES),
    server: fc.constantFrom(...SERVERS),
    word,
    delay: fc.option(delay),
    climbs: fc.nat(60).map((n) => n === 0),
    device: fc.oneof({ weight: 30, arbitrary: word }, {
      weight: 1,
      arbitrary: fc.constantFrom("D".repeat(260), "8448:P"),
    }),
  });
  const good = request.map(({ route, server, word, delay, climbs, device }): Draft => {
    const openid_token = { access_token: word, matrix_server_name: server };
    const wanted = delay ?? (route === "/delegate_delayed_leave" ? { delay_id: "syd_1", delay_timeout: 8000 } : {});
    const member = { id: word, claimed_user_id: `@alice:${server}`, claimed_device_id: device };
    const json = route === "/sfu/get"
      ? { ...LEGACY_BODY, room: `!${word}`, device_id: device, openid_token, ...wanted }
      : { ...HASHED_BODY, room_id: `!${word}`, member, openid_token, ...wanted };
    const body = encode(climbs && "delay_id" in json ? { ...json, delay_id: ".." } : json);
    return { mutation: "none", method: "POST", path: route, headers: {}, body };
  });
  const longUrl = good.map((draft) => ({ ...draft, path: `${draft.path}?${"x".repeat(8200)}` }));
  return fc.oneof(
    { weight: 20, arbitrary: good },
    { weight: 5, arbitrary: goodDrafts() },
    {
      weight: 1,
      arbitrary: fc.constantFrom("/sfu_webhook", "/healthz").chain((path) => good.map((one) => ({ ...one, path }))),
    },
    { weight: 1, arbitrary: longUrl },
  );
}

const worlds = fc.oneof(
  { weight: 3, arbitrary: fc.constant<World>("ordinary") },
  { weight: 1, arbitrary: fc.constantFrom(...Object.keys(WORLDS).filter(isWorld)) },
);
const inputs: fc.Arbitrary<Case<Input>> = fc.record({
  world: worlds,
  draft: drafts(goodRequests()),
  client: fc.nat(19).map((n) => `198.51.100.${n}`),
}).map((input) => ({ input, isMutated: input.draft.mutation !== "none" && input.draft.mutation !== "anything" }));

function isWorld(name: string): name is World {
  return name in WORLDS;
}

Deno.test(`${CASES} requests are answered as the contract says`, async () => {
  using fronts = new Worlds();
  await run({
    name: "requests",
    cases: CASES,
    arbitrary: inputs,
    run: async ({ world, draft, client }) => {
      const { app, outbound, log } = fronts.of(world);
      const before = outbound.requests.length;
      const request = toRequest(draft);
      request.headers.set("x-forwarded-for", client);
      const response = await app(request);
      const sent = outbound.requests.length - before;
      assert.equal(response.headers.get("access-control-allow-origin"), "*");
      assert.deepEqual(log.of("error").filter(({ message }) => !message.startsWith("Cannot create a room")), []);
      const text = await response.text();
      if (response.status === 200) return `200, ${kindOf200(text, draft)}`;

      const { errcode, error, ...rest } = JSON.parse(text);
      assert.deepEqual(Object.keys(rest), response.status === 429 ? ["retry_after_ms"] : []);
      assert.ok(text.endsWith("}\n") && response.headers.get("content-type") === "application/json");
      const isExpected = response.status < 500 && response.status !== 429 ||
        `${response.status} ${errcode}` === WORLDS[world];
      assert.ok(isExpected, `${response.status} ${errcode} in the world "${world}"`);
      const row = rowOf(response.status, errcode, error);
      const isAfterLookUp = /not authorised|restricted|API|switched off|CreateRoom|over 256/.test(row);
      if (!isAfterLookUp) assert.equal(sent, 0);
      return row;
    },
    tidy: () => fronts.forget(),
    mustReach: MUST_REACH,
  });
});

function kindOf200(text: string, { method, mutation }: Draft): string {
  if (text === "") return method === "OPTIONS" ? "OPTIONS" : "healthz or webhook";
  const kind = "jwt" in JSON.parse(text) ? "granted" : "taken charge of";
  return `${kind}${mutation === "field" ? ", a field mutated" : ""}`;
}

const MUST_REACH = [
  "200, granted",
  "200, granted, a field mutated",
  "200, taken charge of",
  "200, healthz or webhook",
  "200, OPTIONS",
  "400 M_BAD_JSON, client-server API not resolvable",
  "400 M_BAD_JSON, delay_id that would climb",
  "400 M_BAD_JSON, delegation asked by a restricted user",
  "400 M_BAD_JSON, delegation switched off",
  "400 M_BAD_JSON, device ID like a port",
  "400 M_BAD_JSON, identity over 256 bytes",
  "400 M_BAD_JSON, only one delay field, or a timeout of 0 or less",
  "400 M_BAD_JSON, required field missing or empty",
  "400 M_BAD_JSON, text over its bound",
  "400 M_NOT_JSON, not JSON, or a field of the wrong type",
  "401 M_UNAUTHORIZED, not authorised",
  "403 M_FORBIDDEN, delegation asked by a restricted user",
  "403 M_FORBIDDEN, server not allowed",
  "404 M_UNRECOGNIZED, no such route",
  "405 M_UNRECOGNIZED, wrong method",
  "413 M_TOO_LARGE, body over the cap",
  "414 M_UNRECOGNIZED, URL over the cap",
  "429 M_LIMIT_EXCEEDED, rate limit",
  "500 M_UNKNOWN, CreateRoom failed",
  "503 M_UNKNOWN, over capacity",
  "503 M_UNKNOWN, shutting down",
];
