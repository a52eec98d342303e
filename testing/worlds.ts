// Fronts in the states that the answers of the contract tell of: an ordinary one, one whose users are restricted, one
// that is full, and so on. Each lasts a whole campaign, so that what it keeps shows on the heap.

import { ConcurrencyLimit } from "../lib/admission/concurrency.ts";
import { createRateLimit } from "../lib/admission/rate_limit.ts";
import { JobIndex } from "../lib/leave/job_index.ts";
import { Delegations } from "../lib/leave/delegations.ts";
import type { ClientApiOutcome } from "../lib/matrix/client_discovery.ts";
import type { OutboundRequest } from "../lib/net/client.ts";
import { OutboundError } from "../lib/net/outbound_error.ts";
import { answerWell, isTwirp, respond, userinfo } from "./fake_outbound.ts";
import { createFront, type Front, type FrontOptions } from "./front.ts";
import { systemClock } from "../lib/platform.ts";
import { RecordingLog } from "./recording_log.ts";

/** The states, with the error that each of them may answer and no other does. */
export const WORLDS = {
  ordinary: null,
  restricted: null,
  "no client API": null,
  "delegation off": null,
  limited: "429 M_LIMIT_EXCEEDED",
  "SFU down": "500 M_UNKNOWN",
  full: "503 M_UNKNOWN",
  "shutting down": "503 M_UNKNOWN",
} as const;

/** A state. */
export type World = keyof typeof WORLDS;

/** Requests per client in the limited one. */
export const LIMIT = 20;

/** Server names that have a fate of their own, beside any other. */
export const SERVERS = [
  "example.com",
  "b.example:8448",
  "[2001:db8::1]:8448",
  "blocked.example",
  "liar.example",
  "down.example",
  "refusing.example",
  "garbage.example",
] as const;

// What the homeservers of these names do.
function answer(request: OutboundRequest) {
  switch (isTwirp(request) ? "SFU" : request.hostHeader) {
    case "liar.example":
      return userinfo("@alice:example.com");
    case "down.example":
      throw new OutboundError("connect", "Cannot connect");
    case "refusing.example":
      return respond(401, '{"errcode":"M_UNKNOWN_TOKEN","error":"unknown"}');
    case "garbage.example":
      return respond(200, "<!doctype html>");
    default:
      return answerWell(request);
  }
}

function delegations(found: boolean, log: RecordingLog): Delegations {
  const api: ClientApiOutcome = found
    ? { outcome: "found", api: { baseUrl: new URL("https://matrix.example.com"), rule: "public" } }
    : { outcome: "not-found", steps: ["played"] };
  return new Delegations({
    manager: {
      jobs: new JobIndex(),
      accept: () => Promise.resolve(),
    },
    discovery: { find: () => Promise.resolve(api) },
    delayedEvents: { supports: () => Promise.resolve(true) },
    allowsRestricted: false,
    isListed: () => true,
    namesServers: true,
    clock: systemClock,
    log,
  });
}

/** All fronts; closed at the end of their scope. */
export class Worlds implements Disposable {
  readonly #log = new RecordingLog();
  readonly #limit = createRateLimit({
    requests: LIMIT,
    windowSeconds: 3600,
    redis: null,
    clock: { ...systemClock, monotonicNow: () => 0 },
    log: this.#log,
  });
  readonly #fronts: Readonly<Record<World, Front>>;

  constructor() {
    const taking = { answer, delegations: delegations(true, this.#log) };
    const full = new ConcurrencyLimit({
      limits: { total: 0, perServer: 0, unnamed: 0, unproven: 0 },
      isNamed: () => true,
      clock: systemClock,
    });
    const options: Readonly<Record<World, FrontOptions>> = {
      ordinary: taking,
      restricted: { ...taking, fullAccess: new Set() },
      "no client API": { answer, delegations: delegations(false, this.#log) },
      "delegation off": { answer },
      limited: { ...taking, rateLimit: this.#limit, trustedProxies: ["203.0.113.0/24"] },
      "SFU down": { ...taking, answer: (request) => isTwirp(request) ? respond(503, "down") : answer(request) },
      full: { ...taking, concurrency: full },
      "shutting down": { ...taking, isDraining: () => true },
    };
    const create = (world: World) => createFront(options[world]);
    this.#fronts = {
      ordinary: create("ordinary"),
      restricted: create("restricted"),
      "no client API": create("no client API"),
      "delegation off": create("delegation off"),
      limited: create("limited"),
      "SFU down": create("SFU down"),
      full: create("full"),
      "shutting down": create("shutting down"),
    };
  }

  /** The front of a state. */
  of(world: World): Front {
    return this.#fronts[world];
  }

  /** Lets go of what was recorded. */
  forget(): void {
    for (const { log, outbound, webhooks } of Object.values(this.#fronts)) {
      log.entries.length = outbound.requests.length = webhooks.length = 0;
    }
    this.#log.entries.length = 0;
  }

  [Symbol.dispose](): void {
    this.#limit.close();
  }
}
