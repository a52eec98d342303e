// Delayed events of homeservers (MSC4140), as Synapse keeps them: each with a timer of its own, gone once sent. Remembers
// every call, and whether it got an answer.

import { randomBytes } from "node:crypto";
import { setTimeout as sleepFor } from "node:timers/promises";
import { type Answer, jsonAnswer } from "./answer.ts";

/** A call that arrived. */
export interface ArrivedCall {
  readonly action: "restart" | "send" | "cancel";
  /** The first part of the path, by which the processes of a test are told apart; "" without one. */
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
  end: { readonly how: "sent" | "fired" | "canceled"; readonly at: number } | null;
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
  /^(?:\/([^/]+))?\/_matrix\/client\/unstable\/org\.matrix\.msc4140\/delayed_events\/([^/]+)\/(restart|send|cancel)$/;
const VERSIONS_PATH = /^(?:\/[^/]+)?\/_matrix\/client\/versions$/;
const NOT_FOUND = jsonAnswer(404, { errcode: "M_NOT_FOUND", error: "Delayed event not found" });

/** An error as a homeserver gives it. */
export function refusal(status: number, errcode: string, headers: Readonly<Record<string, string>> = {}): Answer {
  return jsonAnswer(status, { errcode, error: "Not now" }, headers);
}

/** The events of any number of homeservers. */
export class DelayedEventsDouble {
  readonly events = new Map<string, DelayedEvent>();
  /** What happens to the next call. */
  treat: (call: ArrivedCall, event: DelayedEvent) => Treatment = () => ({ latencyMs: 0 });
  readonly #closing = new AbortController();

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
    event.end ??= { how: "canceled", at: performance.now() };
  }

  /** Brings an event up to date: its timer may have run out. */
  settle(event: DelayedEvent): DelayedEvent {
    if (performance.now() >= event.firesAt) event.end ??= { how: "fired", at: event.firesAt };
    return event;
  }

  /** Answers a request of the client-server API; null when it is about no delayed event. */
  async answer(path: string): Promise<Answer | null> {
    if (VERSIONS_PATH.test(path)) return jsonAnswer(200, { unstable_features: { "org.matrix.msc4140": true } });
    const [, life = "", delayId = "", action] = EVENTS_PATH.exec(path) ?? [];
    if (action !== "restart" && action !== "send" && action !== "cancel") return null;
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

  #act(event: DelayedEvent, action: ArrivedCall["action"]): Answer {
    if (this.settle(event).end !== null) return NOT_FOUND;
    const now = performance.now();
    if (action === "restart") event.firesAt = now + event.delayMs;
    else event.end = { how: action === "send" ? "sent" : "canceled", at: now };
    return jsonAnswer(200, {});
  }

  /** Ends what waits. */
  close(): void {
    this.#closing.abort();
  }
}
