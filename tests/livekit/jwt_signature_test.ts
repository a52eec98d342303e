// The signature of a JWT, and nothing else of it.

import assert from "node:assert/strict";
import fc from "fast-check";
import { AccessTokenSigner } from "../../lib/livekit/access_token.ts";
import { verifyJwt } from "../../lib/livekit/jwt_signature.ts";
import { Secret } from "../../lib/secret.ts";
import { anyText } from "../../testing/texts.ts";

const SECRET = new Secret("a secret of at least 32 characters");
const JWT = new AccessTokenSigner({ name: "devkey", secret: SECRET }).sign({ video: {}, issuedAt: 0, ttlSeconds: 1 });

const isSigned = (jwt: string, secret = SECRET) =>
  verifyJwt(jwt, (issuer) => issuer === "devkey" ? secret : undefined).ok;

Deno.test("a JWT is signed with its own secret, and with no other", () => {
  assert.deepEqual(verifyJwt(JWT, () => SECRET), {
    ok: true,
    payload: { iss: "devkey", exp: 1, nbf: 0, iat: 0, video: {} },
  });
  assert.equal(isSigned(JWT, new Secret(`${SECRET.reveal()}!`)), false);
});

Deno.test("whatever else it is, it is not signed", () => {
  const [header = "", payload = "", signature = ""] = JWT.split(".");
  const none = Buffer.from('{"alg":"none"}').toString("base64url");
  const bad = ["", ".", "..", header, `${header}.${payload}`, `${header}.${payload}.`, `${none}.${payload}.`];
  for (const text of [...bad, `${header}.${payload}x.${signature}`, `${JWT}AAAA`, `${header}.${signature}`]) {
    assert.equal(isSigned(text), false, text);
  }
  fc.assert(fc.property(anyText(), (text) => !isSigned(text)));
});
