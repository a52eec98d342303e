// Who calls the development SFU: access tokens checked as LiveKit's middleware checks them, with its texts. Checking is
// the dear part of a call, so tokens that come again, as those of services do, are remembered.

import { TokenVerifier, type VideoGrant } from "livekit-server-sdk";

/** What a valid token says. */
export interface TokenClaims {
  /** The participant; empty in tokens of services. */
  readonly identity: string;
  readonly name: string;
  readonly metadata: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly video: VideoGrant | null;
}

/** A verdict: claims, or the text of LiveKit's 401. With a wrong secret LiveKit's text repeats the whole token. */
export type Verdict = { readonly claims: TokenClaims } | { readonly refusal: string };

const LEEWAY_SECONDS = 60;
const MAX_REMEMBERED = 1000;

/** Checks tokens of one API key, by the wall clock. Unlike LiveKit it wants an `exp`, as LiveKit's own SDK does. */
export class SfuTokens {
  readonly #apiKey: string;
  readonly #verifier: TokenVerifier;
  readonly #remembered = new Map<string, { readonly verdict: Verdict; readonly goodUntilMs: number }>();

  constructor(apiKey: string, apiSecret: string) {
    this.#apiKey = apiKey;
    this.#verifier = new TokenVerifier(apiKey, apiSecret);
  }

  /** Checks one token. */
  async check(token: string): Promise<Verdict> {
    const remembered = this.#remembered.get(token);
    if (remembered !== undefined && Date.now() < remembered.goodUntilMs) return remembered.verdict;

    const issuer = issuerOf(token);
    if (issuer === null) return { refusal: "invalid authorization token" };
    if (issuer !== this.#apiKey) return { refusal: `invalid API key: ${issuer}` };
    try {
      const grants = await this.#verifier.verify(token, LEEWAY_SECONDS);
      const verdict = {
        claims: {
          identity: grants.sub ?? "",
          name: grants.name ?? "",
          metadata: grants.metadata ?? "",
          attributes: grants.attributes ?? {},
          video: grants.video ?? null,
        },
      };
      this.#remember(token, verdict, ((grants.exp ?? 0) + LEEWAY_SECONDS) * 1000);
      return verdict;
    } catch (error) {
      return { refusal: `invalid token: ${token}, error: ${reasonOf(error)}` };
    }
  }

  #remember(token: string, verdict: Verdict, goodUntilMs: number): void {
    if (this.#remembered.size >= MAX_REMEMBERED) this.#remembered.clear();
    this.#remembered.set(token, { verdict, goodUntilMs });
  }
}

/** @returns Null when it is no JWT at all. */
function issuerOf(token: string): string | null {
  const [, payload, signature] = token.split(".");
  if (payload === undefined || signature === undefined) return null;
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, "base64url").toString());
    if (typeof claims !== "object" || claims === null) return null;
    return "iss" in claims && typeof claims.iss === "string" ? claims.iss : "";
  } catch {
    return null;
  }
}

function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : "";
  if (message.includes('"exp" claim timestamp')) return "token has invalid claims: token is expired";
  if (message.includes('"nbf" claim timestamp')) return "token has invalid claims: token is not valid yet";
  if (message.includes("signature")) return "token signature is invalid: signature is invalid";
  return `token is malformed: ${message}`;
}
