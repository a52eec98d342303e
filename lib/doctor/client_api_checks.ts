// Checks of what clients learn from a homeserver: its well-known document, its list of transports, and whether delayed
// leave events work for a service that is not logged in.

import * as v from "valibot";
import type { ClientDiscovery } from "../matrix/client_discovery.ts";
import { type ServerName, serverNameParts } from "../matrix/server_name.ts";
import type { DialRule } from "../net/address_guard.ts";
import { parseJson } from "../net/json.ts";
import { type Check, error, ok, type Question, skipped, warning } from "./check.ts";
import { type Asked, below, describe, errcodeOf, isChallenge, type Probe } from "./probe.ts";

/** What the checks of a homeserver's client-server API need. */
export interface ClientApiCheckDeps {
  readonly clientDiscovery: Pick<ClientDiscovery, "find">;
  readonly ruleFor: (serverName: ServerName) => DialRule;
  readonly probe: Probe;
  /** The public URL of this service as the operator gave it; null = unknown. */
  readonly publicUrl: string | null;
}

/** The checks, and the URL of this service that the well-known document gives to clients. */
export interface ClientApiChecks {
  readonly checks: readonly Check[];
  readonly advertisedUrl: string | null;
  /** The homeserver's client-server API, as the document has it. */
  readonly baseUrl: string | null;
}

const TRANSPORTS_PATH = "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports";
const VERSIONS_PATH = "/_matrix/client/versions";
const DELAYED_EVENTS_PATH = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events";
// No homeserver ever gave it out.
const MADE_UP_DELAY_ID = "lk-jwt-service-check";
const FOCI = "org.matrix.msc4143.rtc_foci";

const Document = v.object({
  "m.homeserver": v.optional(v.object({ base_url: v.string() })),
  [FOCI]: v.optional(v.array(v.looseObject({ type: v.string(), livekit_service_url: v.optional(v.string()) }))),
});
const Transports = v.object({ rtc_transports: v.optional(v.array(v.unknown())) });
const Versions = v.object({ unstable_features: v.optional(v.record(v.string(), v.unknown()), {}) });

/** All of them. Never rejects for what a remote server does. */
export async function checkClientApi(
  name: ServerName,
  deps: ClientApiCheckDeps,
  signal: AbortSignal,
): Promise<ClientApiChecks> {
  const wellKnown = await askWellKnown(name, deps, signal);
  const document = documentOf(wellKnown);
  const focus = document?.[FOCI]?.find(({ type }) => type === "livekit");
  const advertisedUrl = focus?.livekit_service_url ?? null;
  const found = await deps.clientDiscovery.find(name);
  const api = found.outcome === "found" ? found.api : null;
  const ask = (path: string, request: { method?: "POST"; body?: string } = {}) =>
    api === null ? null : deps.probe(below(api.baseUrl, path), { ...request, rule: api.rule }, signal);
  const [transports, versions, managed] = await Promise.all([
    ask(TRANSPORTS_PATH),
    ask(VERSIONS_PATH),
    ask(`${DELAYED_EVENTS_PATH}/${MADE_UP_DELAY_ID}/restart`, { method: "POST", body: "{}" }),
  ]);
  return {
    advertisedUrl,
    baseUrl: document?.["m.homeserver"]?.base_url ?? null,
    checks: [
      judgeWellKnown(name, wellKnown),
      judgeCors(name, wellKnown),
      document === null
        ? skipped(focusQuestion(name), "no document")
        : judgeFocus(name, advertisedUrl, deps.publicUrl, hasTransports(transports)),
      judgeTransports(name, transports),
      judgeVersions(name, versions),
      judgeManaged(name, managed),
    ],
  };
}

async function askWellKnown(name: ServerName, deps: ClientApiCheckDeps, signal: AbortSignal): Promise<Asked> {
  const rule = deps.ruleFor(name);
  const ask = (authority: string) => {
    const text = `https://${authority}/.well-known/matrix/client`;
    return URL.canParse(text) ? deps.probe(new URL(text), { rule }, signal) : null;
  };
  const { port } = serverNameParts(name);
  const host = port === null ? name : name.slice(0, -`:${port}`.length);
  const asked = await ask(host);
  if (asked !== null && (documentOf(asked) !== null || port === null)) return asked;
  return await ask(name) ?? asked ?? { outcome: "no-answer", failure: "dns", message: `"${host}" is no host` };
}

function documentOf(asked: Asked): v.InferOutput<typeof Document> | null {
  if (asked.outcome === "no-answer" || asked.response.status !== 200) return null;
  const parsed = v.safeParse(Document, parseJson(asked.response.body));
  return parsed.success ? parsed.output : null;
}

function wellKnownQuestion(id: string, title: string, name: string): Question {
  return { id, title, asked: `GET https://${name}/.well-known/matrix/client` };
}

/** Judges the document that leads clients to their homeserver. */
export function judgeWellKnown(name: string, asked: Asked): Check {
  const question = wellKnownQuestion("homeserver.well_known", `Clients find ${name}`, name);
  const fix = `Serve https://${name}/.well-known/matrix/client as JSON, as shown below`;
  if (asked.outcome === "answer" && isChallenge(asked.response)) {
    return error(
      question,
      describe(asked),
      `Let /.well-known/matrix/ of ${name} pass without a challenge for browsers`,
    );
  }
  const document = documentOf(asked);
  if (document === null) {
    const isJson = asked.outcome === "answer" && asked.response.status === 200;
    return error(question, isJson ? "status 200, but not a well-known document" : describe(asked), fix);
  }
  const baseUrl = document["m.homeserver"]?.base_url;
  if (baseUrl === undefined) return error(question, 'no "base_url" in "m.homeserver"', fix);
  if (!URL.canParse(baseUrl) || new URL(baseUrl).protocol !== "https:") {
    return error(question, `"base_url" is "${baseUrl.slice(0, 200)}", expected an https URL`, fix);
  }
  return ok(question, baseUrl);
}

/** Judges whether web clients may read the document. */
export function judgeCors(name: string, asked: Asked): Check {
  const question = wellKnownQuestion("homeserver.well_known_cors", `Web clients may read ${name}'s document`, name);
  if (documentOf(asked) === null || asked.outcome === "no-answer") return skipped(question, "no document");
  const origin = asked.response.headers["access-control-allow-origin"];
  if (origin === "*") return ok(question, "Access-Control-Allow-Origin: *");
  const told = origin === undefined
    ? "no Access-Control-Allow-Origin"
    : `Access-Control-Allow-Origin: ${origin.slice(0, 100)}`;
  return error(question, told, "Send exactly one header Access-Control-Allow-Origin: * with the document");
}

function focusQuestion(name: string): Question {
  return wellKnownQuestion("homeserver.rtc_foci", `${name} names this service to its clients`, name);
}

/** Judges the URL of this service that clients get. */
export function judgeFocus(
  name: string,
  advertised: string | null,
  publicUrl: string | null,
  hasOther: boolean,
): Check {
  const question = focusQuestion(name);
  if (advertised === null) {
    if (hasOther) return ok(question, "no rtc_foci, but the homeserver itself lists its transports");
    return error(
      question,
      `no "${FOCI}" of type "livekit"`,
      "Add it to the document as shown below: without it clients say MISSING_MATRIX_RTC_FOCUS",
    );
  }
  const told = `livekit_service_url "${advertised.slice(0, 200)}"`;
  const url = URL.canParse(advertised) ? new URL(advertised) : null;
  if (url === null || url.protocol !== "https:" || url.hostname.startsWith(".") || url.pathname.includes("//")) {
    return error(question, `${told} is no clean https URL`, "Write the https URL at which clients reach this service");
  }
  if (publicUrl !== null && advertised.replace(/\/+$/, "") !== publicUrl.replace(/\/+$/, "")) {
    return error(
      question,
      `${told}, expected "${publicUrl}"`,
      "Write the public URL of this service into the document",
    );
  }
  return ok(question, told);
}

function hasTransports(asked: Asked | null): boolean {
  if (asked?.outcome !== "answer" || asked.response.status !== 200) return false;
  const parsed = v.safeParse(Transports, parseJson(asked.response.body));
  return parsed.success && (parsed.output.rtc_transports?.length ?? 0) > 0;
}

/** Judges the list of transports (MSC4143): missing is fine, empty hides the well-known document for a day. */
export function judgeTransports(name: string, asked: Asked | null): Check {
  const question = {
    id: "homeserver.rtc_transports",
    title: `${name} does not hide the document from its clients`,
    asked: `GET ${TRANSPORTS_PATH}`,
  };
  if (asked === null) return skipped(question, "no client-server API");
  if (asked.outcome === "no-answer") return skipped(question, asked.message);
  const { status } = asked.response;
  if (status === 200 && !hasTransports(asked)) {
    return error(
      question,
      "status 200 with an empty list, which clients believe for 24 hours",
      "List the transport in Synapse's `matrix_rtc.transports`, or take `matrix_rtc` and msc4143_enabled out",
    );
  }
  if (status === 200) return ok(question, "a list of transports");
  return ok(question, `${describe(asked)}: clients go by the well-known document`);
}

/** Judges the flag of MSC4140. */
export function judgeVersions(name: string, asked: Asked | null): Check {
  const question = {
    id: "homeserver.delayed_events",
    title: `${name} has delayed events`,
    asked: `GET ${VERSIONS_PATH}`,
  };
  if (asked === null) return skipped(question, "no client-server API");
  const versions = asked.outcome === "answer" ? v.safeParse(Versions, parseJson(asked.response.body)) : null;
  if (versions === null || !versions.success) {
    return warning(
      question,
      describe(asked),
      `Make the client-server API of ${name} reachable from this host, or give its address with ` +
        `LIVEKIT_CS_API_URL_OVERRIDES=${name}=https://matrix.example.com: without it participants can stay as ghosts`,
    );
  }
  if (versions.output.unstable_features["org.matrix.msc4140"] === true) return ok(question, "org.matrix.msc4140");
  return warning(
    question,
    "no org.matrix.msc4140 among its features",
    "Set `max_event_delay_duration: 24h` in homeserver.yaml: without it whoever loses the connection stays in the call",
  );
}

/** Judges whether events can be restarted and sent without being logged in. */
export function judgeManaged(name: string, asked: Asked | null): Check {
  const question = {
    id: "homeserver.delayed_events_managed",
    title: `${name} lets this service postpone leave events`,
    asked: `POST ${DELAYED_EVENTS_PATH}/{a made-up ID}/restart`,
  };
  if (asked === null) return skipped(question, "no client-server API");
  if (asked.outcome === "no-answer") return skipped(question, asked.message);
  const { response } = asked;
  const errcode = errcodeOf(response);
  if (response.status === 404 && errcode === "M_NOT_FOUND" || response.status === 429) {
    return ok(question, describe(asked));
  }
  if (response.status === 401) {
    return warning(
      question,
      describe(asked),
      "Use Synapse 1.143 or newer: this homeserver wants a login for what clients delegate to this service",
    );
  }
  return warning(
    question,
    describe(asked),
    "Have the proxy pass /_matrix/client/unstable/org.matrix.msc4140/delayed_events to the right worker, and set " +
      "`max_event_delay_duration` in homeserver.yaml",
  );
}
