// The signature of a JWT: whose it is, and what it covers. Times and claims are the caller's business.

import { createHmac, timingSafeEqual } from "node:crypto";
import * as v from "valibot";
import { parseJson } from "../net/json.ts";
import type { Secret } from "../secret.ts";

/** What a JWT comes to. */
export type JwtVerdict =
  | { readonly ok: true; readonly payload: unknown }
  | { readonly ok: false; readonly reason: JwtRefusal };

/**
 * Why a JWT does not verify.
 * - `no-jwt`: not a JWT in compact form that names its issuer, or over 8 KiB.
 * - `unknown-issuer`: of a key that is not one of these.
 * - `wrong-algorithm`: HS256 is the only one that LiveKit uses.
 * - `wrong-signature`: not signed with the secret of the key that it names.
 */
export type JwtRefusal = "no-jwt" | "unknown-issuer" | "wrong-algorithm" | "wrong-signature";

const HS256_BYTES = 32;
// LiveKit's have some 250 characters.
const MAX_CHARACTERS = 8192;
// Base64url without padding (RFC 7515, 2): what a decoder would skip has no place in it.
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

const Issued = v.object({ iss: v.string() });
// A critical extension that is not understood refuses the whole (RFC 7515, 4.1.11), and none is understood here.
const Header = v.object({ alg: v.literal("HS256"), crit: v.optional(v.never()) });

/**
 * Verifies a compact JWT with the secret of its issuer (RFC 7519; HS256 of RFC 7518, 3.2), compared in constant time.
 *
 * @param secretOf The secret of an API key by its name; undefined for a key that is not known.
 */
export function verifyJwt(jwt: string, secretOf: (issuer: string) => Secret | undefined): JwtVerdict {
  const [header = "", body = "", signature = ""] = jwt.length <= MAX_CHARACTERS && COMPACT.test(jwt)
    ? jwt.split(".")
    : [];
  const payload = decode(body);
  if (!v.is(Issued, payload)) return refused("no-jwt");
  const secret = secretOf(payload.iss);
  if (secret === undefined) return refused("unknown-issuer");
  if (!v.is(Header, decode(header))) return refused("wrong-algorithm");
  const expected = createHmac("sha256", secret.reveal()).update(`${header}.${body}`).digest();
  const actual = Buffer.from(signature, "base64url");
  const isSigned = actual.length === HS256_BYTES && timingSafeEqual(actual, expected);
  return isSigned ? { ok: true, payload } : refused("wrong-signature");
}

function decode(part: string): unknown {
  return parseJson(Buffer.from(part, "base64url"));
}

function refused(reason: JwtRefusal): JwtVerdict {
  return { ok: false, reason };
}
