// The signature of a JWT, and nothing else of it.

import assert from "node:assert/strict";
import fc from "fast-check";
import { AccessTokenSigner } from "../../lib/livekit/access_token.ts";
import { isSignedWith } from "../../lib/livekit/jwt_signature.ts";
import { Secret } from "../../lib/secret.ts";

const SECRET = new Secret("a secret of at least 32 characters");
const JWT = new AccessTokenSigner({ name: "devkey", secret: SECRET }).sign({ video: {}, issuedAt: 0, ttlSeconds: 1 });

Deno.test("a JWT is signed with its own secret, and with no other", () => {
  assert.equal(isSignedWith(JWT, SECRET), true);
  assert.equal(isSignedWith(JWT, new Secret(`${SECRET.reveal()}!`)), false);
});

Deno.test("whatever else it is, it is not signed", () => {
  const [header = "", payload = "", signature = ""] = JWT.split(".");
  const none = Buffer.from('{"alg":"none"}').toString("base64url");
  const bad = ["", ".", "..", header, `${header}.${payload}`, `${header}.${payload}.`, `${none}.${payload}.`];
  for (const text of [...bad, `${header}.${payload}x.${signature}`, `${JWT}AAAA`, `${header}.${signature}`]) {
    assert.equal(isSignedWith(text, SECRET), false, text);
  }
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => !isSignedWith(text, SECRET)));
});
