// Thousands of requests, most of them good ones with one thing wrong: no answer is a 5xx, nothing is left unhandled,
// and a request that is refused for its shape causes no traffic. Seeded: every run is the same.

import assert from "node:assert/strict";
import fc from "fast-check";
import { createFront } from "../../testing/front.ts";
import { drafts, toRequest } from "./request_drafts.ts";

const REQUESTS = 2500;

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
    assert.ok((answers.get(reached) ?? 0) >= 10, `${reached} was reached ${answers.get(reached)} times`);
  }
  assert.ok((answers.get("404 M_UNRECOGNIZED") ?? 0) >= 10 && (answers.get("405 M_UNRECOGNIZED") ?? 0) >= 10);
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
