// The answers to a fixed set of requests, to the byte: every row of the contract's table, at every route. They were
// recorded once, and only a change of the contract changes a line of recorded_answers.jsonl.

import assert from "node:assert/strict";
import { Worlds } from "../../testing/worlds.ts";
import { type Answer, readRecord, type RecordedAnswer } from "./recorded_answers.ts";

function bodyOf({ body, base64, fill }: RecordedAnswer): BodyInit | null {
  if (fill !== undefined) return "x".repeat(fill);
  return base64 === undefined ? body ?? null : Uint8Array.from(atob(base64), (byte) => byte.charCodeAt(0));
}

async function ask(recorded: RecordedAnswer): Promise<Answer> {
  using worlds = new Worlds();
  const { method, path, headers } = recorded;
  const request = new Request(`http://service.test${path}`, { method, headers, body: bodyOf(recorded) });
  const response = await worlds.of(recorded.world).app(request);
  const { "x-request-id": requestId, ...others } = Object.fromEntries(response.headers);
  assert.match(requestId ?? "", /^[0-9a-f-]{36}$/); // another one each time
  const answer = {
    status: response.status,
    headers: others,
    body: await response.text(),
  };
  await new Promise((resolve) => setTimeout(resolve, 0)); // a webhook goes on after its answer
  return answer;
}

/** What a token says: where two differ, the claims tell more than the signature. */
function claimsOf({ body }: Answer): unknown {
  const [, payload] = /"jwt":"[^.]+\.([^.]+)\./.exec(body) ?? [];
  return payload === undefined ? null : JSON.parse(atob(payload));
}

for (const recorded of readRecord()) {
  const { name, world, method, path } = recorded;
  Deno.test(`the recorded answer to ${method} ${path.slice(0, 40)} stands: ${name} (${world})`, async () => {
    const answer = await ask(recorded);
    assert.deepEqual(claimsOf(answer), claimsOf(recorded.answer));
    assert.deepEqual(answer, recorded.answer);
  });
}
