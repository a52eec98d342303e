// The development SFU's check of tokens over time: what it remembers ends with the token.

import assert from "node:assert/strict";
import { mock } from "node:test";
import { AccessToken } from "livekit-server-sdk";
import { SfuTokens } from "../../testing/fake_sfu_tokens.ts";

const SECRET = "a secret of at least 32 characters";

async function sign(identity: string): Promise<string> {
  const token = new AccessToken("devkey", SECRET, { identity, ttl: 600 });
  token.addGrant({ roomJoin: true, room: "a" });
  return await token.toJwt();
}

async function identityOf(tokens: SfuTokens, token: string): Promise<string | null> {
  const verdict = await tokens.check(token);
  return "claims" in verdict ? verdict.claims.identity : null;
}

Deno.test("a token is good from its nbf to its exp and 60 s more, shown before or not", async () => {
  mock.timers.enable({ apis: ["Date"], now: 1_700_000_000_000 });
  try {
    const seen = new SfuTokens("devkey", SECRET);
    const token = await sign("alice");
    assert.equal(await identityOf(seen, token), "alice");
    for (const [seconds, isGood] of [[659, true], [1, false]] as const) {
      mock.timers.tick(seconds * 1000);
      assert.equal(await identityOf(seen, token), isGood ? "alice" : null, "seen before");
      assert.equal(await identityOf(new SfuTokens("devkey", SECRET), token), isGood ? "alice" : null, "not seen");
    }
  } finally {
    mock.timers.reset();
  }
});

Deno.test("a forged token is refused though the genuine one was seen", async () => {
  const tokens = new SfuTokens("devkey", SECRET);
  const [header, , signature] = (await sign("alice")).split(".");
  const [, payload] = (await sign("bob")).split(".");
  assert.equal(await identityOf(tokens, `${header}.${payload}.${signature}`), null);
});

Deno.test("more tokens than are remembered are all told apart", async () => {
  const tokens = new SfuTokens("devkey", SECRET);
  const first = await sign("first");
  assert.equal(await identityOf(tokens, first), "first");
  for (let i = 0; i < 1100; i++) assert.equal(await identityOf(tokens, await sign(`user ${i}`)), `user ${i}`);
  assert.equal(await identityOf(tokens, first), "first");
});
