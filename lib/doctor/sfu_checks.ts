// Checks of the SFU: whether LiveKit takes the key, knows the time, creates no rooms by itself, and can be reached by
// clients.

import type { Clock } from "../async/clock.ts";
import type { AccessTokenSigner } from "../livekit/access_token.ts";
import type { RoomService } from "../livekit/room_service.ts";
import { ADVICE, SfuError } from "../livekit/sfu_error.ts";
import { type Check, error, ok, type Question, skipped, warning } from "./check.ts";
import { type Asked, below, clockSkewMs, describe, errcodeOf, isWebPage, type Probe, shown } from "./probe.ts";

/** What the checks of the SFU need. */
export interface SfuCheckDeps {
  /** Where the service calls the SFU. */
  readonly apiUrl: URL;
  /** What clients get. */
  readonly livekitUrl: string;
  readonly roomService: Pick<RoomService, "listRooms">;
  readonly signer: Pick<AccessTokenSigner, "sign">;
  readonly probe: Probe;
  readonly clock: Pick<Clock, "now">;
  /** A text that no room has. */
  readonly unusedName: () => string;
}

// LiveKit's own leeway is 60 s; half of it is no accident any more.
const SKEW_WARNING_MS = 30_000;
const SKEW_ERROR_MS = 55_000;
const PROBE_TOKEN_TTL_SECONDS = 60;

/** All of them, in the order in which an operator reads them. Never rejects for what the SFU does. */
export async function checkSfu(deps: SfuCheckDeps, signal: AbortSignal): Promise<Check[]> {
  const [api, validated, publicUrl] = await Promise.all([
    checkApi(deps, signal),
    validate(deps, signal),
    checkPublicUrl(deps, signal),
  ]);
  return [api, checkClock(deps, validated), checkAutoCreate(deps, validated, api.outcome), publicUrl];
}

async function checkApi({ apiUrl, roomService, probe }: SfuCheckDeps, signal: AbortSignal): Promise<Check> {
  const question = {
    id: "sfu.api",
    title: "LiveKit answers, and takes the API key",
    asked: `POST ${shown(below(apiUrl, "/twirp/livekit.RoomService/ListRooms"))}`,
  };
  try {
    await roomService.listRooms(signal);
    return ok(question, "status 200");
  } catch (failure) {
    if (!(failure instanceof SfuError)) throw failure;
    const own = await probe(below(apiUrl, "/sfu/get"), { method: "POST", body: "{}", rule: "operator" }, signal);
    if (own.outcome === "answer" && errcodeOf(own.response) === "M_BAD_JSON") {
      return error(
        question,
        "this is the URL of the authorization service itself",
        "Set LIVEKIT_URL to the URL of LiveKit; the URL of this service belongs into the well-known document",
      );
    }
    return error(question, failure.answered, ADVICE[failure.failure]);
  }
}

/** Asks whether a room that nobody made could be joined. Makes no room (measured with LiveKit 1.13.5). */
async function validate(deps: SfuCheckDeps, signal: AbortSignal): Promise<Asked> {
  const room = deps.unusedName();
  const jwt = deps.signer.sign({
    identity: room,
    video: { roomJoin: true, room, canPublish: false, canSubscribe: false },
    issuedAt: Math.floor(deps.clock.now() / 1000),
    ttlSeconds: PROBE_TOKEN_TTL_SECONDS,
  });
  const url = below(deps.apiUrl, "/rtc/validate");
  url.searchParams.set("access_token", jwt);
  return await deps.probe(url, { rule: "operator" }, signal);
}

function checkClock({ apiUrl, clock }: SfuCheckDeps, validated: Asked): Check {
  const question = {
    id: "sfu.clock",
    title: "The clocks of LiveKit and of this host agree",
    asked: `Date of GET ${shown(below(apiUrl, "/rtc/validate"))}`,
  };
  const skewMs = validated.outcome === "answer" ? clockSkewMs(validated.response, clock) : null;
  return judgeSkew(question, skewMs, "LiveKit");
}

/** Judges a difference of clocks. */
export function judgeSkew(question: Question, skewMs: number | null, whose: string): Check {
  if (skewMs === null) return skipped(question, "no answer that tells the time");
  const seconds = Math.round(Math.abs(skewMs) / 1000);
  const told = `${whose}'s clock is ${seconds} s ${skewMs > 0 ? "ahead of" : "behind"} this host's`;
  const fix = `Set the clocks of this host and of ${whose}'s by NTP: tokens are refused when they differ by a minute`;
  if (Math.abs(skewMs) >= SKEW_ERROR_MS) return error(question, told, fix);
  if (Math.abs(skewMs) >= SKEW_WARNING_MS) return warning(question, told, fix);
  return ok(question, told);
}

function checkAutoCreate({ apiUrl }: SfuCheckDeps, validated: Asked, api: Check["outcome"]): Check {
  const question = {
    id: "sfu.auto_create",
    title: "Only this service creates rooms",
    asked: `GET ${shown(below(apiUrl, "/rtc/validate"))} for a room that does not exist`,
  };
  if (validated.outcome === "no-answer") return skipped(question, validated.message);
  const { response } = validated;
  const { status } = response;
  // A page that answers everything would pass for LiveKit.
  if (status === 200 && !isWebPage(response) && api === "ok") {
    return error(
      question,
      "status 200: LiveKit creates a room for whoever asks, so that restricted access is void",
      "Set `room: {auto_create: false}` in livekit.yaml, and restart LiveKit",
    );
  }
  const text = new TextDecoder().decode(response.body.subarray(0, 200));
  if (status === 404 && /room does not exist/.test(text)) return ok(question, "status 404, no such room");
  if (api !== "ok") return skipped(question, "LiveKit does not answer as it should (see sfu.api)");
  return warning(
    question,
    describe(validated),
    "Have the proxy before LiveKit pass /rtc, with the Upgrade headers of WebSockets: clients connect there",
  );
}

async function checkPublicUrl(deps: SfuCheckDeps, signal: AbortSignal): Promise<Check> {
  const { livekitUrl, apiUrl, probe } = deps;
  const question = { id: "sfu.public_url", title: "Clients can use LIVEKIT_URL", asked: `LIVEKIT_URL="${livekitUrl}"` };
  const text = /^[a-z][a-z0-9+.-]*:\/\//i.test(livekitUrl) ? livekitUrl : `wss://${livekitUrl}`;
  if (!URL.canParse(text)) return error(question, "no URL", "Set LIVEKIT_URL to wss:// and LiveKit's public name");
  const url = new URL(text);
  if (livekitUrl !== text || !/^(?:wss|https?|ws):$/.test(url.protocol)) {
    return error(
      question,
      "no URL that a client can connect to",
      `Set LIVEKIT_URL to "wss://${url.host}${url.pathname}"`,
    );
  }
  const isPlain = url.protocol === "ws:" || url.protocol === "http:";
  if (isPlain && !isLocal(url.hostname)) {
    return error(
      question,
      `${url.protocol}// is blocked by browsers on pages that came by https`,
      `Serve LiveKit by TLS and set LIVEKIT_URL to "wss://${url.host}${url.pathname}"; ` +
        "an address inside belongs into LIVEKIT_INTERNAL_URL",
    );
  }
  const reached = new URL(url.href.replace(/^ws/i, "http"));
  reached.search =
    reached.hash =
    reached.username =
    reached.password =
      "";
  if (reached.origin === apiUrl.origin) return ok(question, "the URL that the service itself calls");
  const asked = await probe(below(reached, "/rtc/validate"), { rule: "operator" }, signal);
  const isLiveKit = asked.outcome === "answer" && asked.response.status === 401 && !isWebPage(asked.response);
  if (isLiveKit) return ok(question, "LiveKit answers there");
  return warning(
    { ...question, asked: `GET ${shown(below(reached, "/rtc/validate"))}` },
    `${describe(asked)}, expected LiveKit's 401`,
    "Make sure that clients reach LiveKit at LIVEKIT_URL; where only this host can't (hairpin NAT), nothing is wrong",
  );
}

function isLocal(hostname: string): boolean {
  return hostname === "localhost" || hostname.endsWith(".localhost") || /^127\.|^\[::1\]$/.test(hostname);
}
