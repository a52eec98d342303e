// JWTs as LiveKit signs them, and those of its webhooks.

import { createHash, createHmac } from "node:crypto";

/** One of LiveKit's API keys, its secret readable. */
export interface SigningKey {
  readonly name: string;
  readonly secret: string;
}

/** A compact JWT of anything, signed with HS256 whatever its header says. */
export function signJwt(secret: string, claims: object, header: object = { alg: "HS256", typ: "JWT" }): string {
  const signed = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

/** The `Authorization` header of a webhook signed now, with other claims where wanted. */
export function signWebhook({ name, secret }: SigningKey, body: string | Uint8Array, claims: object = {}): string {
  const now = Math.floor(Date.now() / 1000);
  const sha256 = createHash("sha256").update(body).digest("base64");
  return signJwt(secret, { iss: name, nbf: now, exp: now + 300, sha256, ...claims });
}
