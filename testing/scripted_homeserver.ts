// A homeserver's delayed events, as Synapse has them: each with its own timer, gone once sent, limited per source
// address; and what can go wrong on the way there and back.

import type { ActionResult, DelayedAction } from "../lib/matrix/delayed_events.ts";
import type { ServerName } from "../lib/matrix/server_name.ts";
import type { VirtualTime } from "./virtual_time.ts";

/**
 * What becomes of calls.
 * - `broken`: 500, nothing done.
 * - `away`: no connection.
 * - `deaf`: no answer, nothing done.
 * - `mute`: no answer, but done.
 * - `misrouted`: 404 M_UNRECOGNIZED, nothing done.
 */
export type HomeserverMode = "up" | "broken" | "away" | "deaf" | "mute" | "misrouted";

/** Where an event stands. */
export interface DelayedEvent {
  readonly delayMs: number;
  firesAt: number;
  /** How it ended, and when; null while it is scheduled. */
  end: { readonly how: "sent" | "fired" | "canceled"; readonly at: number } | null;
}

const LATENCY_MS = 20;
const TIMEOUT_MS = 10_000;
// Synapse waits so long before it says 429.
const LIMITED_PAUSE_MS = 500;

/** Synapse's limiter: a leaky bucket that refused calls do not fill. */
export class SynapseLimiter {
  #count = 0;
  #since = 0;

  /** @param perSecond Infinity = no limit. */
  constructor(readonly perSecond: number, readonly burst: number) {}

  /** Null, or after how many ms to come again. */
  take(nowMs: number): number | null {
    const now = nowMs / 1000;
    if (this.#count - (now - this.#since) * this.perSecond < 0) {
      this.#count = 0;
      this.#since = now;
    }
    if (this.perSecond === Infinity) return null;
    if (this.#count - (now - this.#since) * this.perSecond > this.burst - 1) {
      return Math.max(Math.floor((this.#since + (this.#count - this.burst + 1) / this.perSecond - now) * 1000), 0);
    }
    this.#count++;
    return null;
  }
}

/** A call that arrived. */
export interface ArrivedCall {
  readonly at: number;
  readonly delayId: string;
  readonly action: DelayedAction;
  readonly status: number;
}

/** A server that takes calls and never answers. */
export const SILENT_SERVER = "evil.test";

/** The homeserver. */
export class ScriptedHomeserver {
  mode: HomeserverMode = "up";
  /** What it adds to each answer, ms: slow is not down. */
  latencyMs = 0;
  readonly events = new Map<string, DelayedEvent>();
  readonly calls: ArrivedCall[] = [];
  /** Told of each send that takes effect, before it does. */
  onSend: (delayId: string) => void = () => {};
  readonly #time: VirtualTime;
  limiter: SynapseLimiter;

  constructor(time: VirtualTime, limiter = new SynapseLimiter(Infinity, 1)) {
    this.#time = time;
    this.limiter = limiter;
  }

  /** A client schedules an event. */
  schedule(delayId: string, delayMs: number): void {
    this.events.set(delayId, { delayMs, firesAt: this.#time.elapsed() + delayMs, end: null });
  }

  /** A client sends or cancels its own event. */
  finish(delayId: string, how: "sent" | "canceled"): void {
    const event = this.look(delayId);
    if (event !== undefined) event.end ??= { how, at: this.#time.elapsed() };
  }

  /** An event as it stands now. */
  look(delayId: string): DelayedEvent | undefined {
    const event = this.events.get(delayId);
    if (event !== undefined && event.end === null && this.#time.elapsed() >= event.firesAt) {
      event.end = { how: "fired", at: event.firesAt };
    }
    return event;
  }

  /** Servers are kept at one host, but for the one that never answers. */
  apiOf(homeserver: ServerName): Promise<string> {
    return Promise.resolve(homeserver === SILENT_SERVER ? homeserver : "hs.test");
  }

  /** The service's calls. */
  act(homeserver: ServerName, delayId: string, action: DelayedAction): Promise<ActionResult> {
    return new Promise((resolve, reject) => {
      const answer = (afterMs: number, run: () => void) => this.#time.after(afterMs, () => this.#time.inService(run));
      if (homeserver === SILENT_SERVER) return answer(TIMEOUT_MS, () => reject(new Error("No answer within 10 s")));
      if (this.mode === "away") {
        return answer(
          LATENCY_MS,
          () => resolve({ outcome: { kind: "failed", how: "unreachable" }, step: "no connection" }),
        );
      }
      const { pauseMs, result } = this.#serve(delayId, action);
      const isSilent = this.mode === "deaf" || this.mode === "mute";
      if (isSilent) answer(TIMEOUT_MS, () => reject(new Error("No answer within 10 s")));
      else answer(pauseMs, () => resolve(result));
    });
  }

  #serve(delayId: string, action: DelayedAction): { pauseMs: number; result: ActionResult } {
    const reply = (status: number, outcome: ActionResult["outcome"], pauseMs = LATENCY_MS) => {
      this.calls.push({ at: this.#time.elapsed(), delayId, action, status });
      return { pauseMs: pauseMs + this.latencyMs, result: { outcome, step: `status ${status}` } };
    };
    if (this.mode === "broken" || this.mode === "deaf") return reply(500, { kind: "failed", how: "wrong-answer" });
    if (this.mode === "misrouted") return reply(404, { kind: "refused", why: "unsupported" });
    const retryAfterMs = this.limiter.take(this.#time.elapsed());
    if (retryAfterMs !== null) return reply(429, { kind: "limited", retryAfterMs }, LIMITED_PAUSE_MS);
    const event = this.look(delayId);
    if (event === undefined || event.end !== null) return reply(404, { kind: "gone", how: "not-found" });
    if (action === "restart") {
      event.firesAt = this.#time.elapsed() + event.delayMs;
    } else if (action === "cancel") {
      event.end = { how: "canceled", at: this.#time.elapsed() };
    } else {
      this.onSend(delayId);
      event.end = { how: "sent", at: this.#time.elapsed() };
    }
    return reply(200, { kind: "done" });
  }
}
