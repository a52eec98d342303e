// Whether a JWT is signed with a secret: only that. Times and claims are somebody else's business.

import { createHmac, timingSafeEqual } from "node:crypto";
import type { Secret } from "../secret.ts";

const HS256_BYTES = 32;

/** Whether a compact JWT carries the HS256 signature of a secret (RFC 7515, 5.2). Compared in constant time. */
export function isSignedWith(jwt: string, secret: Secret): boolean {
  const dot = jwt.lastIndexOf(".");
  if (dot < 0) return false;
  const signature = Buffer.from(jwt.slice(dot + 1), "base64url");
  if (signature.length !== HS256_BYTES) return false;
  return timingSafeEqual(signature, createHmac("sha256", secret.reveal()).update(jwt.slice(0, dot)).digest());
}
