// LiveKit access tokens: JWTs signed with HS256 (RFC 7519, RFC 7515), their payload written so that clients which decode
// it with `atob` can read it.

import { createHash, type Hash } from "node:crypto";
import type { Secret } from "../secret.ts";

/** One of LiveKit's API keys. */
export interface ApiKey {
  /** The key's name, `iss` of its tokens. */
  readonly name: string;
  readonly secret: Secret;
}

/** LiveKit's `VideoGrant`, as far as it is used here. What is left out is not granted. */
export interface VideoGrant {
  readonly roomJoin?: boolean;
  readonly roomCreate?: boolean;
  readonly roomAdmin?: boolean;
  readonly roomList?: boolean;
  readonly room?: string;
  /** LiveKit reads a missing `canPublish` as true: a refusal must be written. */
  readonly canPublish?: boolean;
  readonly canSubscribe?: boolean;
  readonly canUpdateOwnMetadata?: boolean;
  /** LiveKit reads a missing `canPublishData` as `canPublish`. */
  readonly canPublishData?: boolean;
}

/** Who may do what, and from when to when (seconds since the epoch). */
export interface Claims {
  /** The participant; absent in tokens of the service itself. */
  readonly identity?: string;
  readonly video: VideoGrant;
  readonly issuedAt: number;
  readonly ttlSeconds: number;
}

const HEADER = Buffer.from('{"alg":"HS256","typ":"JWT"}').toString("base64url");

// `atob` knows "+" and "/" only. In base64url "-" and "_" come from six bits of 62 and 63, which ASCII yields for
// ">", "?", "~" and DEL alone: escape these, and everything beyond ASCII.
const UNREADABLE_BY_ATOB = /[>?~\u007f-\uffff]/g;

const BLOCK_BYTES = 64; // of SHA-256

/** Signs with one API key. */
export class AccessTokenSigner {
  #issuer: string;
  // The two halves of the HMAC (RFC 2104), with the key already taken in: each signature goes on from copies of them,
  // where `createHmac` would begin with the key every time.
  #inner: Hash;
  #outer: Hash;

  constructor(key: ApiKey) {
    this.#issuer = key.name;
    [this.#inner, this.#outer] = halves(key.secret);
  }

  /** Signs with another key from now on. */
  use(key: ApiKey): void {
    this.#issuer = key.name;
    [this.#inner, this.#outer] = halves(key.secret);
  }

  /** The compact JWT. */
  sign(claims: Claims): string {
    const { identity, video, issuedAt, ttlSeconds } = claims;
    const payload = {
      iss: this.#issuer,
      ...(identity === undefined ? {} : { sub: identity }),
      exp: issuedAt + ttlSeconds,
      nbf: issuedAt,
      iat: issuedAt,
      ...(identity === undefined ? {} : { identity }),
      video,
    };
    const signed = `${HEADER}.${encodePayload(payload)}`;
    // By way of hexadecimal digits, since a digest as a Buffer costs as much as the hash itself.
    const inner = Uint8Array.fromHex(this.#inner.copy().update(signed).digest("hex"));
    return `${signed}.${this.#outer.copy().update(inner).digest("base64url")}`;
  }
}

function halves(key: Secret): [inner: Hash, outer: Hash] {
  const secret = Buffer.from(key.reveal(), "utf8");
  const block = secret.length > BLOCK_BYTES ? createHash("sha256").update(secret).digest() : secret;
  const padded = (pad: number) => Uint8Array.from({ length: BLOCK_BYTES }, (_, index) => (block[index] ?? 0) ^ pad);
  return [createHash("sha256").update(padded(0x36)), createHash("sha256").update(padded(0x5c))];
}

/** Base64url of the JSON, free of "-" and "_". */
export function encodePayload(payload: unknown): string {
  const json = JSON.stringify(payload).replace(
    UNREADABLE_BY_ATOB,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return btoa(json).replace(/=+$/, "");
}
