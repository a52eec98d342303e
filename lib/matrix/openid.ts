// Who is asking? A Matrix OpenID token is shown to the homeserver it names; the answer is a user of that very server,
// or nobody. Source: Matrix server-server API, "OpenID".

import { hash } from "node:crypto";
import * as v from "valibot";
import type { Clock } from "../async/clock.ts";
import { Deadlines } from "../async/deadline.ts";
import { type CacheCounts, LoadingCache } from "../cache/loading_cache.ts";
import { type MatrixError, unauthorized } from "../matrix_error.ts";
import { parseJson } from "../net/json.ts";
import type { OutboundResponse } from "../net/client.ts";
import { Secret } from "../secret.ts";
import type { FederationClient, FederationOutcome } from "./federation_client.ts";
import { parseServerName, parseUserId, type ServerName, serverOf, type UserId } from "./server_name.ts";
import { adviceFor } from "./userinfo_advice.ts";

/** The parts of a client's OpenID token that matter. */
export interface OpenIdToken {
  readonly accessToken: Secret;
  /** The server to ask; null where the client wrote what is no server name. */
  readonly homeserver: ServerName | null;
  /** As the client wrote it. */
  readonly matrixServerName: string;
}

/** Makes a token of a client's texts. */
export function openIdToken(accessToken: string, matrixServerName: string): OpenIdToken {
  return { accessToken: new Secret(accessToken), homeserver: parseServerName(matrixServerName), matrixServerName };
}

/** A user whom their homeserver vouches for. */
export interface VerifiedUser {
  readonly user: UserId;
  /** Whether nobody had to be asked for this request: remembered, or asked for another one. */
  readonly wasKnown: boolean;
}

/** What verification needs from outside. */
export interface OpenIdVerifierOptions {
  readonly federation: Pick<FederationClient, "get">;
  readonly clock: Clock;
  /** Called for each server that vouched for a user. */
  readonly onVerified?: (server: ServerName) => void;
}

const USERINFO_PATH = "/_matrix/federation/v1/openid/userinfo";

// Clients show one token up to three times within seconds; a longer memory would outlive a logout.
const VERIFIED_TTL_MS = 30_000;
// A key and a value have a hash and a user ID: 0.4 KB at most.
const CACHED_TOKENS = 5000;
// Before the deadline of the exchange, so that a look-up that comes to nothing can tell its steps.
const LOOKUP_TIMEOUT_MS = 9500;

const ErrorBody = v.object({ errcode: v.pipe(v.string(), v.regex(/^[A-Z][A-Z0-9_.]{0,63}$/)) });

/** Asks homeservers whose token this is. */
export class OpenIdVerifier {
  readonly #options: OpenIdVerifierOptions;
  readonly #verified: LoadingCache<UserId>;
  readonly #deadlines: Deadlines;

  constructor(options: OpenIdVerifierOptions) {
    const { clock } = options;
    this.#options = options;
    this.#verified = new LoadingCache({ capacity: CACHED_TOKENS, clock });
    this.#deadlines = new Deadlines(LOOKUP_TIMEOUT_MS, clock);
  }

  /** How often a look-up was saved. */
  get cacheCounts(): CacheCounts {
    return this.#verified.counts;
  }

  /**
   * Gives the user whose token it is.
   *
   * @throws MatrixError 401 when the homeserver does not vouch for it, for whatever reason.
   */
  async verify(token: OpenIdToken, signal: AbortSignal): Promise<VerifiedUser> {
    const { homeserver, accessToken } = token;
    if (homeserver === null) throw unauthorized(`"${token.matrixServerName.slice(0, 200)}" is no server name`);
    let wasKnown = true;
    const load = async () => {
      wasKnown = false;
      const lookUp = (signal: AbortSignal) => this.#lookUp(homeserver, accessToken, signal);
      return { value: await this.#deadlines.run(lookUp), ttlMs: VERIFIED_TTL_MS };
    };
    try {
      const user = await this.#verified.get(cacheKey(homeserver, accessToken), load, signal);
      return { user, wasKnown };
    } catch (error) {
      if (!signal.aborted) throw error;
      throw unauthorized(error, { summary: "Cannot verify an OpenID token" });
    }
  }

  async #lookUp(server: ServerName, accessToken: Secret, signal: AbortSignal): Promise<UserId> {
    const path = `${USERINFO_PATH}?access_token=${encodeURIComponent(accessToken.reveal())}`;
    const result = await this.#options.federation.get(server, path, signal);
    if (result.outcome !== "answer") throw refusal(result, result.steps);
    const info = readUserInfo(server, result.response);
    if (!info.ok) throw refusal(result, [...result.steps, info.reason]);
    this.#options.onVerified?.(server);
    return info.user;
  }
}

/** The 401, with all that an operator needs of it. */
function refusal(result: FederationOutcome, steps: readonly string[]): MatrixError {
  const advice = adviceFor(result);
  const fields = { steps, ...(advice === null ? {} : { advice }) };
  return unauthorized(steps.at(-1), { summary: "Cannot verify an OpenID token", fields });
}

type UserInfo = { readonly ok: true; readonly user: UserId } | { readonly ok: false; readonly reason: string };

function readUserInfo(server: ServerName, { status, body }: OutboundResponse): UserInfo {
  const json = parseJson(body);
  if (status !== 200) {
    const error = v.safeParse(ErrorBody, json);
    return refused(`userinfo refused with ${error.success ? error.output.errcode : "no Matrix error code"}`);
  }
  // By hand, as the only check of a document that runs for each exchange.
  const sub = typeof json === "object" && json !== null && "sub" in json ? json.sub : undefined;
  if (typeof sub !== "string") return refused('userinfo has no text "sub"');
  const user = parseUserId(sub);
  if (user === null) return refused('userinfo\'s "sub" is no user ID');
  // The token is worth no more than the server that vouches for it: no server may speak for another's users.
  if (serverOf(user) !== server) return refused('userinfo\'s "sub" belongs to another server');
  return { ok: true, user };
}

function refused(reason: string): UserInfo {
  return { ok: false, reason };
}

// Never the token alone: another server's token of the same text must not pass. The lengths keep the two apart.
function cacheKey(server: ServerName, accessToken: Secret): string {
  const token = accessToken.reveal();
  return hash("sha256", `${server.length}:${server}${token.length}:${token}`, "hex");
}
