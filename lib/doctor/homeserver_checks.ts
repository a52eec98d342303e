// Checks of one homeserver as a federation peer: its name, where it is, whether it vouches for its users, and whether it
// is the server that its name says.

import type { Clock } from "../async/clock.ts";
import type { FederationClient, FederationOutcome } from "../matrix/federation_client.ts";
import type { ServerDiscovery } from "../matrix/server_discovery.ts";
import { adviceFor } from "../matrix/userinfo_advice.ts";
import { parseServerName, type ServerName, serverNameParts } from "../matrix/server_name.ts";
import { parseJson } from "../net/json.ts";
import { type Check, error, ok, type Question, skipped, warning } from "./check.ts";
import { clockSkewMs, describeAnswer, errcodeOf, isChallenge } from "./probe.ts";
import { judgeSkew } from "./sfu_checks.ts";

/** What the checks of a homeserver's federation API need. */
export interface HomeserverCheckDeps {
  readonly discovery: Pick<ServerDiscovery, "resolve">;
  readonly federation: Pick<FederationClient, "get">;
  readonly clock: Pick<Clock, "now" | "monotonicNow">;
}

const USERINFO_PATH = "/_matrix/federation/v1/openid/userinfo";
const KEY_PATH = "/_matrix/key/v2/server";
// No homeserver ever gave it out.
const MADE_UP_TOKEN = "lk-jwt-service-check";

/**
 * All of them. Never rejects for what a remote server does.
 *
 * @param entry A server name as the operator wrote it.
 */
export async function checkHomeserver(entry: string, deps: HomeserverCheckDeps, signal: AbortSignal): Promise<Check[]> {
  const name = parseServerName(entry);
  const named = checkName(entry, name);
  if (name === null) return [named];
  const resolution = await checkResolution(name, deps);
  // One after the other: they share what is remembered of a server that cannot be reached.
  const userinfo = await deps.federation.get(name, `${USERINFO_PATH}?access_token=${MADE_UP_TOKEN}`, signal);
  const key = userinfo.outcome === "answer" ? await deps.federation.get(name, KEY_PATH, signal) : null;
  return [
    named,
    resolution,
    judgeUserinfo(name, userinfo),
    judgeKey(name, key),
    judgeClock(name, userinfo, deps.clock),
  ];
}

/** Judges the text alone: the grammar, and what no server is called. */
export function checkName(entry: string, name: ServerName | null): Check {
  const question = { id: "homeserver.name", title: `${entry} is a server name`, asked: `the text "${entry}"` };
  const example = "the part behind the colon of its users' IDs, such as example.com";
  if (name === null) {
    return error(question, "not a Matrix server name", `List ${example}, without scheme and path`);
  }
  const { hostname, isIpLiteral, port } = serverNameParts(name);
  if (entry !== entry.toLowerCase()) {
    return error(
      question,
      "has capital letters, while names are compared letter by letter",
      `List "${entry.toLowerCase()}", as it stands in its users' IDs`,
    );
  }
  if (!isIpLiteral && hostname !== "localhost" && !hostname.includes(".")) {
    return warning(question, "looks like the name of a container or host", `List ${example}`);
  }
  if (port !== null) {
    return ok(question, `a name with a port: right only where its users are called @somebody:${entry}`);
  }
  return ok(question, "as users' IDs have it");
}

async function checkResolution(name: ServerName, { discovery, clock }: HomeserverCheckDeps): Promise<Check> {
  const startedAt = clock.monotonicNow();
  const { targets, steps } = await discovery.resolve(name);
  const tookMs = Math.round(clock.monotonicNow() - startedAt);
  const question = {
    id: "homeserver.resolution",
    title: `${name} can be located`,
    asked: `well-known, SRV and port 8448 of ${name}`,
  };
  const where = targets.map(({ host, port }) => `${host}:${port}`).join(", ");
  const told = `${[...steps, ...(where === "" ? [] : [`→ ${where}`])].join("; ")} (${tookMs} ms)`;
  if (targets.length > 0) return ok(question, told);
  return error(
    question,
    told,
    `Serve https://${name}/.well-known/matrix/server, or give the address with ` +
      `LIVEKIT_FEDERATION_URL_OVERRIDES=${name}=https://matrix.example.com`,
  );
}

/** Judges the answer to a token that nobody has: 401 M_UNKNOWN_TOKEN is right. */
export function judgeUserinfo(name: string, outcome: FederationOutcome): Check {
  const question = {
    id: "homeserver.userinfo",
    title: `${name} vouches for its users`,
    asked: `GET ${USERINFO_PATH} with a made-up token`,
  };
  const last = outcome.steps.at(-1) ?? "no answer";
  if (outcome.outcome === "not-asked") return skipped(question, last);
  const advice = adviceFor(outcome) ?? "";
  if (outcome.outcome === "no-answer") return error(question, last, advice);
  const { response } = outcome;
  if (response.status === 401 && errcodeOf(response) !== null) return ok(question, describeAnswer(response));
  if (isChallenge(response)) {
    const fix = `Let requests to /_matrix/ and /.well-known/matrix/ of ${name} pass without a challenge for browsers`;
    return error(question, describeAnswer(response), fix);
  }
  return error(question, describeAnswer(response), advice);
}

/** Judges the name that the server gives itself. */
export function judgeKey(name: string, outcome: FederationOutcome | null): Check {
  const question = {
    id: "homeserver.server_name",
    title: `${name} is the server name of the homeserver there`,
    asked: `GET ${KEY_PATH}`,
  };
  if (outcome?.outcome !== "answer") return skipped(question, "no answer");
  const json = parseJson(outcome.response.body);
  const own = typeof json === "object" && json !== null && "server_name" in json ? json.server_name : null;
  if (typeof own !== "string" || parseServerName(own) === null) {
    return skipped(question, `${describeAnswer(outcome.response)}, without a server_name`);
  }
  if (own === name) return ok(question, own);
  return error(
    question,
    `the homeserver there is "${own}"`,
    `Write "${own}" in place of "${name}" in LIVEKIT_FULL_ACCESS_HOMESERVERS: its users are @somebody:${own}`,
  );
}

function judgeClock(name: string, outcome: FederationOutcome, clock: Pick<Clock, "now">): Check {
  const question: Question = {
    id: "homeserver.clock",
    title: `The clocks of ${name} and of this host agree`,
    asked: "Date of its answers",
  };
  const skewMs = outcome.outcome === "answer" ? clockSkewMs(outcome.response, clock) : null;
  const judged = judgeSkew(question, skewMs, name);
  // No token is judged by a homeserver's clock: worth knowing, no more.
  return judged.outcome === "error" ? { ...judged, outcome: "warning" } : judged;
}
