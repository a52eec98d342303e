// Homeservers as the oracle of the fault tests: several server names on one port, whose delayed events keep their own
// time, and which remember every call with the process that made it and whether it got an answer.

import { randomBytes } from "node:crypto";
import { setTimeout as sleepFor } from "node:timers/promises";
import { type Answer, jsonAnswer } from "./answer.ts";
import { USERINFO_PATH } from "./fake_homeserver.ts";
import { LoopbackServer, type ReceivedRequest } from "./loopback_server.ts";

/** A restart or a send that arrived. */
export interface ArrivedCall {
  readonly action: "restart" | "send";
  /** The life of the process that made it, see replica.ts. */
  readonly life: string;
  /** ms of the monotonic clock, as all times here. */
  readonly at: number;
  /** When the answer was given; null while it was not, and for one that never was. */
  answeredAt: number | null;
  /** What was or would have been answered; 0 = nothing yet. */
  status: number;
}

/** One delayed event. */
export interface DelayedEvent {
  readonly delayId: string;
  /** Name of the server that keeps it. */
  readonly homeserver: string;
  readonly delayMs: number;
  /** When its own timer runs out. */
  firesAt: number;
  /** `fired` = by its own timer. */
  end: { readonly how: "sent" | "fired" | "cancelled"; readonly at: number } | null;
  readonly calls: ArrivedCall[];
}

/** What happens to one call beside being served. */
export interface Treatment {
  /** Before anything else. */
  readonly latencyMs: number;
  /** Given instead of doing what was asked. */
  readonly refusal?: Answer;
  /** Nothing is ever answered: `deaf` = and nothing done, `mute` = but done. */
  readonly silence?: "deaf" | "mute";
}

const EVENTS_PATH =
  /^\/([^/]+)\/_matrix\/client\/unstable\/org\.matrix\.msc4140\/delayed_events\/([^/]+)\/(restart|send)$/;
const VERSIONS_PATH = /^\/[^/]+\/_matrix\/client\/versions$/;
const NOT_FOUND = jsonAnswer(404, { errcode: "M_NOT_FOUND", error: "Delayed event not found" });
const UNRECOGNIZED = jsonAnswer(404, { errcode: "M_UNRECOGNIZED", error: "Unrecognized request" });
const UNKNOWN_TOKEN = jsonAnswer(401, { errcode: "M_UNKNOWN_TOKEN", error: "Access Token unknown or expired" });

/** An error as a homeserver gives it. */
export function refusal(status: number, errcode: string, headers: Readonly<Record<string, string>> = {}): Answer {
  return jsonAnswer(status, { errcode, error: "Not now" }, headers);
}

/** The homeservers. */
export class Homeservers implements AsyncDisposable {
  /** `hs0.example`, `hs1.example` and so on. */
  readonly names: readonly string[];
  readonly events = new Map<string, DelayedEvent>();
  /** What happens to the next call. */
  treat: (call: ArrivedCall, event: DelayedEvent) => Treatment = () => ({ latencyMs: 0 });
  readonly #server: LoopbackServer;
  readonly #users = new Map<string, string>();
  readonly #closing = new AbortController();

  private constructor(server: LoopbackServer, names: readonly string[]) {
    this.#server = server;
    this.names = names;
    server.handler = (request) => this.#answer(request);
  }

  static async start(count: number): Promise<Homeservers> {
    const names = Array.from({ length: count }, (_, index) => `hs${index}.example`);
    return new Homeservers(await LoopbackServer.start({}), names);
  }

  /** Variables that lead a service here; the name of its life tells its calls apart. */
  variables(life: string): Readonly<Record<string, string>> {
    const { origin } = this.#server.url;
    return {
      LIVEKIT_FULL_ACCESS_HOMESERVERS: this.names.join(),
      LIVEKIT_FEDERATION_URL_OVERRIDES: this.names.map((name) => `${name}=${origin}`).join(),
      LIVEKIT_CS_API_URL_OVERRIDES: this.names.map((name) => `${name}=${origin}/${life}`).join(),
    };
  }

  /** An OpenID token of a user. */
  mintToken(userId: string): { readonly access_token: string; readonly matrix_server_name: string } {
    const token = randomBytes(12).toString("hex");
    this.#users.set(token, userId);
    return { access_token: token, matrix_server_name: userId.slice(userId.indexOf(":") + 1) };
  }

  /** A client schedules its leave. */
  schedule(homeserver: string, delayMs: number): DelayedEvent {
    const delayId = `syd_${randomBytes(10).toString("hex")}`;
    const event = { delayId, homeserver, delayMs, firesAt: performance.now() + delayMs, end: null, calls: [] };
    this.events.set(delayId, event);
    return event;
  }

  /** A client cancels its own event. */
  cancel(event: DelayedEvent): void {
    this.settle(event);
    event.end ??= { how: "cancelled", at: performance.now() };
  }

  /** Brings an event up to date: its timer may have run out. */
  settle(event: DelayedEvent): DelayedEvent {
    if (performance.now() >= event.firesAt) event.end ??= { how: "fired", at: event.firesAt };
    return event;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.#server[Symbol.asyncDispose]();
  }

  async #answer({ path, query }: ReceivedRequest): Promise<Answer> {
    if (path === USERINFO_PATH) {
      const sub = this.#users.get(query.get("access_token") ?? "");
      return sub === undefined ? UNKNOWN_TOKEN : jsonAnswer(200, { sub });
    }
    if (VERSIONS_PATH.test(path)) return jsonAnswer(200, { unstable_features: { "org.matrix.msc4140": true } });
    const [, life = "", delayId = "", action] = EVENTS_PATH.exec(path) ?? [];
    if (action !== "restart" && action !== "send") return UNRECOGNIZED;
    const event = this.events.get(delayId);
    if (event === undefined) return NOT_FOUND;
    const call: ArrivedCall = { action, life, at: performance.now(), answeredAt: null, status: 0 };
    event.calls.push(call);
    return await this.#serve(event, call);
  }

  async #serve(event: DelayedEvent, call: ArrivedCall): Promise<Answer> {
    const { latencyMs, refusal, silence } = this.treat(call, event);
    if (latencyMs > 0) await sleepFor(latencyMs, undefined, { signal: this.#closing.signal }).catch(() => {});
    const answer = silence === "deaf" ? null : refusal ?? this.#act(event, call.action);
    call.status = answer?.status ?? 0;
    // Whoever waits gives up; what hangs ends with the server.
    if (answer === null || silence !== undefined) return await new Promise<never>(() => {});
    call.answeredAt = performance.now();
    return answer;
  }

  #act(event: DelayedEvent, action: "restart" | "send"): Answer {
    if (this.settle(event).end !== null) return NOT_FOUND;
    const now = performance.now();
    if (action === "restart") event.firesAt = now + event.delayMs;
    else event.end = { how: "sent", at: now };
    return jsonAnswer(200, {});
  }
}
