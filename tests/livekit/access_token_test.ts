// LiveKit tokens: the contract's vector to the last byte, payloads that any client can read with `atob`, and a check by
// LiveKit's own verifier.

import assert from "node:assert/strict";
import fc from "fast-check";
import { TokenVerifier } from "livekit-server-sdk";
import { AccessTokenSigner, encodePayload } from "../../lib/livekit/access_token.ts";
import { Secret } from "../../lib/secret.ts";
import { anyText } from "../../testing/texts.ts";

const SECRET = "a secret of at least 32 characters";

Deno.test("the contract's token comes out byte for byte", () => {
  const signer = new AccessTokenSigner({ name: "devkey", secret: new Secret("secret") });
  const jwt = signer.sign({
    identity: "@alice:example.com:DEVICE",
    video: {
      roomJoin: true,
      room: "krj2dgxw2K6EOm9he4GfQJ6JsSVWfJ8a7BkyjZcSmxs",
      canPublish: true,
      canSubscribe: true,
      canUpdateOwnMetadata: true,
    },
    issuedAt: 1_700_000_000,
    ttlSeconds: 3600,
  });
  const [header, payload, signature] = jwt.split(".");
  assert.equal(atob(header ?? ""), '{"alg":"HS256","typ":"JWT"}');
  assert.equal(
    atob(payload ?? ""),
    '{"iss":"devkey","sub":"@alice:example.com:DEVICE","exp":1700003600,"nbf":1700000000,"iat":1700000000,' +
      '"identity":"@alice:example.com:DEVICE","video":{"roomJoin":true,' +
      '"room":"krj2dgxw2K6EOm9he4GfQJ6JsSVWfJ8a7BkyjZcSmxs","canPublish":true,"canSubscribe":true,' +
      '"canUpdateOwnMetadata":true}}',
  );
  assert.equal(signature, "KFx7DqoVaplFRv61UCTzqBC1AePjVfl9hj7i2VkMHFg");
});

Deno.test("a token of the service itself names no participant", () => {
  const jwt = new AccessTokenSigner({ name: "devkey", secret: new Secret("secret") })
    .sign({ video: { roomCreate: true }, issuedAt: 1, ttlSeconds: 2 });
  assert.equal(
    atob(jwt.split(".")[1] ?? ""),
    '{"iss":"devkey","exp":3,"nbf":1,"iat":1,"video":{"roomCreate":true}}',
  );
});

type Encode = (payload: unknown) => string;

// Base64url as everybody writes it.
const encodePlain: Encode = (payload) => Buffer.from(JSON.stringify(payload)).toString("base64url");

// Escapes what is beyond ASCII and forgets the four ASCII characters that end in six set bits.
const encodeAscii: Encode = (payload) => encodeEscaping(payload, /[\u0080-\uffff]/g);

// Escapes all but DEL.
const encodeWithDel: Encode = (payload) => encodeEscaping(payload, /[>?~\u0080-\uffff]/g);

Deno.test("clients that decode with atob read back every claim, whatever its characters", () => {
  fc.assert(isReadable(encodePayload), { seed: 3, numRuns: 3000, endOnFailure: true });
});

for (
  const [name, wrong] of Object.entries({
    "escapes nothing": encodePlain,
    "escapes only what is beyond ASCII": encodeAscii,
    "forgets DEL": encodeWithDel,
  })
) {
  Deno.test(`the property finds a version that ${name}`, () => {
    assert.throws(() => fc.assert(isReadable(wrong), { seed: 3, numRuns: 3000, endOnFailure: true }));
  });
}

Deno.test("LiveKit's own verifier accepts the token and reads the same claims", async () => {
  const signer = new AccessTokenSigner({ name: "key/with>odd?name~", secret: new Secret(SECRET) });
  const verifier = new TokenVerifier("key/with>odd?name~", SECRET);
  for (const identity of ["@alice:example.com:DEVICE", "@jürgen:example.org:😀\u007f~>?", "@a:b:\ud800"]) {
    const video = {
      roomJoin: true,
      room: "alias+/",
      canPublish: false,
      canSubscribe: true,
      canUpdateOwnMetadata: false,
    };
    const jwt = signer.sign({ identity, video, issuedAt: Math.floor(Date.now() / 1000), ttlSeconds: 60 });
    const claims = await verifier.verify(jwt);
    assert.equal(claims.sub, identity);
    assert.deepEqual(claims.video, video);
  }
});

Deno.test("LiveKit's own verifier refuses a token signed with another secret", async () => {
  const jwt = new AccessTokenSigner({ name: "devkey", secret: new Secret(`${SECRET}!`) })
    .sign({ identity: "x", video: {}, issuedAt: Math.floor(Date.now() / 1000), ttlSeconds: 60 });
  await assert.rejects(new TokenVerifier("devkey", SECRET).verify(jwt));
});

function isReadable(encode: Encode) {
  const hard = fc.constantFrom(...'<>?~\x7f\x80ÿ\u2028é😀"\\\0', "\ud800", "a");
  const text = fc.oneof(anyText(), fc.string({ unit: hard }));
  return fc.property(text, text, text, (iss, identity, room) => {
    const claims = { iss, sub: identity, identity, video: { room } };
    const encoded = encode(claims);
    assert.match(encoded, /^[A-Za-z0-9]*$/); // what atob and a JWT parser both read
    assert.deepEqual(JSON.parse(atob(encoded)), claims);
  });
}

function encodeEscaping(payload: unknown, escaped: RegExp): string {
  const json = JSON.stringify(payload)
    .replace(escaped, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
  return Buffer.from(json, "latin1").toString("base64url");
}
