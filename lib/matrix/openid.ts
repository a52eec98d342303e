// Who is asking? A Matrix OpenID token is shown to the homeserver it names; the answer is a user of that very server,
// or nobody. Source: Matrix server-server API, "OpenID".

import { hash } from "node:crypto";
import * as v from "valibot";
import { DeadlineError, Deadlines, within } from "../async/deadline.ts";
import { FlightCache } from "../cache/loading_cache.ts";
import { unauthorised } from "../matrix_error.ts";
import type { Log } from "../log/log.ts";
import type { Secret } from "../secret.ts";
import type { FederationClient, FederationOutcome } from "./federation_client.ts";
import { parseServerName, parseUserId, type ServerName, serverOf, type UserId } from "./server_name.ts";

/** The parts of a client's OpenID token that matter. */
export interface OpenIdToken {
  readonly accessToken: Secret;
  /** The server to ask, as the client wrote it: not yet known to be a server name. */
  readonly matrixServerName: string;
}

/** What verification needs from outside. */
export interface OpenIdVerifierDeps {
  readonly federation: Pick<FederationClient, "get">;
  readonly monotonicNow: () => number;
  /** Told of each server that vouched for a user. */
  readonly onVerified?: (server: ServerName) => void;
  readonly log: Log;
}

const USERINFO_PATH = "/_matrix/federation/v1/openid/userinfo";

// Clients show one token up to three times within seconds; a longer memory would outlive a logout.
const VERIFIED_TTL_MS = 30_000;
const CACHED_TOKENS = 10_000;
const LOOKUP_TIMEOUT_MS = 10_000;

const UserInfo = v.object({ sub: v.string() });
const ErrorBody = v.object({ errcode: v.pipe(v.string(), v.regex(/^[A-Z][A-Z0-9_.]{0,63}$/)) });

/** Asks homeservers whose token this is. */
export class OpenIdVerifier {
  readonly #deps: OpenIdVerifierDeps;
  readonly #verified: FlightCache<UserId>;
  readonly #deadlines = new Deadlines(LOOKUP_TIMEOUT_MS);

  constructor(deps: OpenIdVerifierDeps) {
    this.#deps = deps;
    this.#verified = new FlightCache({ capacity: CACHED_TOKENS, monotonicNow: deps.monotonicNow });
  }

  /**
   * The user whose token it is.
   *
   * @throws MatrixError 401 when the homeserver does not vouch for it, for whatever reason; the reason is logged.
   */
  async verify(token: OpenIdToken, signal: AbortSignal): Promise<UserId> {
    const server = parseServerName(token.matrixServerName);
    if (server === null) throw unauthorised(`"${token.matrixServerName.slice(0, 300)}" is no server name`);
    const key = cacheKey(server, token.accessToken);
    const verified = this.#verified.get(key);
    if (verified !== undefined) return verified;

    const flight = this.#verified.getOrLoad(key, async () => {
      const lookUp = (signal: AbortSignal) => this.#lookUp(server, token.accessToken, signal);
      return { value: await this.#deadlines.limit(lookUp), ttlMs: VERIFIED_TTL_MS };
    });
    try {
      return await within(flight, signal);
    } catch (error) {
      throw signal.aborted || error instanceof DeadlineError ? unauthorised(error) : error;
    }
  }

  async #lookUp(server: ServerName, accessToken: Secret, signal: AbortSignal): Promise<UserId> {
    const path = `${USERINFO_PATH}?access_token=${encodeURIComponent(accessToken.reveal())}`;
    const result = await this.#deps.federation.get(server, path, signal);
    const user = result.outcome === "answer" ? readUser(server, result) : null;
    if (user !== null && "id" in user) {
      this.#deps.onVerified?.(server);
      return user.id;
    }

    const fields = { server, steps: [...result.story, ...(user === null ? [] : [user.problem])] };
    if (result.outcome === "no-answer" && result.blocked) {
      this.#deps.log.warning(
        "Cannot ask a homeserver: its address is not public. If it is yours, list it in " +
          "LIVEKIT_FULL_ACCESS_HOMESERVERS, or its network in LIVEKIT_FEDERATION_ALLOW_NETWORKS",
        { ...fields, throttle: server },
      );
    } else if (result.outcome === "answer" || !result.remembered) {
      this.#deps.log.warning("Cannot verify an OpenID token", fields);
    }
    throw unauthorised(fields.steps.at(-1));
  }
}

function readUser(
  server: ServerName,
  { response }: Extract<FederationOutcome, { outcome: "answer" }>,
): { id: UserId } | { problem: string } {
  const json = parseJson(response.body);
  if (response.status !== 200) {
    const error = v.safeParse(ErrorBody, json);
    return { problem: `userinfo refused with ${error.success ? error.output.errcode : "no Matrix error code"}` };
  }
  const info = v.safeParse(UserInfo, json);
  if (!info.success) return { problem: 'userinfo has no text "sub"' };
  const user = parseUserId(info.output.sub);
  if (user === null) return { problem: 'userinfo\'s "sub" is no user ID' };
  // The token is worth no more than the server that vouches for it: no server may speak for another's users.
  if (serverOf(user) !== server) return { problem: 'userinfo\'s "sub" belongs to another server' };
  return { id: user };
}

function parseJson(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch {
    return undefined;
  }
}

// Never the token alone: another server's token of the same text must not pass. The lengths keep the two apart.
function cacheKey(server: ServerName, accessToken: Secret): string {
  const token = accessToken.reveal();
  return hash("sha256", `${server.length}:${server}${token.length}:${token}`, "base64");
}
