// A queue on its own, with a homeserver that answers by the clock.

import type { ActionOutcome } from "../../../lib/matrix/delayed_events.ts";
import { CallQueue } from "../../../lib/leave/calls/call_queue.ts";
import { LocalTokenBuckets, type TokenBuckets } from "../../../lib/leave/calls/token_bucket.ts";
import { SynapseLimiter } from "../../../testing/scripted_homeserver.ts";
import { VirtualTime } from "../../../testing/virtual_time.ts";

export const LATENCY_MS = 20;
const SYNAPSE_PAUSE_MS = 500;
export const DONE: ActionOutcome = { kind: "done" };
export const FAILED: ActionOutcome = { kind: "failed" };

interface Made {
  readonly name: string;
  readonly at: number;
  readonly outcome: ActionOutcome["kind"];
}

/** A pacer, and a homeserver that answers as told, or through a limiter. */
export class Bench {
  readonly time = new VirtualTime();
  readonly made: Made[] = [];
  readonly done: { name: string; outcome: ActionOutcome["kind"] }[] = [];
  readonly overloads: { queued: number; perSecond: number }[] = [];
  readonly pacer: CallQueue;
  answer: () => { outcome: ActionOutcome; afterMs: number };
  inFlight = 0;
  mostInFlight = 0;

  constructor(limiter = new SynapseLimiter(Infinity, 1), buckets?: TokenBuckets) {
    this.answer = () => {
      const retryAfterMs = limiter.take(this.time.elapsed());
      return retryAfterMs === null
        ? { outcome: DONE, afterMs: LATENCY_MS }
        : { outcome: { kind: "limited", retryAfterMs }, afterMs: SYNAPSE_PAUSE_MS };
    };
    this.pacer = new CallQueue("hs.test", {
      buckets: buckets ?? new LocalTokenBuckets(this.time.monotonicNow),
      monotonicNow: this.time.monotonicNow,
      random: () => 0.5,
      setTimer: this.time.setTimer,
      onOverload: (_, queued, perSecond) => this.overloads.push({ queued, perSecond }),
    });
  }

  add(name: string, action: "restart" | "send" = "restart", inMs = 3_600_000, isWanted = () => true): void {
    this.pacer.add({
      action,
      deadline: this.time.monotonicNow() + inMs,
      isWanted,
      done: ({ kind }) => this.done.push({ name, outcome: kind }),
      run: () => {
        const { outcome, afterMs } = this.answer();
        this.made.push({ name, at: this.time.elapsed(), outcome: outcome.kind });
        this.mostInFlight = Math.max(this.mostInFlight, ++this.inFlight);
        return new Promise((resolve) =>
          this.time.after(afterMs, () => {
            this.inFlight--;
            resolve(outcome);
          })
        );
      },
    });
  }

  /** Adds a call again and again, as a job would do. */
  keepUp(name: string, everyMs: number, slackMs: number): void {
    this.add(name, "restart", slackMs);
    this.time.after(everyMs, () => this.keepUp(name, everyMs, slackMs));
  }

  names(outcome: ActionOutcome["kind"] = "done"): string[] {
    return this.made.filter((call) => call.outcome === outcome).map(({ name }) => name);
  }

  count(outcome: ActionOutcome["kind"], fromMs = 0, toMs = Infinity): number {
    return this.made.filter((call) => call.outcome === outcome && call.at >= fromMs && call.at < toMs).length;
  }
}
